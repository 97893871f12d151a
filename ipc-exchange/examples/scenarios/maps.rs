//! One function over a hundred pairs: ordered, unordered, by callback, with few processes.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use ipc_exchange::{Exchange, ExchangeOptions, Start, pmap};

use crate::watch::Watch;

const SIDE: u32 = 10;
const LIMIT: usize = 10;
const DELAY: Duration = Duration::from_millis(10);

/// What the tutorial calls a calculation: it takes its time.
pub(crate) fn calculate((i, j): (u32, u32)) -> u32 {
    let until = Instant::now() + DELAY;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    i * SIDE + j
}

pub(crate) fn calculate_with_pid((i, j): (u32, u32)) -> ((u32, u32), u32, u32) {
    ((i, j), calculate((i, j)), std::process::id())
}

fn pairs() -> impl Iterator<Item = (u32, u32)> + Send + 'static {
    (0..SIDE).flat_map(|i| (0..SIDE).map(move |j| (i, j)))
}

fn expected() -> Vec<u32> {
    (0..SIDE * SIDE).collect()
}

/// Faster than one after another by far.
#[track_caller]
fn assert_parallel(started: Instant) {
    assert!(
        started.elapsed() < DELAY * SIDE * SIDE,
        "{:?}",
        started.elapsed()
    );
}

pub(crate) fn simple_pmap() {
    let (watch, started) = (Watch::start(), Instant::now());
    let mut map = pmap(calculate, pairs(), LIMIT).unwrap();
    for i in 0..SIDE as usize {
        let row = map.slice(i * 10..(i + 1) * 10);
        let row: Vec<u32> = row.into_iter().map(|result| *result.unwrap()).collect();
        assert_eq!(row, expected()[i * 10..(i + 1) * 10]);
    }
    assert_parallel(started);
    drop(map);
    watch.finish(LIMIT);
}

pub(crate) fn simple_pmap_iter() {
    let watch = Watch::start();
    let exchange = Exchange::new(2).unwrap();
    let mut map = exchange.map(calculate, pairs()).ahead(8);
    assert_eq!(map.next().unwrap().unwrap(), 0);
    assert!(
        map.len() < 50,
        "the first is there before the last is begun"
    );
    let rest: Vec<u32> = map.map(Result::unwrap).collect();
    assert_eq!(rest, expected()[1..]);
    exchange.finish();
    watch.finish(2);
}

pub(crate) fn simple_managed_map() {
    let (watch, started) = (Watch::start(), Instant::now());
    let exchange = Exchange::new(LIMIT).unwrap();
    let calc = exchange.manage(calculate);
    let mut results = Vec::new();
    for i in 0..SIDE {
        for j in 0..SIDE {
            results.push(calc.start((i, j)).unwrap());
        }
    }
    let results: Vec<u32> = results
        .into_iter()
        .map(|handle| handle.wait().unwrap())
        .collect();
    assert_eq!(results, expected());
    assert_parallel(started);
    exchange.finish();
    watch.finish(LIMIT);
}

pub(crate) fn simple_managed_queue() {
    let watch = Watch::start();
    let exchange = Exchange::new(LIMIT).unwrap();
    let mut queue = exchange.queue();
    for pair in pairs() {
        queue.start(calculate_with_pid, pair).unwrap();
    }
    let mut seen = HashSet::new();
    for result in queue.by_ref() {
        let ((i, j), value, _) = result.unwrap();
        assert_eq!(value, i * SIDE + j);
        assert!(seen.insert((i, j)));
    }
    assert_eq!(seen.len(), 100);
    exchange.finish();
    watch.finish(LIMIT);
}

pub(crate) fn simple_managed() {
    let watch = Watch::start();
    let exchange = Exchange::new(LIMIT).unwrap();
    let mut table = [[0; SIDE as usize]; SIDE as usize];
    let mut queue = exchange.queue();
    for pair in pairs() {
        queue.start(calculate_with_pid, pair).unwrap();
    }
    queue.finish(|_, result| {
        let ((i, j), value, _) = result.unwrap();
        table[i as usize][j as usize] = value;
    });
    assert_eq!(table.concat(), expected());
    exchange.finish();
    watch.finish(LIMIT);
}

/// What is inline code in a forked process there is a named function here, in a process of its own.
pub(crate) fn simple_create() {
    let watch = Watch::start();
    let options = ExchangeOptions::new()
        .limit(LIMIT)
        .reuse(false)
        .start(Start::Zygote);
    let exchange = options.open().unwrap();
    let ordered: Vec<u32> = exchange
        .map(calculate, pairs())
        .map(Result::unwrap)
        .collect();
    assert_eq!(ordered, expected());
    let mut queue = exchange.queue();
    for pair in pairs() {
        queue.start(calculate_with_pid, pair).unwrap();
    }
    let pids: HashSet<u32> = queue.by_ref().map(|result| result.unwrap().2).collect();
    assert_eq!(pids.len(), 100, "every task has a process");
    exchange.finish();
    // The zygote is a child too.
    watch.finish(LIMIT + 1);
}

pub(crate) fn simple_managed_map_reusable() {
    let watch = Watch::start();
    let exchange = ExchangeOptions::new()
        .limit(LIMIT)
        .reuse(true)
        .open()
        .unwrap();
    let results: Vec<_> = exchange
        .map(calculate_with_pid, pairs())
        .map(Result::unwrap)
        .collect();
    let values: Vec<u32> = results.iter().map(|(_, value, _)| *value).collect();
    assert_eq!(values, expected());
    let pids: HashSet<u32> = results.iter().map(|(_, _, pid)| *pid).collect();
    assert!(pids.len() <= LIMIT, "{} processes", pids.len());
    exchange.finish();
    watch.finish(LIMIT);
}
