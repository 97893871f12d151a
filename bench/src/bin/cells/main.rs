//! Our cells of the comparison with the peers: one process start measures one cell once.
//!
//! ```text
//! cells list                      every cell, one JSON object per line
//! cells cell PEER CASE SIZE MS    measures one for about MS milliseconds, one JSON line per metric
//! ```
//!
//! A cell that finds anything damaged, lost or out of order panics: exit status 101 and no number.

#![expect(
    clippy::print_stdout,
    reason = "the output is what this program is for"
)]
#![expect(clippy::print_stderr, reason = "usage errors go to the terminal")]

mod actors;
mod codecs;
mod drive;
mod events;
mod in_place;
mod ipc;
mod lives;
mod message;
mod pool;
mod typed;

use std::process::ExitCode;

use ipc_actors::host;
use ipc_exchange::{init, registry};

/// A cell that can be measured.
struct Cell {
    group: &'static str,
    peer: String,
    case: &'static str,
    size: usize,
}

/// Prints one measured value.
fn emit(metric: &str, value: f64) {
    println!("{{\"metric\":\"{metric}\",\"value\":{value:.4}}}");
}

/// Prints a percentile of times in nanoseconds, in a unit of so many.
fn emit_percentile(metric: &str, times: &mut [u64], percent: usize, unit: f64) {
    times.sort_unstable();
    emit(metric, times[times.len() * percent / 100] as f64 / unit);
}

fn main() -> ExitCode {
    // The workers and actors of some cells are this program again.
    init(registry![pool::square, pool::large, host::<actors::Sum>]);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["list"] => {
            for Cell {
                group,
                peer,
                case,
                size,
            } in ipc::list()
                .into_iter()
                .chain(typed::list())
                .chain(pool::list())
                .chain(events::list())
                .chain(codecs::list())
                .chain(actors::list())
                .chain(lives::list())
            {
                println!(
                    "{{\"group\":\"{group}\",\"peer\":\"{peer}\",\"case\":\"{case}\",\"size\":{size}}}"
                );
            }
            ExitCode::SUCCESS
        }
        ["cell", peer, case, size, ms] => {
            let (Ok(size), Ok(ms)) = (size.parse(), ms.parse()) else {
                return usage();
            };
            if ipc::cell(peer, case, size, ms)
                || typed::cell(peer, case, size, ms)
                || pool::cell(peer, case, size, ms)
                || events::cell(peer, case, size, ms)
                || codecs::cell(peer, case, size, ms)
                || actors::cell(peer, case, size, ms)
                || lives::cell(peer, case, size, ms)
            {
                ExitCode::SUCCESS
            } else {
                eprintln!(
                    "there is no cell '{peer} {case} {size}'; `cells list` names those there are"
                );
                ExitCode::from(2)
            }
        }
        ["ipc-child", peer, case, size] => {
            let Ok(size) = size.parse() else {
                return usage();
            };
            if !typed::child(peer, case, size) {
                ipc::child(peer, case, size);
            }
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: cells list | cells cell PEER CASE SIZE MS");
    ExitCode::from(2)
}
