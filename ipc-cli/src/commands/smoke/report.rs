//! The table, or the JSON lines, of all checks.

use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use super::check::{Check, Ended, Verdict};
use super::{actors, core, dispatch, exchange, marshal};
use crate::args::SmokeArgs;
use crate::output::Output;
use crate::run::Outcome;

/// How many checks ended in each way.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Summary {
    passed: u32,
    failed: u32,
    skipped: u32,
}

/// Runs the checks and prints each as it ends (`--json`) or all in a table.
///
/// # Errors
///
/// When standard output cannot be written to. A check that fails is an [`Outcome::Partial`].
pub(crate) fn run(args: &SmokeArgs) -> Result<Outcome> {
    let mut output = Output::open()?;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["LAYER", "CHECK", "RESULT", "TIME"]);
    let mut summary = Summary::default();
    for check in checks() {
        if args.only.is_some_and(|only| only != check.layer) {
            continue;
        }
        let ended = check.run();
        summary.count(&ended);
        if args.json {
            output.line(serde_json::to_string(&Line::new(&ended))?)?;
            output.flush()?;
        } else {
            table.add_row(row(&ended));
        }
    }
    if args.json {
        let summary = serde_json::to_string(&summary)?;
        output.line(format_args!("{{\"summary\":{summary}}}"))?;
    } else {
        let Summary {
            passed,
            failed,
            skipped,
        } = summary;
        output.line(table.trim_fmt())?;
        output.line(format_args!(
            "{passed} passed, {failed} failed, {skipped} skipped"
        ))?;
    }
    output.flush()?;
    Ok(match summary.failed {
        0 => Outcome::Complete,
        _ => Outcome::Partial,
    })
}

/// Every check, lowest layer first.
fn checks() -> impl Iterator<Item = Check> {
    core::CHECKS
        .iter()
        .chain(marshal::CHECKS)
        .chain(dispatch::CHECKS)
        .chain(exchange::CHECKS)
        .chain(actors::CHECKS)
        .copied()
}

impl Summary {
    fn count(&mut self, ended: &Ended) {
        match &ended.verdict {
            Ok(Verdict::Passed) => self.passed += 1,
            Ok(Verdict::Skipped(_)) => self.skipped += 1,
            Err(_) => self.failed += 1,
        }
    }
}

fn row(ended: &Ended) -> [String; 4] {
    let result = match &ended.verdict {
        Ok(Verdict::Passed) => "ok".to_owned(),
        Ok(Verdict::Skipped(reason)) => format!("skipped: {reason}"),
        Err(error) => format!("FAILED: {error:#}"),
    };
    [
        ended.check.layer.name().to_owned(),
        ended.check.name.to_owned(),
        result,
        format!("{:.1} ms", milliseconds(ended.elapsed)),
    ]
}

/// What `--json` prints of a check. `ok` is true for what was skipped too: nothing is wrong with it,
/// and `skipped` says why.
#[derive(Debug, Serialize)]
struct Line {
    layer: &'static str,
    check: &'static str,
    ok: bool,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Line {
    fn new(ended: &Ended) -> Self {
        let (skipped, error) = match &ended.verdict {
            Ok(Verdict::Passed) => (None, None),
            Ok(Verdict::Skipped(reason)) => (Some(reason.clone()), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        Self {
            layer: ended.check.layer.name(),
            check: ended.check.name,
            ok: error.is_none(),
            ms: milliseconds(ended.elapsed),
            skipped,
            error,
        }
    }
}

/// Rounded to microseconds, so that it prints short.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
