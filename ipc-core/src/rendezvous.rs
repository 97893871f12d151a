//! A port for exactly one peer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::{Address, AnyChannel, Deadline, Port, PortOptions};

/// A port for exactly one peer, gone as soon as that one has come: Ductworks' *parent*.
///
/// Bind, tell the address to the peer, accept it. With success the listener is closed and its file
/// removed at once, so that nobody else can connect; what remains is an anonymous pair.
///
/// # Examples
///
/// ```
/// use ipc_core::{AnyChannel, Rendezvous};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("meet");
/// let mut rendezvous = Rendezvous::bind(&ipc_core::Address::unix(&path)?)?;
/// let _client = AnyChannel::connect(rendezvous.address())?;
/// let _server = rendezvous.accept()?;
/// assert!(!path.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Rendezvous {
    address: Address,
    port: Option<Port>,
}

impl Rendezvous {
    /// Binds `address` and listens for one peer.
    ///
    /// # Errors
    ///
    /// As [`Port::bind`].
    pub fn bind(address: &Address) -> io::Result<Self> {
        let port = PortOptions::new().backlog(1).bind(address)?;
        Ok(Self {
            address: port.address().clone(),
            port: Some(port),
        })
    }

    /// The address that was really bound, for the peer to connect to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the peer has come.
    pub fn is_over(&self) -> bool {
        self.port.is_none()
    }

    /// Waits for the peer, for ever if need be, and closes the port.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) after a peer has come: there is no port any more;
    /// else as [`Port::accept`], and it may be called again.
    pub fn accept(&mut self) -> io::Result<AnyChannel> {
        self.accept_until(Deadline::Never)
    }

    /// Accepts a peer that has connected already.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is none, and as `accept`.
    pub fn try_accept(&mut self) -> io::Result<AnyChannel> {
        self.accept_until(Deadline::Now)
    }

    /// Waits at most `timeout` for the peer.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `accept`.
    pub fn accept_timeout(&mut self, timeout: Duration) -> io::Result<AnyChannel> {
        self.accept_until(Deadline::after(timeout))
    }

    /// Waits until `deadline` for the peer.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `accept`.
    pub fn accept_deadline(&mut self, deadline: Instant) -> io::Result<AnyChannel> {
        self.accept_until(Deadline::At(deadline))
    }

    /// The four forms in one.
    ///
    /// # Errors
    ///
    /// As the four.
    pub fn accept_until(&mut self, deadline: Deadline) -> io::Result<AnyChannel> {
        let Some(port) = &mut self.port else {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                format!(
                    "the rendezvous at {} is over: its peer has come",
                    self.address
                ),
            ));
        };
        let channel = port.accept_until(deadline)?;
        self.port = None;
        Ok(channel)
    }

    /// The descriptor that is readable when the peer has come; `None` once it was accepted.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.port.as_ref().map(AsFd::as_fd)
    }
}
