//! This process's end of a link, and the process at the other end.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use ipc_core::{AnyChannel, ChildProcess, Inherit, Pipe, Port, RingOptions, Socket};

use super::args::{Served, Transport};
use super::serve::{Batch, Mode, NUMBERS, Raw};

/// One end of a link; the process at the other end is reaped when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` only while it is dropped: its end is what ends the other process.
    wire: Option<Wire>,
    child: ChildProcess,
    buf: Vec<u8>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are two at a time")]
enum Wire {
    Channel(AnyChannel),
    Raw(Raw),
}

impl Link {
    /// A channel of this workspace.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) when this system has no such transport; else what
    /// the system says.
    pub(super) fn channel(transport: Transport) -> Result<Self> {
        match transport {
            Transport::Ring => {
                let (ours, theirs) = RingOptions::new().offer()?;
                Self::start(Wire::Channel(ours.into()), Served::Channel, vec![theirs])
            }
            Transport::Unix => {
                let (ours, theirs) = Socket::pair()?;
                Self::start(
                    Wire::Channel(ours.into()),
                    Served::Channel,
                    vec![theirs.into()],
                )
            }
            Transport::Tcp => {
                let mut port = Port::bind(&"tcp:127.0.0.1:0".parse()?)?;
                let theirs = Socket::connect(port.address())?;
                let ours = port.accept()?;
                Self::start(Wire::Channel(ours), Served::Channel, vec![theirs.into()])
            }
            Transport::Pipe => {
                let (ours, theirs) = Pipe::pair()?;
                let (inbound, outbound) = theirs.into_fds();
                Self::start(
                    Wire::Channel(ours.into()),
                    Served::Pipe,
                    vec![inbound, outbound],
                )
            }
        }
    }

    /// The same transport by bare system calls; `None` for shared memory, which has none.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn raw(transport: Transport) -> Result<Option<Self>> {
        let (ours, theirs): (OwnedFd, OwnedFd) = match transport {
            Transport::Ring => return Ok(None),
            Transport::Unix => {
                let (ours, theirs) = UnixStream::pair()?;
                (ours.into(), theirs.into())
            }
            Transport::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let ours = TcpStream::connect(listener.local_addr()?)?;
                let (theirs, _) = listener.accept()?;
                ours.set_nodelay(true)?;
                theirs.set_nodelay(true)?;
                (ours.into(), theirs.into())
            }
            Transport::Pipe => {
                let (our_in, their_out) = io::pipe()?;
                let (their_in, our_out) = io::pipe()?;
                let raw = Raw {
                    inbound: OwnedFd::from(our_in).into(),
                    outbound: OwnedFd::from(our_out).into(),
                };
                let theirs = vec![their_in.into(), their_out.into()];
                return Self::start(Wire::Raw(raw), Served::Raw, theirs).map(Some);
            }
        };
        let outbound = File::from(ours.try_clone()?);
        let raw = Raw {
            inbound: ours.into(),
            outbound,
        };
        let theirs = vec![theirs.try_clone()?, theirs];
        Self::start(Wire::Raw(raw), Served::Raw, theirs).map(Some)
    }

    /// Starts the other process, which inherits `theirs`.
    fn start(wire: Wire, served: Served, theirs: Vec<OwnedFd>) -> Result<Self> {
        let program = env::current_exe().context("cannot find this program's own file")?;
        let served = served
            .to_possible_value()
            .context("every kind has a name")?;
        let mut command = Command::new(program);
        command.args(["bench", "--serve", served.get_name()]);
        let mut inherit = Inherit::new();
        for (number, fd) in NUMBERS.into_iter().zip(theirs) {
            inherit = inherit.give(number, fd);
        }
        let child = inherit.spawn(&command).context("cannot start a process")?;
        Ok(Self {
            wire: Some(wire),
            child,
            buf: Vec::new(),
        })
    }

    /// Sends messages of `size` bytes and awaits each back; calls `took` with the nanoseconds of each
    /// round trip but the first, which waits for the other process to read what is coming.
    ///
    /// # Errors
    ///
    /// When the link fails or a message comes back changed.
    pub(super) fn round_trips(
        &mut self,
        size: u32,
        count: u32,
        mut took: impl FnMut(u64),
    ) -> Result<()> {
        let message = pattern(size);
        self.buf.resize(message.len(), 0);
        let buf = &mut self.buf;
        let wire = self.wire.as_mut().context("the link is open")?;
        let batch = Batch {
            mode: Mode::Echo,
            size,
            count,
        };
        match wire {
            Wire::Channel(link) => trips(link, batch, &message, buf, &mut took)?,
            Wire::Raw(link) => trips(link, batch, &message, buf, &mut took)?,
        }
        ensure!(*buf == message, "a message came back changed");
        Ok(())
    }

    /// Sends messages one way and answers the nanoseconds until the other process has read all.
    ///
    /// # Errors
    ///
    /// When the link fails.
    pub(super) fn stream(&mut self, size: u32, count: u32) -> Result<u64> {
        let message = pattern(size);
        let batch = Batch {
            mode: Mode::Sink,
            size,
            count,
        };
        let wire = self.wire.as_mut().context("the link is open")?;
        Ok(match wire {
            Wire::Channel(link) => one_way(link, batch, &message),
            Wire::Raw(link) => one_way(link, batch, &message),
        }?)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.wire.take());
        let _ = self.child.wait();
    }
}

/// Bytes in which one that is out of place shows.
fn pattern(size: u32) -> Vec<u8> {
    (0..size).map(|index| (index % 251) as u8).collect()
}

fn trips(
    link: &mut (impl Read + Write),
    batch: Batch,
    message: &[u8],
    buf: &mut [u8],
    took: &mut impl FnMut(u64),
) -> io::Result<()> {
    link.write_all(&batch.header())?;
    for index in 0..batch.count {
        let start = Instant::now();
        link.write_all(message)?;
        link.read_exact(buf)?;
        if index > 0 {
            took(nanoseconds(start));
        }
    }
    Ok(())
}

fn one_way(link: &mut (impl Read + Write), batch: Batch, message: &[u8]) -> io::Result<u64> {
    let start = Instant::now();
    link.write_all(&batch.header())?;
    for _ in 0..batch.count {
        link.write_all(message)?;
    }
    link.read_exact(&mut [0])?;
    Ok(nanoseconds(start))
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
