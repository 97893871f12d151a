//! Typed messages between two processes.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use ipc_core::{Address, AnyChannel, Port, Socket};
use ipc_marshal::{Duct, RecvError};

use super::check::{Check, Verdict, or_unsupported};
use super::other::Other;
use crate::args::Layer;

pub(crate) const CHECKS: &[Check] = &[
    check("duct over a unix pair", pair),
    check("duct over a unix socket", unix_path),
    check("duct over tcp", tcp),
    check("duct over shared memory", ring),
    check("garbage is an error", garbage),
    check("peer killed while we wait for a message", killed),
];

const fn check(name: &'static str, run: fn() -> Result<Verdict>) -> Check {
    Check {
        layer: Layer::Marshal,
        name,
        run,
    }
}

type Bytes = Duct<Vec<u8>, Vec<u8>>;

fn pair() -> Result<Verdict> {
    let (ours, theirs) = Socket::pair()?;
    let other = Other::inheriting("messages", theirs)?;
    echo(Duct::from_channel(ours.into()), other)
}

fn unix_path() -> Result<Verdict> {
    let folder = tempfile::tempdir()?;
    accepted(&Address::unix(folder.path().join("smoke"))?)
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
    let mut port = Port::bind(address)?;
    let other = Other::connecting("messages", port.address())?;
    echo(Duct::accept(&mut port)?, other)
}

/// Sends messages from nothing to a mebibyte and expects each back.
fn echo(mut duct: Bytes, other: Other) -> Result<Verdict> {
    let lengths = (0..500).chain([4096, 65_535, 65_536, 1 << 20]);
    for length in lengths {
        let message: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        duct.send_timeout(message.clone(), Duration::from_secs(5))?;
        let back = duct.recv_timeout(Duration::from_secs(5))?;
        ensure!(
            back == message,
            "a message of {length} bytes came back changed"
        );
    }
    drop(duct);
    other.finish()?;
    Ok(Verdict::Passed)
}

fn garbage() -> Result<Verdict> {
    let (ours, mut theirs) = Socket::pair()?;
    let mut duct: Bytes = Duct::from_channel(AnyChannel::from(ours));
    theirs.write_all(&[0xff; 64])?;
    match duct.recv_timeout(Duration::from_secs(5)) {
        Err(RecvError::Timeout | RecvError::Disconnected) => bail!("garbage was not noticed"),
        Err(_) => Ok(Verdict::Passed),
        Ok(_) => bail!("garbage was taken for a message"),
    }
}

fn killed() -> Result<Verdict> {
    let (ours, theirs) = Socket::pair()?;
    let mut other = Other::inheriting("messages", theirs)?;
    let mut duct: Bytes = Duct::from_channel(AnyChannel::from(ours));
    duct.send(vec![1])?;
    duct.recv_timeout(Duration::from_secs(5))?;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || duct.recv());
        other.kill()?;
        match waiting.join().expect("waiting does not panic") {
            Err(RecvError::Disconnected) => Ok(Verdict::Passed),
            other => bail!("expected a disconnection, got {other:?}"),
        }
    })
}
