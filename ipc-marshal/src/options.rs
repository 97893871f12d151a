//! How a duct is made.

use std::io;
use std::time::Duration;

use ipc_core::{Address, AnyChannel, Channel, Deadline, Port, Socket};

use crate::{Bincode, Duct, Framing};

/// The longest payload that is sent or accepted unless [`DuctOptions::payload_len_max`] says
/// otherwise: 64 MiB.
pub const PAYLOAD_LEN_MAX: usize = 64 * 1024 * 1024;

/// Framing, codec, limits and time-outs of a [`Duct`].
///
/// # Examples
///
/// ```no_run
/// use ipc_marshal::{DuctOptions, Framing};
/// use std::time::Duration;
///
/// let options = DuctOptions::new()
///     .framing(Framing::Ductworks)
///     .payload_len_max(1024 * 1024)
///     .send_timeout(Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
pub struct DuctOptions<C = Bincode> {
    pub(crate) codec: C,
    pub(crate) framing: Framing,
    pub(crate) payload_len_max: usize,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) recv_timeout: Option<Duration>,
}

impl Default for DuctOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl DuctOptions {
    /// The native framing, the default codec, payloads up to [`PAYLOAD_LEN_MAX`], no time-outs.
    pub fn new() -> Self {
        Self {
            codec: Bincode,
            framing: Framing::Native,
            payload_len_max: PAYLOAD_LEN_MAX,
            send_timeout: None,
            recv_timeout: None,
        }
    }
}

impl<C> DuctOptions<C> {
    /// The codec; both ends must use the same.
    pub fn codec<D>(self, codec: D) -> DuctOptions<D> {
        DuctOptions {
            codec,
            framing: self.framing,
            payload_len_max: self.payload_len_max,
            send_timeout: self.send_timeout,
            recv_timeout: self.recv_timeout,
        }
    }

    /// The framing; both ends must use the same.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The longest payload that is sent or accepted, in bytes. It bounds the memory that a peer can
    /// make this end allocate.
    pub fn payload_len_max(mut self, bytes: usize) -> Self {
        self.payload_len_max = bytes;
        self
    }

    /// How long `send` waits for room; without it, for as long as the peer lives.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = Some(timeout);
        self
    }

    /// How long `recv` waits for a message; without it, for as long as the peer lives.
    pub fn recv_timeout(mut self, timeout: Duration) -> Self {
        self.recv_timeout = Some(timeout);
        self
    }

    /// Two connected ends within this process, over a unix socket pair.
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had.
    #[expect(clippy::type_complexity, reason = "two ends with all their parameters")]
    pub fn pair<Tx, Rx>(self) -> io::Result<(Duct<Tx, Rx, C>, Duct<Rx, Tx, C>)>
    where
        C: Clone,
    {
        let (ours, theirs) = Socket::pair()?;
        Ok((
            self.clone().from_channel(ours.into()),
            self.from_channel(theirs.into()),
        ))
    }

    /// Connects to the port at `address`. Blocks as [`AnyChannel::connect`] does.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn connect<Tx, Rx>(self, address: &Address) -> io::Result<Duct<Tx, Rx, C>> {
        Ok(self.from_channel(AnyChannel::connect(address)?))
    }

    /// Accepts one peer. Blocks until one connects.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn accept<Tx, Rx>(self, port: &mut Port) -> io::Result<Duct<Tx, Rx, C>> {
        Ok(self.from_channel(port.accept()?))
    }

    /// A duct over a channel that is connected already.
    pub fn from_channel<Tx, Rx, Ch: Channel>(self, channel: Ch) -> Duct<Tx, Rx, C, Ch> {
        Duct::new(self, channel)
    }
}

/// The deadline of a call that has none of its own.
pub(crate) fn default_deadline(timeout: Option<Duration>) -> Deadline {
    timeout.map_or(Deadline::Never, Deadline::after)
}
