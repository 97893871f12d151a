//! `ipc-cli completions`: what a shell offers after the tabulator key.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::output::Output;
use crate::run::Outcome;

/// Print the completions of a shell, to be loaded by it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct CompletionsArgs {
    shell: Shell,
}

const HELP: &str = "\
Examples:
  source <(ipc-cli completions bash)
  ipc-cli completions fish > ~/.config/fish/completions/ipc-cli.fish

Exit status: 0 they were printed; 1 they could not be written; 2 the command line was wrong.";

/// Prints them.
///
/// # Errors
///
/// When standard output cannot be written to.
pub(crate) fn run(args: &CompletionsArgs) -> Result<Outcome> {
    let mut output = Output::open()?;
    // Into memory first: clap panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "ipc-cli", &mut script);
    let mut script = String::from_utf8(script).context("the completions are not text")?;
    if args.shell == Shell::Bash {
        // clap_complete 4.6.11 takes the hyphen of the program's name for a space in half of the
        // places where it names a subcommand.
        script = script.replace("ipc__subcmd__cli", "ipc__cli");
    }
    output.write(script.as_bytes())?;
    output.flush()?;
    Ok(Outcome::Complete)
}
