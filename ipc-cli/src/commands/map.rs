//! `ipc-cli map`: a task over files, in worker processes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use ipc_exchange::{ExchangeOptions, IntoTask, Map};
use serde::de::DeserializeOwned;

use crate::args::MapArgs;
use crate::inputs::{Input, expand};
use crate::listing::{CountTable, digest_line};
use crate::output::{Output, complain};
use crate::run::Outcome;
use crate::tasks::{self, TaskName};

/// Runs the task and prints the results in the order of the inputs.
///
/// # Errors
///
/// When no worker can be started, and when standard output cannot be written to. An input that
/// fails is reported on standard error and makes the outcome [`Outcome::Partial`].
pub(crate) fn run(args: &MapArgs) -> Result<Outcome> {
    let output = Output::open()?;
    let inputs = expand(&args.paths);
    match args.task {
        TaskName::Sha256 => {
            let mut results = Results::start(args, tasks::sha256, inputs, output)?;
            results.print(digest_line)?;
            results.finish()
        }
        TaskName::Wc => {
            let mut table = count_table(&inputs);
            let several = inputs.len() > 1;
            let mut results = Results::start(args, tasks::wc, inputs, output)?;
            results.print(|counts, name| table.line(*counts, name))?;
            if several {
                results.output.write(&table.total())?;
            }
            results.finish()
        }
    }
}

/// Columns as `wc` chooses them, from the sizes that the files have before any is read.
fn count_table(inputs: &[Input]) -> CountTable {
    let mut total = 0;
    let mut all_regular = true;
    // When the first file cannot be looked at, `wc` does not look at the others either.
    let known = inputs.iter().take_while(|_| inputs[0].is_ok());
    for path in known.flatten() {
        if let Ok(metadata) = fs::metadata(path) {
            all_regular &= metadata.is_file();
            total += if metadata.is_file() {
                metadata.len()
            } else {
                0
            };
        }
    }
    CountTable::new(total, all_regular)
}

/// The results on their way to standard output.
struct Results<R> {
    inputs: Vec<Input>,
    map: Map<OsString, Result<R, String>>,
    output: Output,
    bar: ProgressBar,
    outcome: Outcome,
}

impl<R: DeserializeOwned> Results<R> {
    fn start(
        args: &MapArgs,
        task: impl IntoTask<OsString, Result<R, String>>,
        inputs: Vec<Input>,
        output: Output,
    ) -> Result<Self> {
        let mut options = ExchangeOptions::new().retries(args.retries);
        if let Some(limit) = args.limit {
            options = options.limit(limit.into());
        }
        let exchange = options.open().context("cannot start worker processes")?;
        let paths: Vec<OsString> = inputs
            .iter()
            .flatten()
            .map(|path| path.clone().into())
            .collect();
        let mut map = exchange.map(task, paths);
        map.start();
        Ok(Self {
            bar: progress(inputs.len()),
            inputs,
            map,
            output,
            outcome: Outcome::Complete,
        })
    }

    /// Prints every result as `format` has it, and complains of every input that has none.
    fn print(&mut self, mut format: impl FnMut(&R, &OsStr) -> Vec<u8>) -> Result<()> {
        let terminal = io::stdout().is_terminal();
        for input in std::mem::take(&mut self.inputs) {
            match input {
                Err((path, error)) => self.report(&path, &error.to_string()),
                Ok(path) => match self.map.next() {
                    Some(Ok(Ok(result))) => {
                        let line = format(&result, path.as_os_str());
                        self.write(&line, terminal)?;
                    }
                    Some(Ok(Err(reason))) => self.report(&path, &reason),
                    Some(Err(error)) => self.report(&path, &error.to_string()),
                    None => self.report(&path, "the exchange took no more tasks"),
                },
            }
            self.bar.inc(1);
        }
        Ok(())
    }

    /// On a terminal the line comes at once, and does not mix with the progress bar.
    fn write(&mut self, line: &[u8], terminal: bool) -> Result<()> {
        if !terminal {
            return self.output.write(line);
        }
        let output = &mut self.output;
        self.bar.suspend(|| {
            output.write(line)?;
            output.flush()
        })
    }

    fn report(&mut self, path: &Path, reason: &str) {
        self.outcome = Outcome::Partial;
        self.bar
            .suspend(|| complain(format_args!("{}: {reason}", path.display())));
    }

    fn finish(mut self) -> Result<Outcome> {
        self.bar.finish_and_clear();
        self.output.flush()?;
        Ok(self.outcome)
    }
}

/// A bar on standard error where that is a terminal; else it draws nothing.
fn progress(inputs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files, {per_sec}, {eta} left");
    ProgressBar::new(inputs as u64).with_style(style.expect("the template is well formed"))
}
