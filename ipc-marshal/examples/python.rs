//! Talks to a Python program that uses `multiprocessing.connection`.
//!
//! The Python end, started by this example:
//!
//! ```python
//! with Listener(("127.0.0.1", 0), authkey=b"secret") as listener:
//!     with listener.accept() as connection:
//!         connection.send(sum(connection.recv()))
//! ```

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ipc_marshal::{AuthKey, DuctOptions, Framing, Pickle};

const PYTHON: &str = r#"
from multiprocessing.connection import Listener
with Listener(("127.0.0.1", 0), authkey=b"secret") as listener:
    print("tcp:%s:%d" % listener.address, flush=True)
    with listener.accept() as connection:
        connection.send(sum(connection.recv()))
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    BufReader::new(python.stdout.take().ok_or("it is piped")?).read_line(&mut address)?;
    let mut duct = DuctOptions::new()
        .framing(Framing::Multiprocessing)
        .codec(Pickle)
        .auth(AuthKey::new("secret"))
        .connect::<Vec<u32>, u32>(&address.trim().parse()?)?;
    duct.send(vec![1, 2, 3])?;
    assert_eq!(duct.recv()?, 6);
    python.wait()?;
    Ok(())
}
