//! Taking the results of a background task.

use std::fmt;
use std::io;
use std::marker::PhantomData;

use ipc_core::{Address, AnyChannel};
use ipc_marshal::{Duct, RecvError, SendError};
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
    /// What the system says: notably [`NotFound`](io::ErrorKind::NotFound) and
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) when nothing listens there, the latter
    /// also when the background process ends just now. A reader that the process refuses at once, as
    /// it does another user's, is told so here as
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) or, when this was quicker, by
    /// [`recv`](Self::recv) as [`ReaderError::Refused`].
    pub fn connect(address: &Address) -> io::Result<Self> {
        Self::greet(AnyChannel::connect(address)?)
    }

    /// Says the first words.
    fn greet(channel: AnyChannel) -> io::Result<Self> {
        let mut duct: Duct<FromReader, ToReader> = Duct::from_channel(channel);
        let hello = FromReader::Hello {
            protocol: PROTOCOL,
            types: std::any::type_name::<T>().to_owned(),
        };
        match duct.send(hello) {
            Ok(()) => {}
            Err(SendError::Disconnected(_)) => return Err(refusal(&mut duct)),
            Err(SendError::Io { source, .. }) => return Err(source),
            Err(error) => return Err(io::Error::other(error)),
        }
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

/// Why a background process has closed the channel before it was told anything.
fn refusal(duct: &mut Duct<FromReader, ToReader>) -> io::Error {
    match duct.recv() {
        Ok(ToReader::Refused(reason)) => io::Error::new(
            io::ErrorKind::PermissionDenied,
            ReaderError::Refused { reason },
        ),
        _ => io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "the background process has ended or closed the connection",
        ),
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

#[cfg(test)]
mod tests {
    use ipc_core::Socket;

    use super::*;

    #[test]
    fn a_refusal_at_once_is_told_as_what_it_is() {
        let greeted = |reason: Option<&str>| {
            let (ours, theirs) = Socket::pair().unwrap();
            let mut background: Duct<ToReader, FromReader> = Duct::from_channel(theirs.into());
            if let Some(reason) = reason {
                background.send(ToReader::Refused(reason.into())).unwrap();
            }
            drop(background);
            Reader::<u64>::greet(ours.into()).unwrap_err()
        };
        let refused = greeted(Some("not you"));
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(refused.to_string(), "the reader was refused: not you");
        let ended = greeted(None);
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionRefused);
        assert!(ended.to_string().contains("ended"), "{ended}");
    }
}
