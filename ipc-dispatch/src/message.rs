//! Ducts as sources: handlers that get messages.

use std::io;
use std::os::fd::BorrowedFd;

use ipc_core::{Channel, Inbound, Outbound, Readiness};
use ipc_marshal::{Codec, Duct, Receiver, Sender, TryRecvError};
use serde::de::DeserializeOwned;

use crate::{Context, Control, Key, Outcome, Registry, Source};

/// How many messages of one source are handled before others get their turn.
const MESSAGES_MAX: usize = 32;

/// A source that messages come out of.
pub trait MessageSource: Source {
    /// What comes out.
    type Message;

    /// The next message, if a whole one is there.
    ///
    /// # Errors
    ///
    /// See [`TryRecvError`].
    fn try_recv(&mut self) -> Result<Self::Message, TryRecvError>;
}

impl<Tx, Rx, C, Ch> Source for Duct<Tx, Rx, C, Ch>
where
    Tx: 'static,
    Rx: 'static,
    C: 'static,
    Ch: Channel + 'static,
{
    fn inbound(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inbound())
    }

    fn outbound(&self) -> Option<BorrowedFd<'_>> {
        Some(self.outbound())
    }

    fn is_doorbell(&self) -> bool {
        self.is_doorbell()
    }

    fn poll_inbound(&mut self) -> Option<bool> {
        self.poll_inbound()
    }

    fn arm_inbound(&mut self) -> io::Result<Readiness> {
        self.arm_inbound()
    }

    fn arm_outbound(&mut self) -> io::Result<Readiness> {
        self.arm_outbound()
    }

    fn pending(&self) -> usize {
        self.pending()
    }

    fn try_flush(&mut self) -> io::Result<()> {
        self.try_flush().map(drop)
    }
}

impl<Tx, Rx, C, Ch> MessageSource for Duct<Tx, Rx, C, Ch>
where
    Tx: 'static,
    Rx: DeserializeOwned + 'static,
    C: Codec + 'static,
    Ch: Channel + 'static,
{
    type Message = Rx;

    fn try_recv(&mut self) -> Result<Rx, TryRecvError> {
        self.try_recv()
    }
}

impl<Rx: 'static, C: 'static, R: Inbound + 'static> Source for Receiver<Rx, C, R> {
    fn inbound(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inbound())
    }

    fn outbound(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn poll_inbound(&mut self) -> Option<bool> {
        self.poll_inbound()
    }

    fn arm_inbound(&mut self) -> io::Result<Readiness> {
        self.arm_inbound()
    }
}

impl<Rx, C, R> MessageSource for Receiver<Rx, C, R>
where
    Rx: DeserializeOwned + 'static,
    C: Codec + 'static,
    R: Inbound + 'static,
{
    type Message = Rx;

    fn try_recv(&mut self) -> Result<Rx, TryRecvError> {
        self.try_recv()
    }
}

impl<Tx: 'static, C: 'static, W: Outbound + 'static> Source for Sender<Tx, C, W> {
    fn inbound(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn outbound(&self) -> Option<BorrowedFd<'_>> {
        self.outbound().ok()
    }

    fn is_doorbell(&self) -> bool {
        self.is_doorbell()
    }

    fn arm_outbound(&mut self) -> io::Result<Readiness> {
        Self::arm_outbound(self)
    }

    fn pending(&self) -> usize {
        self.pending()
    }

    fn try_flush(&mut self) -> io::Result<()> {
        Self::try_flush(self).map(drop)
    }
}

/// Whether a source that answered this can still give messages.
fn is_final(error: &TryRecvError) -> bool {
    !matches!(
        error,
        TryRecvError::Empty | TryRecvError::Decode(_) | TryRecvError::Descriptors { .. }
    )
}

impl<S: 'static> Registry<S> {
    /// Runs `handler` for every message that comes out of a duct or receiver, and for every error:
    /// a message that cannot be decoded, after which others may follow, or the end, after which the
    /// handler is dropped whatever it answers. It is never told
    /// [`Empty`](ipc_marshal::TryRecvError::Empty).
    ///
    /// The handler may answer on the duct it is given; what `try_send` could not write at once is
    /// flushed when there is room.
    ///
    /// # Errors
    ///
    /// As [`on_readable`](Self::on_readable).
    ///
    /// # Examples
    ///
    /// ```
    /// use ipc_dispatch::Selector;
    /// use ipc_marshal::{Duct, TryRecvError};
    ///
    /// let (ours, mut theirs) = Duct::<u32, String>::pair()?;
    /// theirs.send("hello".to_owned())?;
    ///
    /// let mut selector = Selector::<()>::new()?;
    /// let key = selector.add(ours);
    /// selector.on_message(key, |duct: &mut Duct<u32, String>, message: Result<String, TryRecvError>, _| {
    ///     match message {
    ///         Ok(text) => duct.try_send(text.len() as u32).is_err(),
    ///         Err(_) => false,
    ///     }
    /// })?;
    /// selector.run(&mut ())?;
    /// assert_eq!(theirs.recv()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_message<D, O, F>(&mut self, key: Key<D>, mut handler: F) -> io::Result<()>
    where
        D: MessageSource,
        O: Outcome,
        F: FnMut(&mut D, Result<D::Message, TryRecvError>, &mut Context<'_, S>) -> O + 'static,
    {
        self.on_readable(key, move |duct: &mut D, ctx: &mut Context<'_, S>| {
            for _ in 0..MESSAGES_MAX {
                let message = match duct.try_recv() {
                    Err(TryRecvError::Empty) => break,
                    message => message,
                };
                let last = message.as_ref().is_err_and(is_final);
                match handler(duct, message, ctx).into_control()? {
                    Control::Keep | Control::Again if last => return Ok(Control::Drop),
                    Control::Keep | Control::Again => {}
                    control => return Ok(control),
                }
                if !ctx.contains(key) {
                    break;
                }
            }
            Ok(Control::Keep)
        })
    }
}
