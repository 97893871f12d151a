//! The table, or the JSON lines, of all findings.

use anyhow::Result;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::json;

use super::args::DoctorArgs;
use super::examine::examine;
use super::finding::State;
use crate::output::Output;
use crate::run::Outcome;

/// How wide the table is, in columns.
const WIDTH: u16 = 100;

/// Looks at everything and prints what was found.
///
/// # Errors
///
/// When standard output cannot be written to. Something missing is an [`Outcome::Partial`].
pub(crate) fn run(args: &DoctorArgs) -> Result<Outcome> {
    let mut output = Output::open()?;
    let findings = examine();
    let count = |state| findings.iter().filter(|found| found.state == state).count();
    let (ok, limited) = (count(State::Ok), count(State::Limited));
    let (missing, unknown) = (count(State::Missing), count(State::Unknown));
    if args.json {
        for finding in &findings {
            output.line(serde_json::to_string(finding)?)?;
        }
        output.line(json!({"summary":
            {"ok": ok, "limited": limited, "missing": missing, "unknown": unknown}}))?;
    } else {
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(WIDTH)
            .set_header(["FINDING", "STATE", "HERE", "WITHOUT IT"]);
        for finding in &findings {
            let state = finding.state.name();
            table.add_row([finding.name, state, &finding.found, finding.cost]);
        }
        output.line(table.trim_fmt())?;
        output.line(format_args!(
            "{ok} ok, {limited} limited, {missing} missing, {unknown} unknown"
        ))?;
    }
    output.flush()?;
    Ok(match missing {
        0 => Outcome::Complete,
        _ => Outcome::Partial,
    })
}
