//! What `ipc-cli doctor` may be told.

use clap::Args;

/// Look at the limits and kernel features that matter to processes that talk, and say what it costs
/// to lack them.
///
/// The exit status is 1 if something is missing without which a part of the stack does not work.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object per finding and a summary instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

const HELP: &str = "\
Examples:
  ipc-cli doctor
  ipc-cli doctor --json | jq -r 'select(.state == \"missing\") | .finding'

States: ok; limited, it works at the cost that is named; missing, what needs it does not work; \
unknown, this system does not tell.

Exit status: 0 nothing is missing; 1 something is; 2 the command line was wrong.";
