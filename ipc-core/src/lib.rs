//! Channels of bytes between processes: pipes, sockets and shared memory behind one trait.
//!
//! ```
//! use ipc_core::{Address, AnyChannel, Port};
//! use std::io::{Read, Write};
//!
//! let folder = tempfile::tempdir()?;
//! let mut port = Port::bind(&Address::unix(folder.path().join("hello"))?)?;
//! let mut client = AnyChannel::connect(port.address())?;
//! client.write_all(b"hello")?;
//! drop(client);
//! let mut text = String::new();
//! port.accept()?.read_to_string(&mut text)?;
//! assert_eq!(text, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod any;
mod channel;
mod connect;
mod credentials;
mod deadline;
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
pub use inherit::{ChildProcess, Inherit, inherited};
pub use pipe::{Pipe, PipeReader, PipeWriter};
pub use port::{Port, PortOptions, Relocation};
pub use rendezvous::Rendezvous;
pub use retry::Retry;
pub use ring::{Reservation, Ring, RingOptions, RingReader, RingStats, RingWriter, Wait};
pub use socket::{Socket, SocketReader, SocketWriter};
