//! How a duct is made.

use std::io;
use std::process::Command;
use std::time::Duration;

use ipc_core::{
    Address, AnyChannel, Channel, ChildProcess, Deadline, Inherit, Port, Rendezvous, Retry, Socket,
    inherited,
};

#[cfg(feature = "auth")]
use crate::AuthKey;
use crate::{Bincode, Codec, ConnectError, Duct, Framing};

/// The longest payload that is sent or accepted unless [`DuctOptions::payload_len_max`] says
/// otherwise: 64 MiB.
pub const PAYLOAD_LEN_MAX: usize = 64 * 1024 * 1024;

/// How long the peer may take for its part of the hand-shake unless
/// [`DuctOptions::handshake_timeout`] says otherwise.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The number at which [`DuctOptions::spawn`] hands a duct to a child.
const INHERITED: i32 = 3;

/// Framing, codec, limits and time-outs of a [`Duct`].
///
/// # Examples
///
/// ```no_run
/// use ipc_marshal::{Duct, DuctOptions, Framing};
/// use std::time::Duration;
///
/// let duct: Duct<String, String> = DuctOptions::new()
///     .framing(Framing::Ductworks)
///     .payload_len_max(1024 * 1024)
///     .send_timeout(Duration::from_secs(30))
///     .connect(&"unix:/run/weather".parse()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DuctOptions<C = Bincode> {
    pub(crate) codec: C,
    pub(crate) framing: Framing,
    pub(crate) payload_len_max: usize,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) recv_timeout: Option<Duration>,
    pub(crate) handshake: Option<bool>,
    handshake_timeout: Duration,
    retry: Option<Retry>,
    pub(crate) schema: u64,
    #[cfg(feature = "auth")]
    auth: Option<AuthKey>,
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
            handshake: None,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            retry: None,
            schema: 0,
            #[cfg(feature = "auth")]
            auth: None,
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
            handshake: self.handshake,
            handshake_timeout: self.handshake_timeout,
            retry: self.retry,
            schema: self.schema,
            #[cfg(feature = "auth")]
            auth: self.auth,
        }
    }

    /// The framing; both ends must use the same.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The longest payload that is sent or accepted, in bytes. It bounds the memory that a peer can
    /// make this end allocate. After a hand-shake the smaller limit of the two ends holds for
    /// sending.
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

    /// Has `connect` try again while there is no port at the address yet.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// What the two ends' messages mean: peers with different numbers refuse each other in the
    /// hand-shake. See [`schema_hash`](crate::schema_hash); 0 unless set.
    pub fn schema(mut self, hash: u64) -> Self {
        self.schema = hash;
        self
    }

    /// Whether the two ends introduce themselves before the first message, by version, codec,
    /// schema, limit and capabilities. Both must do it or neither.
    ///
    /// Unless set, ducts with a native framing do it where the other end is another program
    /// (`connect`, `accept`, `spawn`, `inherited`) and not for `pair` and `from_channel`. Other
    /// framings have no hand-shake and ignore this.
    ///
    /// `connect` and `accept` wait for the peer's part. The others send theirs and go on: the peer's
    /// is checked before the first message is received, and no message comes out without it.
    pub fn handshake(mut self, wanted: bool) -> Self {
        self.handshake = Some(wanted);
        self
    }

    /// Has `connect` and `accept` authenticate both ends by a key, after the hand-shake if there is
    /// one; see [`Duct::authenticate`]. Over [`Framing::Multiprocessing`] it is Python's `authkey`.
    #[cfg(feature = "auth")]
    pub fn auth(mut self, key: AuthKey) -> Self {
        self.auth = Some(key);
        self
    }

    /// How long `connect` and `accept` wait for the peer's part of the hand-shake and the
    /// authentication together; 10 seconds unless set.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }
}

impl<C: Codec> DuctOptions<C> {
    /// Two connected ends within this process, over a unix socket pair.
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had.
    #[expect(clippy::type_complexity, reason = "two ends with all their parameters")]
    pub fn pair<Tx, Rx>(self) -> io::Result<(Duct<Tx, Rx, C>, Duct<Rx, Tx, C>)> {
        let (ours, theirs) = Socket::pair()?;
        Ok((
            self.clone().from_channel(ours.into()),
            self.from_channel(theirs.into()),
        ))
    }

