//! Loops and alarms, with bare mio in the same program.

use std::time::Duration;

use bench::events::{BareMio, Driven, Ours, timers_arm_cancel, timers_fire, timers_lane};

use crate::{Cell, emit};

pub(crate) fn list() -> Vec<Cell> {
    let cell = |peer: &str, case, size| Cell {
        group: "events",
        peer: peer.to_owned(),
        case,
        size,
    };
    let mut cells = Vec::new();
    for size in [1, 100, 1000] {
        cells.push(cell("ipc-dispatch", "dispatch", size));
        cells.push(cell("ipc-mio", "dispatch", size));
    }
    for size in [10_000, 1_000_000] {
        cells.push(cell("ipc-dispatch", "timer_insert_cancel", size));
        cells.push(cell("ipc-dispatch-lane", "timer_insert_cancel", size));
    }
    cells.push(cell("ipc-dispatch", "timer_fire", 100_000));
    cells
}

/// Measures the cell, if there is one of this name.
pub(crate) fn cell(peer: &str, case: &str, size: usize, ms: u64) -> bool {
    let duration = Duration::from_millis(ms);
    match (peer, case) {
        ("ipc-dispatch", "dispatch") => {
            let mut driven = Driven::<Ours>::new(size, 1);
            driven.rate(duration / 4);
            emit("msgs_per_s", driven.rate(duration));
        }
        ("ipc-mio", "dispatch") => {
            let mut driven = Driven::<BareMio>::new(size, 1);
            driven.rate(duration / 4);
            emit("msgs_per_s", driven.rate(duration));
        }
        ("ipc-dispatch", "timer_insert_cancel") => emit("ns_per_op", timers_arm_cancel(size)),
        ("ipc-dispatch-lane", "timer_insert_cancel") => emit("ns_per_op", timers_lane(size)),
        ("ipc-dispatch", "timer_fire") => emit("ns_per_op", timers_fire(size)),
        _ => return false,
    }
    true
}
