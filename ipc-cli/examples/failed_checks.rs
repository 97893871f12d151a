//! Reads what `ipc-cli smoke --json` prints and tells what failed, as a script of a monitor would:
//!
//!     ipc-cli smoke --json | cargo run -p ipc-cli --example failed_checks

use std::io;
use std::process::ExitCode;

use serde_json::Value;

#[expect(clippy::print_stderr, reason = "a script talks on standard error")]
fn main() -> io::Result<ExitCode> {
    let mut failed = 0;
    for line in io::stdin().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if line["ok"] == false {
            failed += 1;
            eprintln!("{} / {}: {}", line["layer"], line["check"], line["error"]);
        }
    }
    eprintln!("{failed} checks failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
