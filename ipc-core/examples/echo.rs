//! Echoes what clients send, over any transport:
//!
//! ```text
//! cargo run --example echo -- ring:/tmp/echo            # the server
//! cargo run --example echo -- ring:/tmp/echo hello      # a client
//! ```

use std::io::{self, Read, Write};

use ipc_core::{Address, AnyChannel, Channel, Outbound, Port};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [address] => serve(&address.parse()?)?,
        [address, text] => ask(&address.parse()?, text)?,
        _ => return Err("usage: echo ADDRESS [TEXT]".into()),
    }
    Ok(())
}

/// One client after the other, until the process is ended.
fn serve(address: &Address) -> io::Result<()> {
    let mut port = Port::bind(address)?;
    writeln!(io::stderr(), "listening at {}", port.address())?;
    for channel in port.incoming() {
        let channel = channel?;
        if let Some(peer) = channel.peer_credentials()? {
            writeln!(io::stderr(), "process {:?} of user {}", peer.pid, peer.uid)?;
        }
        let (mut reader, mut writer) = channel.split()?;
        // A client that goes away early only ends its own channel.
        let _ = io::copy(&mut reader, &mut writer);
    }
    Ok(())
}

fn ask(address: &Address, text: &str) -> io::Result<()> {
    let mut channel = AnyChannel::connect(address)?;
    channel.write_all(text.as_bytes())?;
    channel.shutdown()?;
    let mut answer = Vec::new();
    channel.read_to_end(&mut answer)?;
    io::stdout().write_all(&answer)
}
