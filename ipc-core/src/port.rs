//! Where channels are accepted.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, Backlog, SockType, sockopt};

use crate::lobby::Lobby;
use crate::socket_file::SocketFile;
use crate::sys::{self, Interest, SocketName};
use crate::{Address, AnyChannel, Deadline, RingOptions, Socket, TcpName, UnixName, connect, wait};

/// Where channels are accepted. It listens from the moment [`bind`](Port::bind) returns.
///
/// A unix port's socket file is 0600, in a folder that is made 0700 if it is missing. The path is
/// claimed by a lock on `PATH.lock`: the stale file of a dead owner is replaced, a live port's path
/// is never taken, and both files are removed when the port is dropped, only by the port that made
/// them.
///
/// # Examples
///
/// ```
/// use ipc_core::{Address, AnyChannel, Port};
/// use std::time::Duration;
///
/// let mut port = Port::bind(&"tcp:127.0.0.1:0".parse()?)?;
/// assert_eq!(port.try_accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
/// let _client = AnyChannel::connect(port.address())?;
/// let _server = port.accept_timeout(Duration::from_secs(10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Port {
    listener: OwnedFd,
    address: Address,
    lobby: Option<Lobby>,
    file: Option<SocketFile>,
}

/// What [`PortOptions::bind`] does when the address cannot be had: whether another one near it is
/// taken instead. [`Port::address`] tells which it became.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relocation {
    /// The address or an error.
    #[default]
    Never,
    /// Elsewhere when the address is in use.
    OnInUse,
    /// Elsewhere after any failure to bind, as pyre's ports do.
    Always,
}

/// How to make a [`Port`].
///
/// # Examples
///
/// ```
/// use ipc_core::{PortOptions, Relocation};
///
/// let options = PortOptions::new().backlog(64).relocation(Relocation::OnInUse);
/// let first = options.bind(&"tcp:127.0.0.1:0".parse()?)?;
/// let second = options.bind(first.address())?;
/// assert_ne!(first.address(), second.address());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PortOptions {
    backlog: u16,
    relocation: Relocation,
    ring: RingOptions,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// How many neighbours of a taken unix name are tried.
const NEIGHBOURS_MAX: u32 = 64;

impl PortOptions {
    /// No relocation, and room for 128 connections that were not accepted yet.
    pub fn new() -> Self {
        Self {
            backlog: 128,
            relocation: Relocation::Never,
            ring: RingOptions::new(),
        }
    }

    /// How many connections may wait to be accepted; the system may round it.
    #[must_use]
    pub fn backlog(mut self, connections: u16) -> Self {
        self.backlog = connections;
        self
    }

    /// What to do when the address cannot be had.
    ///
    /// A TCP port moves to one that the system chooses on the same host; a unix or ring port to
    /// `NAME-1` and so on, up to `NAME-64`.
    #[must_use]
    pub fn relocation(mut self, relocation: Relocation) -> Self {
        self.relocation = relocation;
        self
    }

    /// How the rings of a `ring:` port wait, and how large they may be; the connecting side chooses the
    /// capacity.
    #[must_use]
    pub fn ring(mut self, options: RingOptions) -> Self {
        self.ring = options;
        self
    }

    /// Binds and listens.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) when a live port has the address; else what the system
    /// says. When relocation fails too, the first error.
    pub fn bind(&self, address: &Address) -> io::Result<Port> {
        let first = match self.bind_once(address) {
            Err(error) => error,
            port => return port,
        };
        let in_use = first.kind() == io::ErrorKind::AddrInUse;
        if self.relocation == Relocation::Never
            || (self.relocation == Relocation::OnInUse && !in_use)
        {
            return Err(first);
        }
        neighbours(address)
            .find_map(|address| self.bind_once(&address).ok())
            .ok_or(first)
    }

