//! The other end of a smoke check: this program again, as a process of its own.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, Result};
use ipc_core::{Address, AnyChannel, inherited};
use ipc_marshal::{Duct, RecvError};

use crate::args::{PeerArgs, PeerRole};
use crate::run::Outcome;

/// The number at which a peer finds an inherited channel.
pub(crate) const CHANNEL_NUMBER: i32 = 3;

/// Does what the role says until the other side is gone.
pub(crate) fn run(args: &PeerArgs) -> Result<Outcome> {
    let address = args.address.as_deref().map(parse).transpose()?;
    match args.role {
        PeerRole::Bytes => echo_bytes(channel(address.as_ref())?),
        PeerRole::Messages => echo_messages(duct(address.as_ref())?),
        PeerRole::Silent => wait_for_end(channel(address.as_ref())?),
    }
}

fn parse(text: &str) -> Result<Address> {
    text.parse()
        .with_context(|| format!("the address '{text}' is malformed"))
}

fn channel(address: Option<&Address>) -> Result<AnyChannel> {
    match address {
        Some(address) => {
            AnyChannel::connect(address).with_context(|| format!("cannot connect to '{address}'"))
        }
        None => Ok(AnyChannel::from_fd(inherited(CHANNEL_NUMBER)?)?),
    }
}

fn duct(address: Option<&Address>) -> Result<Duct<Vec<u8>, Vec<u8>>> {
    match address {
        Some(address) => {
            Duct::connect(address).with_context(|| format!("cannot connect to '{address}'"))
        }
        None => Ok(Duct::from_channel(channel(None)?)),
    }
}

fn echo_bytes(mut channel: AnyChannel) -> Result<Outcome> {
    let mut buf = vec![0; 64 * 1024];
    loop {
        match channel.read(&mut buf)? {
            0 => return Ok(Outcome::Complete),
            len => channel.write_all(&buf[..len])?,
        }
    }
}

fn echo_messages(mut duct: Duct<Vec<u8>, Vec<u8>>) -> Result<Outcome> {
    loop {
        match duct.recv() {
            Ok(message) => duct.send(message)?,
            Err(RecvError::Disconnected) => return Ok(Outcome::Complete),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for_end(mut channel: AnyChannel) -> Result<Outcome> {
    // The byte asks for nothing: it only shows that this side is alive and waiting.
    channel.write_all(b"!")?;
    match channel.read(&mut [0]) {
        Ok(_) => Ok(Outcome::Complete),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Outcome::Complete),
        Err(error) => Err(error.into()),
    }
}