    /// Connects to the port at `address`. Blocks as [`AnyChannel::connect`] does, or as long as
    /// [`retry`](DuctOptions::retry) says, and then for the hand-shake.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub fn connect<Tx, Rx>(self, address: &Address) -> Result<Duct<Tx, Rx, C>, ConnectError> {
        let channel = match &self.retry {
            Some(retry) => retry.connect(address)?,
            None => AnyChannel::connect(address)?,
        };
        self.introduced(channel, Side::Connected)
    }

    /// Accepts one peer. Blocks until one connects, and then for the hand-shake. To keep one slow
    /// peer from holding up others, accept from the port and use
    /// [`from_channel`](DuctOptions::from_channel) with [`handshake`](DuctOptions::handshake).
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub fn accept<Tx, Rx>(self, port: &mut Port) -> Result<Duct<Tx, Rx, C>, ConnectError> {
        self.introduced(port.accept()?, Side::Accepted)
    }

    /// Waits for the one peer of a rendezvous, and then for the hand-shake. Nobody else can connect
    /// from then on.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub fn meet<Tx, Rx>(
        self,
        rendezvous: &mut Rendezvous,
    ) -> Result<Duct<Tx, Rx, C>, ConnectError> {
        self.introduced(rendezvous.accept()?, Side::Accepted)
    }

    fn introduced<Tx, Rx>(
        mut self,
        channel: AnyChannel,
        side: Side,
    ) -> Result<Duct<Tx, Rx, C>, ConnectError> {
        self.handshake.get_or_insert(true);
        let deadline = Deadline::after(self.handshake_timeout);
        #[cfg(feature = "auth")]
        let auth = self.auth.take();
        let mut duct = self.from_channel(channel);
        duct.greet_by(deadline)?;
        #[cfg(feature = "auth")]
        if let Some(key) = auth {
            let role = match side {
                Side::Connected => crate::AuthRole::Client,
                Side::Accepted => crate::AuthRole::Listener,
            };
            duct.authenticate(&key, role, deadline)?;
        }
        let _ = side;
        Ok(duct)
    }

    /// A duct over a channel that is connected already.
    pub fn from_channel<Tx, Rx, Ch: Channel>(self, channel: Ch) -> Duct<Tx, Rx, C, Ch> {
        Duct::new(self, channel)
    }

    /// Starts a program that has the other end of a duct, which it takes with
    /// [`inherited`](DuctOptions::inherited). Nothing else can ever connect to either end, and the
    /// end of one is the end of file of the other.
    ///
    /// The limits of [`Inherit::spawn`] on `command` apply.
    ///
    /// # Errors
    ///
    /// When no more descriptors can be had or the program cannot be started.
    pub fn spawn<Tx, Rx>(
        mut self,
        command: &Command,
    ) -> io::Result<(Duct<Tx, Rx, C>, ChildProcess)> {
        self.handshake.get_or_insert(true);
        let (ours, theirs) = Socket::pair()?;
        let child = Inherit::new().give(INHERITED, theirs).spawn(command)?;
        Ok((self.from_channel(ours.into()), child))
    }

    /// In a program that was started with [`spawn`](DuctOptions::spawn): the duct to its parent. It
    /// can be taken once.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the program was not started so.
    pub fn inherited<Tx, Rx>(mut self) -> io::Result<Duct<Tx, Rx, C>> {
        self.handshake.get_or_insert(true);
        let channel = AnyChannel::from_fd(inherited(INHERITED)?)?;
        Ok(self.from_channel(channel))
    }
}

/// Which end of a new connection this is.
#[derive(Clone, Copy)]
enum Side {
    Connected,
    Accepted,
}

/// The deadline of a call that has none of its own.
#[inline]
pub(crate) fn default_deadline(timeout: Option<Duration>) -> Deadline {
    timeout.map_or(Deadline::Never, Deadline::after)
}