    fn bind_once(&self, address: &Address) -> io::Result<Port> {
        match address {
            Address::Tcp(name) => self.bind_tcp(name),
            Address::Unix(name) => {
                let (listener, file) = self.bind_unix(name, sys::stream_socket)?;
                Ok(Port {
                    listener,
                    address: address.clone(),
                    lobby: None,
                    file,
                })
            }
            Address::Ring(name) => {
                let (listener, file) = self.bind_unix(name, sys::packet_socket)?;
                let lobby = Some(Lobby::new(listener.as_fd(), self.ring.clone())?);
                Ok(Port {
                    listener,
                    address: address.clone(),
                    lobby,
                    file,
                })
            }
        }
    }

    fn bind_tcp(&self, name: &TcpName) -> io::Result<Port> {
        let mut last = None;
        for address in connect::resolve(name)? {
            let bound = (|| {
                let listener = sys::stream_socket(connect::family(address))?;
                socket::setsockopt(&listener, sockopt::ReuseAddr, &true)?;
                socket::bind(listener.as_raw_fd(), SocketName::from(address).as_dyn())?;
                self.listen(&listener)?;
                let address = sys::local_address(listener.as_fd())?;
                let address = address.expect("an internet socket has an internet address");
                Ok(Port {
                    listener,
                    address,
                    lobby: None,
                    file: None,
                })
            })();
            match bound {
                Ok(port) => return Ok(port),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("`resolve` answers at least one address"))
    }

    fn bind_unix(
        &self,
        name: &UnixName,
        open: fn(AddressFamily) -> io::Result<OwnedFd>,
    ) -> io::Result<(OwnedFd, Option<SocketFile>)> {
        let listener = open(AddressFamily::Unix)?;
        let socket_name = SocketName::unix(name)?;
        let Some(path) = name.as_path() else {
            socket::bind(listener.as_raw_fd(), socket_name.as_dyn())?;
            self.listen(&listener)?;
            return Ok((listener, None));
        };
        let mut file = SocketFile::claim(path)?;
        socket::bind(listener.as_raw_fd(), socket_name.as_dyn())?;
        file.bound()?;
        // Before `listen`, so that nobody can connect while the file has the umask's permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        self.listen(&listener)?;
        Ok((listener, Some(file)))
    }

    fn listen(&self, listener: &OwnedFd) -> io::Result<()> {
        let backlog = Backlog::new(i32::from(self.backlog).max(1)).unwrap_or(Backlog::MAXCONN);
        socket::listen(listener, backlog)?;
        sys::set_nonblocking(listener.as_fd(), true)
    }
}

impl Port {
    /// Binds `address` and listens, with the default [`PortOptions`].
    ///
    /// # Errors
    ///
    /// As [`PortOptions::bind`].
    pub fn bind(address: &Address) -> io::Result<Self> {
        PortOptions::new().bind(address)
    }

    /// The address that was really bound: port 0 is resolved, a relocation visible.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for a peer to connect, for ever if need be.
    ///
    /// # Errors
    ///
    /// What the system says. When this process or the system has too many open descriptors the peer
    /// stays in the queue: close some and accept again. Only the peer of a ring whose descriptors found
    /// no room on their way is gone, and told so.
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

    /// Waits at most `timeout` for a peer to connect.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `accept`.
    pub fn accept_timeout(&mut self, timeout: Duration) -> io::Result<AnyChannel> {
        self.accept_until(Deadline::after(timeout))
    }

    /// Waits until `deadline` for a peer to connect.
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
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) for [`Deadline::Now`],
    /// [`TimedOut`](io::ErrorKind::TimedOut), and as `accept`.
    pub fn accept_until(&mut self, deadline: Deadline) -> io::Result<AnyChannel> {
        let listener = self.listener.as_fd();
        if let Some(lobby) = &mut self.lobby {
            return lobby.accept(listener, deadline).map(AnyChannel::Ring);
        }
        let fd = wait::until(listener, Interest::Read, deadline, |_| {
            match sys::accept(listener) {
                // The peer gave up while it was in the queue: wait for another.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                    Err(io::ErrorKind::Interrupted.into())
                }
                result => result,
            }
        })?;
        match self.address {
            Address::Tcp(_) => Socket::tcp(fd).map(AnyChannel::Socket),
            _ => Ok(AnyChannel::Socket(Socket::unix(fd))),
        }
    }

    /// Accepts peers one after the other; the iterator never ends.
    pub fn incoming(&mut self) -> impl Iterator<Item = io::Result<AnyChannel>> + '_ {
        std::iter::repeat_with(|| self.accept())
    }
}

