//! What may be said on the command line.

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::actor::ActorArgs;
use crate::commands::bench::BenchArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::duct::DuctArgs;
use crate::commands::man::ManArgs;
use crate::commands::map::MapArgs;
use crate::commands::top::TopArgs;

/// Check a machine's inter-process communication, and run work in worker processes.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = EXIT_STATUS)]
#[command(arg_required_else_help = false, subcommand_required = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str = "\
Exit status: 0 all went well; 1 something that was asked for failed, the rest was done; \
2 the command line was wrong, nothing was done; 128 + N ended by the signal N.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Smoke(SmokeArgs),
    Map(MapArgs),
    Duct(DuctArgs),
    Bench(BenchArgs),
    Actor(ActorArgs),
    Top(TopArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    #[command(hide = true)]
    Peer(PeerArgs),
}

/// Run each layer between real processes on this machine and say what works.
///
/// Checks of what this machine lacks are skipped, with the reason.
#[derive(Debug, clap::Args)]
#[command(after_long_help = SMOKE_HELP)]
pub(crate) struct SmokeArgs {
    /// Print one JSON object per check and a summary instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Run the checks of one layer only.
    #[arg(long, value_name = "LAYER")]
    pub(crate) only: Option<Layer>,
}

const SMOKE_HELP: &str = "\
Examples:
  ipc-cli smoke
  ipc-cli smoke --only exchange --json

Exit status: 0 nothing failed; 1 a check failed; 2 the command line was wrong; 128 + N ended by the signal N.";

/// A layer of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layer {
    Core,
    Marshal,
    Dispatch,
    Exchange,
    Actors,
}

impl Layer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Marshal => "marshal",
            Self::Dispatch => "dispatch",
            Self::Exchange => "exchange",
            Self::Actors => "actors",
        }
    }
}

/// The other end of a smoke check; not for people.
#[derive(Debug, clap::Args)]
pub(crate) struct PeerArgs {
    pub(crate) role: PeerRole,
    /// Where the other side listens; without it, the channel is an inherited one.
    pub(crate) address: Option<String>,
}

/// What the other end does.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PeerRole {
    /// Sends back every byte.
    Bytes,
    /// Sends back every message.
    Messages,
    /// Reads nothing and says nothing until the other side is gone.
    Silent,
}
