//! Taking the results of a background task.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use ipc_core::{Address, AnyChannel};
use ipc_marshal::{Duct, RecvError};
use serde::de::DeserializeOwned;

use super::message::{FromReader, ToReader};
use crate::codec::decode;
use crate::wire::PROTOCOL;

/// Takes the results of a background task, in the order in which they were published.
///
/// A result is acknowledged by asking for the next one, or with [`acknowledge`](Self::acknowledge):
/// if this reader dies or is dropped before, the next reader gets it again. Readers are served one
/// after another; one that connects meanwhile waits for its turn.
pub struct Reader<T> {
    duct: Duct<FromReader, ToReader>,
    /// Taken and not acknowledged.
    taken: Option<u64>,
    is_ended: bool,
    results: PhantomData<fn() -> T>,
}

/// An error returned from [`Reader::recv`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReaderError {
    /// The background process has died.
    #[error("the background process is gone")]
    Disconnected,
    /// It has results of another type, or speaks another version of the protocol.
    #[error("the reader was refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The result could not be read.
    #[error("the result cannot be read: {reason}")]
    BadItem {
        /// What the codec says.
        reason: String,
    },
    /// What was received makes no sense, or the system failed.
    #[error("receiving failed")]
    Recv(#[from] RecvError),
}

impl<T> Reader<T> {
    /// Connects to a background task.
    ///
    /// # Errors
    ///
    /// What the system says: notably `NotFound` and `ConnectionRefused` when nothing listens there.
    pub fn connect(address: &Address) -> io::Result<Self> {
        let mut duct = Duct::from_channel(AnyChannel::connect(address)?);
        let hello = FromReader::Hello {
            protocol: PROTOCOL,
            types: std::any::type_name::<T>().to_owned(),
        };
        duct.send(hello).map_err(io::Error::other)?;
        Ok(Self {
            duct,
            taken: None,
            is_ended: false,
            results: PhantomData,
        })
    }

    /// Says that the result taken last need not be kept any longer.
    ///
    /// # Errors
    ///
    /// [`ReaderError::Disconnected`] when the background process has died.
    pub fn acknowledge(&mut self) -> Result<(), ReaderError> {
        let Some(seq) = self.taken.take() else {
            return Ok(());
        };
        let sent = self.duct.send(FromReader::Ack { seq });
        sent.map_err(|_| ReaderError::Disconnected)
    }
}

impl<T: DeserializeOwned> Reader<T> {
    /// Acknowledges the last result and waits for the next; `None` when there are no more. The
    /// process's publishing, its end or its death wakes it.
    ///
    /// # Errors
    ///
    /// See [`ReaderError`].
    pub fn recv(&mut self) -> Result<Option<T>, ReaderError> {
        self.acknowledge()?;
        if self.is_ended {
            return Ok(None);
        }
        match self.duct.recv() {
            Ok(ToReader::Item { seq, value }) => {
                self.taken = Some(seq);
                let item = decode(value.bytes());
                item.map(Some)
                    .map_err(|reason| ReaderError::BadItem { reason })
            }
            Ok(ToReader::End) => {
                self.is_ended = true;
                Ok(None)
            }
            Ok(ToReader::Refused(reason)) => Err(ReaderError::Refused { reason }),
            Err(RecvError::Disconnected) => Err(ReaderError::Disconnected),
            Err(error) => Err(error.into()),
        }
    }
}

impl<T: DeserializeOwned> Iterator for Reader<T> {
    type Item = Result<T, ReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.recv() {
            Ok(item) => item.map(Ok),
            Err(_) if self.is_ended => None,
            Err(error) => {
                // An error is told once; after it there is nothing.
                self.is_ended = true;
                Some(Err(error))
            }
        }
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}
