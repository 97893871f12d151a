//! What `ipc-cli actor` may be told.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipc_core::Address;

/// Serve an application of actors, and call, look at, configure and stop one.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(crate) struct ActorArgs {
    #[command(subcommand)]
    pub(super) action: Action,
}

const HELP: &str = "\
Examples:
  ipc-cli actor serve --bind unix:/tmp/demo --workers 2
  ipc-cli actor call unix:/tmp/demo square 12
  ipc-cli actor info unix:/tmp/demo
  ipc-cli actor config unix:/tmp/demo workers 4
  ipc-cli actor stop unix:/tmp/demo

Exit status: that of each is in its own help.";

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Run the demonstration application until a signal or `actor stop` ends it.
    ///
    /// The first line on standard output is the address that was really bound and the process id.
    /// Signals: TERM stops, INT and QUIT kill what runs, HUP replaces the workers, TTIN and TTOU make
    /// them one more or fewer, WINCH retires them.
    #[command(after_long_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Call a command of an actor: the pool of the application, unless --name says otherwise.
    ///
    /// `ping` and `echo` are known to all; the demonstration also knows `square` (a whole number), `sleep` (a
    /// number of seconds) and `crash` (nothing). The answer is printed as one line of JSON.
    #[command(after_long_help = CALL_HELP)]
    Call(CallArgs),
    /// Show the tree: ids, process ids, states, restarts, mailboxes and requests.
    #[command(after_long_help = INFO_HELP)]
    Info(InfoArgs),
    /// Show the settings, or one of them, or change one while the application runs.
    ///
    /// What is changed takes effect without the loss of a call: where the workers have to be made anew,
    /// each is replaced by one that is up before it goes.
    #[command(after_long_help = CONFIG_HELP)]
    Config(ConfigArgs),
    /// Replace all workers, as HUP does but with the settings as they are: new ones first.
    #[command(after_long_help = RELOAD_HELP)]
    Reload(ReloadArgs),
    /// End the application in order, as TERM does, and wait until it is gone.
    #[command(after_long_help = STOP_HELP)]
    Stop(StopArgs),
}

const SERVE_HELP: &str = "\
Examples:
  ipc-cli actor serve --bind unix:/tmp/demo --workers 2 --max-requests 1000
  ipc-cli actor serve --bind tcp:127.0.0.1:0 --key-file key --config demo.toml

Exit status: 0 it was stopped; 1 it failed, so also when the address is taken; 2 the command line or
the settings were wrong; 3 its workers did not start or died too often; 128 + N ended by the signal N.";

const CALL_HELP: &str = "\
Examples:
  ipc-cli actor call unix:/tmp/demo square 12
  ipc-cli actor call tcp:127.0.0.1:4000 echo '{\"a\":1}' --key-file key

Exit status: 0 there was an answer; 1 there was none, or it was an error (for `crash`, the worker's
death); 2 the command line was wrong, as for JSON that is none; 128 + N ended by the signal N.";

const INFO_HELP: &str = "\
Example:
  ipc-cli actor info unix:/tmp/demo --json

Exit status: 0 it was shown; 1 nobody answered; 2 the command line was wrong.";

const CONFIG_HELP: &str = "\
Examples:
  ipc-cli actor config unix:/tmp/demo
  ipc-cli actor config unix:/tmp/demo timeout
  ipc-cli actor config unix:/tmp/demo max_requests 1000

Exit status: 0 it was shown or changed; 1 nobody answered, there is no such setting, it takes no such
value, or this caller may not; 2 the command line was wrong.";

const RELOAD_HELP: &str = "\
Example:
  ipc-cli actor reload unix:/tmp/demo

Exit status: 0 it has begun; 1 nobody answered, or this caller may not; 2 the command line was wrong.";

const STOP_HELP: &str = "\
Example:
  ipc-cli actor stop unix:/tmp/demo

Exit status: 0 it is gone; 1 nobody answered, or it may not be stopped by this caller; 2 the command
line was wrong.";

/// What `serve` may be told.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Where it is reached: tcp:HOST:PORT (needs a key), unix:PATH, unix:@NAME, ring:PATH or
    /// ring:@NAME; unless given, unix:@ipc-cli-demo.
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(super) bind: Option<Address>,
    /// How many worker processes; 0 is one worker on the main loop [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub(super) workers: Option<u16>,
    /// Replace a worker after so many requests; 0 is never [default: 0].
    #[arg(long, value_name = "N")]
    pub(super) max_requests: Option<u64>,
    /// Callers must know the key in FILE; those who do may do everything.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// Read settings from FILE, as TOML: bind, workers, max_requests, key_file, timeout, pidfile, ..;
    /// the environment (DEMO_WORKERS, ..) and the command line are stronger.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Where an application is, and how to get in.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Where `serve` listens.
    #[arg(value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) address: Address,
    /// Prove to know the key in FILE.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// The command's name.
    pub(super) command: String,
    /// Its message, in JSON.
    #[arg(value_name = "JSON", value_parser = parse_json, default_value = "null", allow_hyphen_values = true)]
    pub(super) message: serde_json::Value,
    /// The actor that is called.
    #[arg(long, default_value = crate::demo::NAME)]
    pub(super) name: String,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) timeout: u32,
}

#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// The setting; all are shown unless one is named.
    pub(super) name: Option<String>,
    /// What it shall be.
    #[arg(allow_hyphen_values = true)]
    pub(super) value: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(Debug, Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    pub(super) target: Target,
}

fn parse_address(text: &str) -> Result<Address, String> {
    text.parse::<Address>().map_err(|error| error.to_string())
}

fn parse_json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))
}
