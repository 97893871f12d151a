//! From the command line to the exit status.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Args, Command};
use crate::commands::{actor, bench, completions, doctor, duct, man, map, peer, smoke, top};
use crate::output::complain;

/// How a command that could be carried out ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All went well.
    Complete,
    /// Something that was asked for failed, and was reported; the rest was done.
    Partial,
    /// A signal ended it: its number.
    Interrupted(i32),
    /// It has a status of its own.
    Status(u8),
}

/// The status of a command line that is wrong, as clap and the shell's own commands have it.
const USAGE: u8 = 2;

/// What a shell adds to the number of the signal that ended a command.
pub(crate) const SIGNALLED: i32 = 128;

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    let result = match args.command {
        Command::Smoke(args) => smoke::run(&args),
        Command::Map(args) => map::run(&args),
        Command::Duct(args) => duct::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Actor(args) => actor::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Peer(args) => peer::run(&args),
    };
    report(result)
}

fn report(result: Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::FAILURE,
        Ok(Outcome::Interrupted(signal)) => {
            u8::try_from(SIGNALLED + signal).map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Ok(Outcome::Status(status)) => ExitCode::from(status),
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints what clap has to say: help and version as they are, an error as one line.
fn refuse(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if asked_for {
        // Nobody reading it any more is no reason to fail.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let facts = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let facts = facts.strip_prefix("error: ").unwrap_or(&facts);
    complain(format_args!("{facts} (see 'ipc-cli --help')"));
    ExitCode::from(USAGE)
}
