//! The eighteen programs of pprocess's tutorial, examples and tests, in this crate's terms.
//!
//! `cargo run --example scenarios [NAME..]` runs those whose names contain one of the words, or all.
//! Each checks its results and, while it runs, that no more workers are alive than it allows.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::unwrap_used, reason = "a wrong result ends the example")]

mod background;
mod maps;
mod ray;
mod streams;
mod two_way;
mod watch;

use ipc_exchange::{init, registry};

const SCENARIOS: &[(&str, fn())] = &[
    ("S1 simple_pmap", maps::simple_pmap),
    ("S2 simple_pmap_iter", maps::simple_pmap_iter),
    ("S3 simple_managed_map", maps::simple_managed_map),
    ("S4 simple_managed_queue", maps::simple_managed_queue),
    ("S5 simple_managed", maps::simple_managed),
    ("S6 simple_start", two_way::simple_start),
    ("S7 simple_create", maps::simple_create),
    (
        "S8 simple_managed_map_reusable",
        maps::simple_managed_map_reusable,
    ),
    (
        "S9 simple_continuous_queue",
        streams::simple_continuous_queue,
    ),
    (
        "S10 simple_background_queue",
        background::simple_background_queue,
    ),
    (
        "S11 simple_persistent_queue",
        background::simple_persistent_queue,
    ),
    (
        "S12 simple_persistent_managed",
        background::simple_persistent_managed,
    ),
    ("S13 bottles", streams::bottles),
    ("S14 bottles_heartbeat", streams::bottles_heartbeat),
    ("S15 ray", ray::scene),
    ("S16 create_loop", two_way::create_loop),
    ("S17 two_way", two_way::countdown),
    ("S18 start_indexer", streams::start_indexer),
];

fn main() {
    init(registry![
        maps::calculate,
        maps::calculate_with_pid,
        two_way::calculate_and_send,
        two_way::echoes,
        two_way::counts_down,
        streams::row,
        streams::follow,
        streams::grep,
        streams::index_slice,
        background::table,
        background::rows,
        ray::render_row,
    ]);
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, address] = &words[..]
        && flag == "--start"
    {
        return background::start(address);
    }
    let words: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut count = 0;
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| is_wanted(name)) {
        scenario();
        println!("{name}: ok");
        count += 1;
    }
    // No failure: words may be those by which the tests of the whole crate are chosen.
    if count == 0 {
        println!("nothing to run; there are:");
        SCENARIOS.iter().for_each(|(name, _)| println!("  {name}"));
    }
}
