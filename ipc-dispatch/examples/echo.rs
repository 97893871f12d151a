//! Echoes lines to whoever connects, until a line says `stop`; then lets everybody finish.
//!
//! `cargo run -p ipc-dispatch --example echo -- tcp:127.0.0.1:7000`, then `nc 127.0.0.1 7000`.

#![expect(clippy::print_stdout, reason = "an example shows something")]

use std::error::Error;
use std::io;
use std::time::Duration;

use ipc_core::Port;
use ipc_dispatch::{Context, Selector, ServerOptions, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("tcp:127.0.0.1:0");
    let port = Port::bind(&address.parse()?)?;
    println!("listening on {}", port.address());

    let mut selector = Selector::<u64>::new()?;
    let options = ServerOptions::new().idle_timeout(Duration::from_secs(60));
    let server = selector.serve(port, options, |_, _| {
        let mut lines = 0;
        Ok(move |stream: &mut Stream, ctx: &mut Context<'_, u64>| {
            while let Some(line) = stream.try_read_until(b"\n")? {
                lines += 1;
                *ctx.state += 1;
                stream.try_write_all(format!("{lines}: ").as_bytes())?;
                stream.try_write_all(&line)?;
                if line == b"stop\n" {
                    ctx.stop();
                }
            }
            io::Result::Ok(!stream.is_ended())
        })
    })?;
    selector.on_signal(2, |ctx| ctx.stop())?;

    let mut total = 0;
    selector.run(&mut total)?;
    let drained = server.drain(&mut selector, Duration::from_secs(5));
    selector.run(&mut total)?;
    drained.wait()?;
    println!("{total} lines for {} peers", server.accepted());
    Ok(())
}
