//! What `ipc-cli map` may be told.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use super::halt::HaltRule;
use crate::tasks::TaskName;

/// Run a task or a command over many inputs, in worker processes.
///
/// Inputs are the arguments before `--`, or those after `:::`, or else the lines of standard input,
/// which are read as they are needed. What an input prints comes out in one piece. A command is
/// started as it stands, without a shell; its standard input is empty.
#[derive(Debug, Args)]
#[command(after_long_help = HELP, group = ArgGroup::new("work").required(true).args(["task", "command"]))]
#[command(
    override_usage = "ipc-cli map [OPTIONS] --task <NAME> [INPUT]...\n       \
        ipc-cli map [OPTIONS] [INPUT]... -- <COMMAND>... [::: INPUT...]"
)]
pub(crate) struct MapArgs {
    /// A registered task, run over files; a directory means every regular file below it, sorted.
    #[arg(long, value_name = "NAME")]
    pub(super) task: Option<TaskName>,
    /// How many workers may live at the same time [default: the CPUs this process may use].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) limit: Option<u16>,
    /// How many times an input is tried again whose command failed, took too long or lost its
    /// worker; with --task, whose worker died.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) retries: u32,
    /// Kill what works on an input, with its process group, after so long: 10, 1.5, 500ms, 2m, 1h.
    #[arg(long, value_name = "T", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Write a line to FILE for every input that has ended, after its output was written.
    #[arg(long, value_name = "FILE")]
    pub(super) joblog: Option<PathBuf>,
    /// Skip the inputs that succeeded by the job log: they are not run and print nothing.
    #[arg(long, requires = "joblog")]
    pub(super) resume: bool,
    /// When failures end everything: never; soon[,fail=N[%]] starts nothing more; now[,fail=N[%]]
    /// kills what runs. A percentage is of what has ended, and counts from three failures on.
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(super) halt: HaltRule,
    /// Print results in the order of the inputs, or as they come.
    #[arg(long, value_enum, default_value_t = Order::Input)]
    pub(super) order: Order,
    /// Print one JSON object per input and a summary.
    #[arg(long)]
    pub(super) json: bool,
    /// Inputs on standard input end with a zero byte instead of a line break.
    #[arg(short = '0', long)]
    pub(super) null: bool,
    /// What to work on.
    #[arg(value_name = "INPUT")]
    inputs: Vec<OsString>,
    /// The command and its words; `{}` in a word stands for the input, which comes last if there is
    /// none.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const HELP: &str = "\
Examples:
  ipc-cli map --task sha256 --limit 4 src/
  ipc-cli map *.wav -- flac --silent -o {}.flac {}
  find . -name '*.log' | ipc-cli map --retries 2 --timeout 30 -- gzip
  ipc-cli map --joblog log --resume -- ./simulate --seed {} ::: 1 2 3

Exit status: 0 every input succeeded (or had before, with --resume); 1 some failed, were given up,
or were not begun because of --halt; 2 the command line was wrong; 128 + N ended by the signal N,
with all that it had started.";

/// In which order results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// As the inputs come.
    Input,
    /// As the results come.
    Done,
}

/// Ends the command and begins the inputs.
const INPUTS: &str = ":::";

impl MapArgs {
    /// The words of the command, if there is one, without inputs that follow it.
    pub(super) fn words(&self) -> &[OsString] {
        self.command
            .split(|word| word == INPUTS)
            .next()
            .unwrap_or_default()
    }

    /// The inputs on the command line, or nothing when they come by standard input.
    pub(super) fn inputs(&self) -> Option<Vec<OsString>> {
        let words = self.words().len();
        let after = self.command.get(words + 1..);
        if self.inputs.is_empty() && self.command.len() == words {
            return None;
        }
        let all = self.inputs.iter().chain(after.into_iter().flatten());
        Some(all.cloned().collect())
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number of seconds, or with ms, s, m or h after it".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    match Duration::try_from_secs_f64(number * unit) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("it must be more than nothing, and end some day".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let check = |text: &str, ms: Option<u64>| {
            let expected = ms.map(Duration::from_millis);
            assert_eq!(parse_duration(text).ok(), expected, "{text}");
        };
        check("10", Some(10_000));
        check("1.5", Some(1500));
        check("500ms", Some(500));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        for text in ["", "s", "0", "-1", "1d", "1e300h", "nan", "inf", "1 s"] {
            check(text, None);
        }
    }
}
