//! A program and its child, with a typed duct between them that nobody else can reach.
//!
//! Run it without arguments: it starts itself again as the child.

use std::env;
use std::error::Error;
use std::process::Command;

use ipc_marshal::Duct;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Job {
    Square(u64),
    Quit,
}

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("child") {
        return serve();
    }
    let mut command = Command::new(env::current_exe()?);
    command.arg("child");
    let (mut duct, mut child) = Duct::<Job, u64>::spawn(&command)?;
    for number in 1..=5 {
        duct.send(Job::Square(number))?;
        let square = duct.recv()?;
        assert_eq!(square, number * number);
    }
    duct.send(Job::Quit)?;
    assert!(child.wait()?.success());
    Ok(())
}

fn serve() -> Result<(), Box<dyn Error>> {
    let mut duct = Duct::<u64, Job>::inherited()?;
    while let Job::Square(number) = duct.recv()? {
        duct.send(number * number)?;
    }
    Ok(())
}
