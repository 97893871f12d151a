//! The table, the JSON lines and the chart of all cells.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::args::{BenchArgs, Transport};
use super::cell::{self, Figures};
use super::{chart, memory, serve};
use crate::output::{Output, complain};
use crate::run::Outcome;

const SIZES: [u32; 4] = [64, 4096, 65_536, 1 << 20];

const SIZES_MAX: usize = 8;

/// The longest that a part of a cell is measured, and how long all together may take: a minute less
/// what starting processes and slow machines need.
const SLICE_MAX: Duration = Duration::from_millis(80);
const TIME_MAX: Duration = Duration::from_secs(30);

/// How long the machine is watched for its fastest cache line.
const BOUNCE_TIME: Duration = Duration::from_millis(500);

/// What was measured of one transport at one size.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Row {
    pub(super) transport: &'static str,
    pub(super) size: u32,
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) limit: Limit,
}

/// What a transport cannot beat.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// Measures every cell and prints each as it ends (`--json`) or all in a table.
///
/// # Errors
///
/// When a link fails, or the output or the chart cannot be written.
pub(crate) fn run(args: &BenchArgs) -> Result<Outcome> {
    if let Some(served) = args.serve {
        return serve::run(served);
    }
    let mut output = Output::open()?;
    let (transports, sizes) = cells(args)?;
    if let Some(path) = &args.plot {
        // Now rather than after everything was measured.
        fs::write(path, "").with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    let count = u32::try_from(transports.len() * sizes.len()).context("too many cells")?;
    let slice = SLICE_MAX.min(TIME_MAX / (count * cell::PARTS));
    let bar = progress(count);
    let bounce_ns = match transports.contains(&Transport::Ring) {
        true => memory::bounce(BOUNCE_TIME),
        false => 0.0,
    };
    let mut rows = Vec::new();
    for transport in transports {
        for &size in &sizes {
            bar.set_message(format!("{} {size}", transport.name()));
            match cell::measure(transport, size, slice, bounce_ns) {
                Ok((figures, limit)) => {
                    rows.push(row(transport, size, figures, limit));
                    if args.json {
                        output.line(serde_json::to_string(&rows[rows.len() - 1])?)?;
                        output.flush()?;
                    }
                }
                Err(error) if is_unsupported(&error) => {
                    complain(format_args!("{} is skipped: {error:#}", transport.name()));
                }
                Err(error) => {
                    let name = transport.name();
                    return Err(error.context(format!("{name} with {size} bytes")));
                }
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if !args.json {
        print_table(&rows, &mut output)?;
    }
    output.flush()?;
    if let Some(path) = &args.plot {
        let svg = chart::draw(&rows)?;
        fs::write(path, svg).with_context(|| format!("cannot write '{}'", path.display()))?;
    }
    Ok(Outcome::Complete)
}

/// What is measured, each once and in the order in which it was asked for.
fn cells(args: &BenchArgs) -> Result<(Vec<Transport>, Vec<u32>)> {
    let mut transports = Vec::new();
    for &transport in &args.transport {
        if !transports.contains(&transport) {
            transports.push(transport);
        }
    }
    if transports.is_empty() {
        transports = Transport::value_variants().to_vec();
    }
    let mut sizes = args.size.clone();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.is_empty() {
        sizes = SIZES.to_vec();
    }
    let count = sizes.len();
    ensure!(count <= SIZES_MAX, "{count} sizes, at most {SIZES_MAX}");
    Ok((transports, sizes))
}

fn row(transport: Transport, size: u32, figures: Figures, limit: Figures) -> Row {
    Row {
        transport: transport.name(),
        size,
        figures,
        limit: Limit {
            name: transport.limit_name(),
            figures: limit,
        },
    }
}

fn is_unsupported(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::Unsupported)
}

/// A bar on standard error, if that is a terminal.
fn progress(cells: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}");
    ProgressBar::new(cells.into()).with_style(style.expect("the template is well formed"))
}

fn print_table(rows: &[Row], output: &mut Output) -> Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "TRANSPORT",
        "BYTES",
        "ROUND TRIP",
        "P99",
        "LIMIT",
        "ONE WAY",
        "RATE",
        "LIMIT",
        "THE LIMIT IS",
    ]);
    for row in rows {
        let (ours, limit) = (row.figures, row.limit.figures);
        table.add_row([
            row.transport.to_owned(),
            row.size.to_string(),
            microseconds(ours.rtt_us_p50),
            ours.rtt_us_p99.map(microseconds).unwrap_or_default(),
            microseconds(limit.rtt_us_p50),
            format!("{}/s", short(ours.msgs_per_s)),
            rate(ours.mib_per_s),
            rate(limit.mib_per_s),
            row.limit.name.to_owned(),
        ]);
    }
    for column in 1..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    output.line(table.trim_fmt())
}

fn microseconds(value: f64) -> String {
    match value {
        small if small < 10.0 => format!("{small:.2} us"),
        middle if middle < 100.0 => format!("{middle:.1} us"),
        large => format!("{large:.0} us"),
    }
}

fn rate(mib_per_s: f64) -> String {
    match mib_per_s {
        small if small < 1024.0 => format!("{small:.0} MiB/s"),
        large => format!("{:.1} GiB/s", large / 1024.0),
    }
}

/// A count with its thousands as a letter.
fn short(count: f64) -> String {
    match count {
        small if small < 1e4 => format!("{small:.0}"),
        middle if middle < 1e6 => format!("{:.0} k", middle / 1e3),
        large => format!("{:.1} M", large / 1e6),
    }
}
