//! What `ipc-cli top` may be told.

use clap::Args;

use crate::commands::actor::Target;

/// Watch an application: its pools and actors, with what they do, again and again.
///
/// Keys: q and Ctrl-C end it, the arrows, j and k scroll. When the application ends it says so and
/// waits for another one at the same address.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Look every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = parse_interval)]
    pub(super) interval: f64,
    /// Print one snapshot and end; this needs no terminal.
    #[arg(long)]
    pub(super) once: bool,
    /// With --once, print one JSON object instead of tables.
    #[arg(long, requires = "once")]
    pub(super) json: bool,
}

const HELP: &str = "\
Examples:
  ipc-cli top unix:/tmp/demo
  ipc-cli top tcp:127.0.0.1:4000 --key-file key --once

Exit status: 0 it was ended by a key, or --once has shown everything; 1 there is no terminal, or with
--once nobody answered; 2 the command line was wrong; 128 + N ended by the signal N.";

fn parse_interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("the seconds are a number from 0.1 to 3600".to_owned()),
    }
}
