//! Echoes what clients send, over any transport:
//!
//! ```text
//! cargo run --example echo -- ring:/tmp/echo            # the server
//! cargo run --example echo -- ring:/tmp/echo hello      # a client
//! cargo run --example echo                              # both, over every transport
//! ```

use std::io::{self, Read, Write};
use std::thread;

use ipc_core::{Address, AnyChannel, Channel, Outbound, Port};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => demonstrate()?,
        [address] => {
            let mut port = Port::bind(&address.parse()?)?;
            writeln!(io::stderr(), "listening at {}", port.address())?;
            loop {
                serve(&mut port)?;
            }
        }
        [address, text] => ask(&address.parse()?, text)?,
        _ => return Err("usage: echo [ADDRESS [TEXT]]".into()),
    }
    Ok(())
}

/// Echoes for one client.
fn serve(port: &mut Port) -> io::Result<()> {
    let (mut reader, mut writer) = port.accept()?.split()?;
    // A client that goes away early only ends its own channel.
    let _ = io::copy(&mut reader, &mut writer);
    Ok(())
}

fn ask(address: &Address, text: &str) -> io::Result<()> {
    let mut channel = AnyChannel::connect(address)?;
    channel.write_all(text.as_bytes())?;
    channel.shutdown()?;
    let mut answer = Vec::new();
    channel.read_to_end(&mut answer)?;
    writeln!(
        io::stdout(),
        "{address}: {}",
        String::from_utf8_lossy(&answer)
    )
}

fn demonstrate() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let mut addresses = vec![
        Address::tcp("127.0.0.1", 0)?,
        Address::unix(folder.path().join("socket"))?,
    ];
    if cfg!(target_os = "linux") {
        addresses.push(Address::ring(folder.path().join("ring"))?);
    }
    for address in addresses {
        let mut port = Port::bind(&address)?;
        let address = port.address().clone();
        let server = thread::spawn(move || serve(&mut port));
        ask(&address, "hello")?;
        server.join().map_err(|_| "the server panicked")??;
    }
    Ok(())
}
