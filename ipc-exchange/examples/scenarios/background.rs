//! Work that goes on without the process that started it.

use std::process::Command;

use ipc_core::Address;
use ipc_exchange::{Exchange, Publisher, Reader, start_persistent};

use crate::maps::calculate;
use crate::watch::Watch;

/// Ten processes in the background, two workers for each, and one that is just starting the next.
const BACKGROUND: usize = 10 * 3 + 1;

/// The whole table, by an exchange of its own.
pub(crate) fn table(side: u32, out: Publisher<(u32, u32)>) {
    let exchange = Exchange::new(10).unwrap();
    let pairs = (0..side).flat_map(move |i| (0..side).map(move |j| (i, j)));
    for (number, value) in (0..).zip(exchange.map(calculate, pairs)) {
        out.put(&(number, value.unwrap())).unwrap();
    }
    exchange.finish();
}

/// One row, by an exchange of two.
pub(crate) fn rows(i: u32, out: Publisher<(u32, u32)>) {
    let exchange = Exchange::new(2).unwrap();
    for (j, value) in (0..).zip(exchange.map(calculate, (0..10).map(move |j| (i, j)))) {
        out.put(&(i * 10 + j, value.unwrap())).unwrap();
    }
    exchange.finish();
}

/// What the process does that starts the work and ends.
pub(crate) fn start(address: &str) {
    start_persistent(&address.parse().unwrap(), table, &10).unwrap();
}

fn place() -> (tempfile::TempDir, Vec<Address>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |n: u32| folder.path().join(n.to_string());
    let addresses = (0..10).map(|n| Address::unix(path(n)).unwrap()).collect();
    (folder, addresses)
}

#[track_caller]
fn assert_table(mut cells: Vec<(u32, u32)>) {
    cells.sort_unstable();
    assert_eq!(cells, (0..100).map(|n| (n, n)).collect::<Vec<_>>());
}

pub(crate) fn simple_background_queue() {
    let watch = Watch::everywhere();
    let (_folder, addresses) = place();
    let address = &addresses[0];
    // Started by another process, which has ended when this one connects.
    let mut starter = Command::new(std::env::current_exe().unwrap());
    let status = starter
        .args(["--start", &address.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
    assert_table(
        Reader::connect(address)
            .unwrap()
            .map(Result::unwrap)
            .collect(),
    );
    // And both in one process.
    start(&address.to_string());
    assert_table(
        Reader::connect(address)
            .unwrap()
            .map(Result::unwrap)
            .collect(),
    );
    // Ten workers, the process in the background, and, as it starts, two that start it; twice, if the
    // first has not quite ended.
    watch.finish(2 * 13);
}

pub(crate) fn simple_persistent_queue() {
    let watch = Watch::everywhere();
    let (_folder, addresses) = place();
    for (i, address) in (0..).zip(&addresses) {
        start_persistent(address, rows, &i).unwrap();
    }
    let readers = addresses
        .iter()
        .map(|address| Reader::connect(address).unwrap());
    assert_table(readers.flatten().map(Result::unwrap).collect());
    watch.finish(BACKGROUND);
}

pub(crate) fn simple_persistent_managed() {
    let watch = Watch::everywhere();
    let (_folder, addresses) = place();
    for (i, address) in (0..).zip(&addresses) {
        start_persistent(address, rows, &i).unwrap();
    }
    let mut cells = Vec::new();
    let mut store = |cell: (u32, u32)| cells.push(cell);
    for address in &addresses {
        let mut reader = Reader::connect(address).unwrap();
        while let Some(cell) = reader.recv().unwrap() {
            store(cell);
        }
    }
    assert_table(cells);
    watch.finish(BACKGROUND);
}
