//! Bytes between two processes, over each kind of channel.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Address, AnyChannel, Channel, Deadline, Inbound, Outbound, Pipe, Port, Socket};

use super::check::{Check, Verdict, or_unsupported};
use super::other::Other;
use crate::args::Layer;

pub(crate) const CHECKS: &[Check] = &[
    check("unix pair, inherited", unix_pair),
    check("unix socket at a path", unix_path),
    check("tcp on loopback", tcp),
    check("ring in shared memory", ring),
    check("pipe pair, within this process", pipe),
    check("deadline with a silent peer", deadline),
    check("peer killed while we read", killed),
];

const fn check(name: &'static str, run: fn() -> Result<Verdict>) -> Check {
    Check {
        layer: Layer::Core,
        name,
        run,
    }
}

/// More than any kernel buffers, so that both directions are full at the same time.
const LENGTH: usize = 4 << 20;

fn unix_pair() -> Result<Verdict> {
    let (ours, theirs) = Socket::pair()?;
    let other = Other::inheriting("bytes", theirs)?;
    echo(ours.into(), other)
}

fn unix_path() -> Result<Verdict> {
    let folder = tempfile::tempdir()?;
    let address = Address::unix(folder.path().join("smoke"))?;
    accepted(&address)
}

fn tcp() -> Result<Verdict> {
    accepted(&"tcp:127.0.0.1:0".parse()?)
}

fn ring() -> Result<Verdict> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("smoke");
    let address: Address = format!("ring:{}", path.display()).parse()?;
    or_unsupported(accepted(&address))
}

fn accepted(address: &Address) -> Result<Verdict> {
    let mut port = Port::bind(address).with_context(|| format!("cannot listen at '{address}'"))?;
    let other = Other::connecting("bytes", port.address())?;
    let channel = port.accept_timeout(Duration::from_secs(10))?;
    echo(channel, other)
}

/// Sends [`LENGTH`] bytes that differ and reads them back while sending, then ends in order.
fn echo(channel: AnyChannel, other: Other) -> Result<Verdict> {
    let (mut reader, mut writer) = channel.split()?;
    let sent: Vec<u8> = (0..LENGTH).map(|index| (index % 251) as u8).collect();
    let mut received = Vec::with_capacity(LENGTH);
    std::thread::scope(|scope| -> Result<()> {
        let writing = scope.spawn(|| {
            writer.write_all(&sent)?;
            writer.shutdown()
        });
        reader.read_to_end(&mut received)?;
        writing.join().expect("writing does not panic")?;
        Ok(())
    })?;
    ensure!(received == sent, "the bytes came back changed");
    other.finish()?;
    Ok(Verdict::Passed)
}

fn pipe() -> Result<Verdict> {
    let (mut near, mut far) = Pipe::pair()?;
    near.write_all(b"there")?;
    let mut word = [0; 5];
    far.read_exact(&mut word)?;
    far.write_all(&word)?;
    near.read_exact(&mut word)?;
    ensure!(&word == b"there", "the bytes came back changed");
    Ok(Verdict::Passed)
}

/// A channel to a process that has shown that it is alive and says nothing more.
fn silent() -> Result<(AnyChannel, Other)> {
    let (ours, theirs) = Socket::pair()?;
    let other = Other::inheriting("silent", theirs)?;
    let mut channel = AnyChannel::from(ours);
    channel.read_exact(&mut [0])?;
    Ok((channel, other))
}

fn deadline() -> Result<Verdict> {
    let (mut channel, _other) = silent()?;
    let limit = Duration::from_millis(20);
    let start = Instant::now();
    match channel.read_deadline(&mut [0], Deadline::after(limit)) {
        Err(error) if error.kind() == ErrorKind::TimedOut => {}
        other => bail!("expected a time-out, got {other:?}"),
    }
    ensure!(start.elapsed() >= limit, "it gave up before its deadline");
    Ok(Verdict::Passed)
}

fn killed() -> Result<Verdict> {
    let (mut channel, mut other) = silent()?;
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || channel.read(&mut [0]));
        other.kill()?;
        match reading.join().expect("reading does not panic") {
            Ok(0) => Ok(Verdict::Passed),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Verdict::Passed),
            other => bail!("expected the end of the channel, got {other:?}"),
        }
    })
}