impl Port {
    /// What another process needs to have this port as well, [given](crate::Inherit::give) to it at
    /// numbers of the caller's choice: both then accept from the same queue, and no connection is lost
    /// when one of them ends. Of a socket's file the last of them disposes.
    ///
    /// # Errors
    ///
    /// What the system says when there are too many descriptors.
    pub fn parts(&self) -> io::Result<PortParts> {
        let lock = self.file.as_ref().map(SocketFile::share).transpose()?;
        Ok(PortParts {
            listener: self.listener.try_clone()?,
            lock,
        })
    }
}

/// The descriptors of a [`Port`], to be handed to another process.
#[derive(Debug)]
pub struct PortParts {
    /// What is listened on.
    pub listener: OwnedFd,
    /// The claim on the socket's file. `None` for a port without one, or one whose file somebody else
    /// looks after: systemd, for one.
    pub lock: Option<OwnedFd>,
}

impl PortParts {
    /// Makes a port of what another process has handed over.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if this is no socket that a port could be made
    /// of, else what the system says.
    pub fn into_port(self) -> io::Result<Port> {
        let Self { listener, lock } = self;
        sys::set_nonblocking(listener.as_fd(), true)?;
        let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
        let address = sys::local_address(listener.as_fd())?.ok_or_else(wrong)?;
        let Address::Unix(name) = address else {
            return Ok(Port {
                listener,
                address,
                lobby: None,
                file: None,
            });
        };
        let file = match (name.as_path(), lock) {
            (Some(path), Some(lock)) => Some(SocketFile::adopt(path, lock)?),
            _ => None,
        };
        let kind = socket::getsockopt(&listener, sockopt::SockType)?;
        let (address, lobby) = if kind == SockType::SeqPacket {
            let lobby = Lobby::new(listener.as_fd(), RingOptions::new())?;
            (Address::Ring(name), Some(lobby))
        } else {
            (Address::Unix(name), None)
        };
        Ok(Port {
            listener,
            address,
            lobby,
            file,
        })
    }
}

/// The listening sockets that systemd has opened for this process (`LISTEN_FDS`, `LISTEN_PID`), in its
/// order: nothing if it was not started that way, or they were taken before.
///
/// # Errors
///
/// What the system says.
pub fn activated() -> io::Result<Vec<PortParts>> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(ACTIVATED_MAX);
    let mut parts = Vec::new();
    for index in 0..count {
        let number = ACTIVATED_FROM + i32::try_from(index).unwrap_or(0);
        if let Some(listener) = sys::take_inherited(number)? {
            let lock = None;
            parts.push(PortParts { listener, lock });
        }
    }
    Ok(parts)
}

/// The number of the first socket that systemd hands over.
const ACTIVATED_FROM: i32 = 3;

/// More are not looked for.
const ACTIVATED_MAX: u32 = 1024;

impl AsFd for Port {
    /// The descriptor that is readable when a peer waits to be accepted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lobby
            .as_ref()
            .map_or(self.listener.as_fd(), AsFd::as_fd)
    }
}

/// The addresses to try instead of `address`.
fn neighbours(address: &Address) -> impl Iterator<Item = Address> + use<> {
    let address = address.clone();
    let count = if matches!(address, Address::Tcp(_)) {
        1
    } else {
        NEIGHBOURS_MAX
    };
    (1..=count).filter_map(move |index| match &address {
        Address::Tcp(name) => TcpName::new(name.host(), 0, name.family())
            .ok()
            .map(Address::Tcp),
        Address::Unix(name) => name.neighbour(index).map(Address::Unix),
        Address::Ring(name) => name.neighbour(index).map(Address::Ring),
    })
}
