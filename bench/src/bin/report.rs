//! Writes a report of a run of the comparison with the peers.
//!
//! ```text
//! report [--to FOLDER] [FILE]     JSON lines from FILE or the standard input;
//!                                 FOLDER is bench/record unless told otherwise
//! ```
//!
//! It writes `<date>-<cpu>.md`, its plots, and the lines themselves beside them.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use bench::report::{Machine, Run, draw, markdown};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("record");
    let mut file = None;
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), &file) {
            ("--to", _) => match arguments.next() {
                Some(path) => folder = PathBuf::from(path),
                None => return usage(),
            },
            (option, _) if option.starts_with('-') => return usage(),
            (path, None) => file = Some(PathBuf::from(path)),
            _ => return usage(),
        }
    }
    match report(&folder, file.as_deref()) {
        Ok(path) => {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("report: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: report [--to FOLDER] [FILE]");
    ExitCode::from(2)
}

fn report(folder: &Path, file: Option<&Path>) -> Result<PathBuf, Box<dyn Error>> {
    let mut text = String::new();
    match file {
        Some(path) => text = fs::read_to_string(path)?,
        None => {
            io::stdin().read_to_string(&mut text)?;
        }
    }
    let run = Run::parse(&text)?;
    if run.measurements.is_empty() {
        return Err("there are no measurements to report".into());
    }
    fs::create_dir_all(folder)?;
    let machine = Machine::here();
    let stem = machine.file_stem();
    let plots = draw(&run, folder, &stem)?;
    let path = folder.join(format!("{stem}.md"));
    fs::write(&path, markdown(&run, &machine, &plots))?;
    fs::write(folder.join(format!("{stem}.jsonl")), &text)?;
    Ok(path)
}
