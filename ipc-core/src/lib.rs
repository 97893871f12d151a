//! Channels of bytes between processes: pipes, sockets and shared memory behind one trait.
//!
//! # Hello, world!
//!
//! ```
//! use ipc_core::{Address, AnyChannel, Port};
//! use std::io::{Read, Write};
//!
//! let folder = tempfile::tempdir()?;
//! // "tcp:127.0.0.1:0" or "ring:/run/me/hello" would do as well: the address chooses the transport.
//! let mut port = Port::bind(&Address::unix(folder.path().join("hello"))?)?;
//! let mut client = AnyChannel::connect(port.address())?;
//! client.write_all(b"hello")?;
//! drop(client);
//! let mut text = String::new();
//! port.accept()?.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Concepts
//!
//! - A *channel* carries bytes both ways between two processes and may be split into a reading and a
//!   writing half: [`Pipe`], [`Socket`], [`Ring`], and [`AnyChannel`] when the kind is known only at run
//!   time. The traits are [`Channel`], [`Inbound`] and [`Outbound`].
//! - A [`Port`] is where channels are accepted, an [`Address`] is how it is found. A [`Rendezvous`] is
//!   a port for exactly one peer, [`Retry`] connects to a port that may not be there yet.
//! - A [`Ring`] is a channel in shared memory: no system call while both sides run, and yet usable in
//!   blocking code, with deadlines, and from an event loop. Bytes can be written and looked at in
//!   place: [`Reservation`], [`View`].
//! - Descriptors are close-on-exec. A child gets one by [`Inherit`] and takes it with [`inherited`];
//!   a running process gets one over a channel, with [`Outbound::write_with_fds`].
//!
//! ```
//! use ipc_core::{Deadline, Inbound, Ring};
//! use std::io::Write;
//! use std::time::Duration;
//!
//! let (mut ours, mut theirs) = Ring::pair()?;
//! ours.write_all(b"ping")?;
//! let mut buf = [0; 64];
//! let n = theirs.read_deadline(&mut buf, Deadline::after(Duration::from_secs(1)))?;
//! assert_eq!(&buf[..n], b"ping");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What this crate does not do
//!
//! It does not know messages (`ipc-marshal` does) nor event loops (`ipc-dispatch`; any other loop can
//! sleep on [`Inbound::inbound`] after [`Inbound::arm_inbound`]). It starts no threads, logs nothing,
//! keeps no global state but what the system needs, encrypts nothing and authenticates nobody beyond
//! the kernel's [`Credentials`].
//!
//! # Blocking and signals
//!
//! Every call that may wait comes with a [`Deadline`]: `x` waits, `try_x` does not, `x_timeout` and
//! `x_deadline` wait for so long. The peer's close or death ends every wait. An interruption by a signal
//! is never reported; the call goes on against the same deadline. No call raises `SIGPIPE`, with the
//! exception described at [`Pipe`].
//!
//! # Trust
//!
//! Whatever a peer sends or writes into shared memory, the worst it can cause is an error value. What a
//! ring relies on is written down in `src/sys/memory.rs`, which has the only code that touches memory
//! another process can write.
//!
//! # Features and platforms
//!
//! There are no features. Linux is first class (rings need 4.14 or newer, and are quickest from 4.16
//! on); on other Unix systems all but rings, frozen memory and abstract names works. Windows is out of
//! scope.

mod address;
mod any;
mod channel;
mod connect;
mod credentials;
mod deadline;
mod delegate;
mod descriptor;
mod frozen;
mod inherit;
mod lobby;
mod pipe;
mod port;
mod rendezvous;
mod retry;
mod ring;
mod socket;
mod socket_file;
mod sys;
mod wait;

pub use address::{Address, Family, ParseAddressError, TcpName, UnixName};
pub use any::{AnyChannel, AnyReader, AnyWriter};
pub use channel::{Channel, Inbound, Outbound, Readiness};
pub use credentials::Credentials;
pub use deadline::Deadline;
pub use descriptor::{Descriptor, descriptors};
pub use frozen::FrozenMemory;
pub use inherit::{ChildProcess, Inherit, inherited, start_session};
pub use pipe::{Pipe, PipeReader, PipeWriter};
pub use port::{Port, PortOptions, PortParts, Relocation, activated};
pub use rendezvous::Rendezvous;
pub use retry::Retry;
pub use ring::{
    Chunks, Reservation, Ring, RingOptions, RingReader, RingStats, RingWriter, View, Wait,
};
pub use socket::{Socket, SocketReader, SocketWriter};
