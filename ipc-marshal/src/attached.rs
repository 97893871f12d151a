//! Messages with things that are not bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_core::{AnyChannel, Channel, Deadline, Inbound, Outbound};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Codec, Duct, DuctOptions, FrameKind, Receiver, RecvError, Region, SendError, Sender};

/// A value and the descriptors that travel with it: files, sockets, the ends of other channels and
/// ducts, [`Region`]s. What each of them is, and in which order they come, is up to the two programs.
///
/// They travel in the frame's own field, over native framings on unix sockets and rings; at most 253
/// with one message. The receiver gets duplicates, close-on-exec.
///
/// # Examples
///
/// A duct through a duct:
///
/// ```
/// use ipc_core::Deadline;
/// use ipc_marshal::{Attached, Duct, DuctOptions};
///
/// let (mut ours, mut theirs) = Duct::<String, ()>::pair()?;
/// let (mut near, far) = DuctOptions::new().offer::<u32, u32>()?;
/// ours.send_attached(Attached::new("a duct".to_owned()).attach(far), Deadline::Never)?;
///
/// let (name, mut descriptors) = theirs.recv_attached(Deadline::Never)?.into_parts();
/// let fd = descriptors.pop().expect("the other side attached one");
/// let mut far = DuctOptions::new().from_fd::<u32, u32>(fd)?;
/// near.send(7)?;
/// assert_eq!(far.recv()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Attached<T> {
    value: T,
    descriptors: Vec<OwnedFd>,
}

impl<T> Attached<T> {
    /// A value with nothing attached yet.
    pub fn new(value: T) -> Self {
        Self {
            value,
            descriptors: Vec::new(),
        }
    }

    /// Attaches a descriptor, behind those that are attached already. This process's own is closed
    /// once the message was sent.
    #[must_use]
    pub fn attach(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.descriptors.push(fd.into());
        self
    }

    /// Attaches a region, which this process keeps too.
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had.
    pub fn attach_region(self, region: &Region) -> io::Result<Self> {
        let fd = region.as_fd().try_clone_to_owned()?;
        Ok(self.attach(fd))
    }

    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The value, and the descriptors in the order in which they were attached.
    pub fn into_parts(self) -> (T, Vec<OwnedFd>) {
        (self.value, self.descriptors)
    }

    fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }
}

impl<Tx: Serialize, Rx, C: Codec, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    /// Sends a value with descriptors. Blocks until `deadline` for room, as `send` does.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; `Io` with [`Unsupported`](io::ErrorKind::Unsupported) when the framing or
    /// the channel has no place for descriptors.
    pub fn send_attached(
        &mut self,
        message: Attached<Tx>,
        deadline: Deadline,
    ) -> Result<(), SendError<Attached<Tx>>> {
        let (outbox, channel, codec) = self.sending();
        let sent = outbox.send_frame(
            channel,
            FrameKind::Message,
            &message.borrowed(),
            deadline,
            |out| codec.encode(message.value(), out),
        );
        sent.map_err(|refusal| refusal.with(message))
    }
}

impl<Tx, Rx: DeserializeOwned, C: Codec, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    /// Receives a value and the descriptors that came with it, which may be none. Blocks until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_attached(&mut self, deadline: Deadline) -> Result<Attached<Rx>, RecvError> {
        self.recv_with(deadline, decode_attached)?
    }
}

impl<Tx: Serialize, C: Codec, W: Outbound> Sender<Tx, C, W> {
    /// Sends a value with descriptors. Blocks until `deadline` for room, as `send` does.
    ///
    /// # Errors
    ///
    /// As [`Duct::send_attached`].
    pub fn send_attached(
        &self,
        message: Attached<Tx>,
        deadline: Deadline,
    ) -> Result<(), SendError<Attached<Tx>>> {
        let sent = self.send_frame(&message.borrowed(), deadline, |codec, out| {
            codec.encode(message.value(), out)
        });
        sent.map_err(|refusal| refusal.with(message))
    }
}

impl<Rx: DeserializeOwned, C: Codec, R: Inbound> Receiver<Rx, C, R> {
    /// Receives a value and the descriptors that came with it, which may be none. Blocks until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// See [`RecvError`].
    pub fn recv_attached(&mut self, deadline: Deadline) -> Result<Attached<Rx>, RecvError> {
        self.recv_with(deadline, decode_attached)?
    }
}

fn decode_attached<Rx: DeserializeOwned, C: Codec>(
    mut message: crate::Message<'_, C>,
) -> Result<Attached<Rx>, RecvError> {
    Ok(Attached {
        value: message.decode().map_err(RecvError::Decode)?,
        descriptors: message.take_descriptors(),
    })
}

impl<Tx, Rx, C: Codec> Duct<Tx, Rx, C, AnyChannel> {
    /// The duct's descriptor, to hand the whole duct on to another process, which goes on with
    /// [`DuctOptions::from_fd`], without a hand-shake if there was one.
    ///
    /// # Errors
    ///
    /// The duct itself, when it is not over a socket, or when there is more to it than the
    /// descriptor: bytes that are pending, or that were read and not received.
    #[expect(clippy::result_large_err, reason = "the error is the duct, unchanged")]
    pub fn into_fd(self) -> Result<OwnedFd, Self> {
        if !self.is_idle() {
            return Err(self);
        }
        self.try_map_channel(|channel| match channel {
            AnyChannel::Socket(socket) => Ok(socket.into()),
            other => Err(other),
        })
    }
}

impl<C: Codec> DuctOptions<C> {
    /// One end of a new duct, and a descriptor that becomes the other with
    /// [`from_fd`](DuctOptions::from_fd) in whatever process it gets to: through another duct
    /// ([`Attached`]) or by inheritance. It is over shared memory where there is any, else over a
    /// unix socket pair.
    ///
    /// # Errors
    ///
    /// When no more descriptors or memory can be had.
    pub fn offer<Tx, Rx>(mut self) -> io::Result<(Duct<Tx, Rx, C>, OwnedFd)> {
        self.handshake.get_or_insert(true);
        let (ours, theirs): (AnyChannel, OwnedFd) = match ipc_core::Ring::offer() {
            Ok((ring, fd)) => (ring.into(), fd),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let (ours, theirs) = ipc_core::Socket::pair()?;
                (ours.into(), theirs.into())
            }
            Err(error) => return Err(error),
        };
        Ok((self.from_channel(ours), theirs))
    }

    /// The other end of [`offer`](DuctOptions::offer), or a duct over another received or inherited
    /// descriptor that is a channel.
    ///
    /// # Errors
    ///
    /// As [`AnyChannel::from_fd`].
    pub fn from_fd<Tx, Rx>(mut self, fd: OwnedFd) -> io::Result<Duct<Tx, Rx, C>> {
        self.handshake.get_or_insert(true);
        Ok(self.from_channel(AnyChannel::from_fd(fd)?))
    }
}
