//! Maps and queues.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_exchange::{Exchange, ExchangeOptions, SubmitReason, pmap};

use crate::harness::tests;
use crate::tasks;

tests![
    a_map_keeps_the_order,
    a_map_gives_results_while_it_runs,
    a_map_takes_endless_inputs,
    a_map_by_position,
    a_map_larger_than_the_backlog,
    a_map_of_nothing,
    a_map_of_an_unregistered_function,
    a_queue_gives_what_comes_first,
    a_queue_of_different_functions,
    pmap_ends_its_workers,
    chunks_keep_the_order,
    a_panic_in_a_chunk_is_its_own,
    a_result_in_a_chunk_that_cannot_be_carried_is_its_own,
    what_a_chunk_has_told_is_kept,
];

fn a_map_keeps_the_order() {
    let exchange = Exchange::new(2).unwrap();
    let results: Vec<u64> = exchange
        .map(tasks::square, 0..5000)
        .map(Result::unwrap)
        .collect();
    assert!(
        results
            .iter()
            .enumerate()
            .all(|(x, square)| (x * x) as u64 == *square)
    );
    assert_eq!(results.len(), 5000);
    exchange.finish();
}

fn a_map_gives_results_while_it_runs() {
    let exchange = Exchange::new(2).unwrap();
    let mut map = exchange.map(tasks::pause, [1, 1, 30_000]);
    assert!(map.next().unwrap().is_ok());
    assert!(map.next().unwrap().is_ok());
    drop(map);
    exchange.finish();
}

fn a_map_takes_endless_inputs() {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let inputs = (0..).inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let exchange = Exchange::new(2).unwrap();
    let map = exchange.map(tasks::square, inputs).ahead(50);
    let sum: u64 = map.take(500).map(Result::unwrap).sum();
    assert_eq!(sum, (0..500).map(|x| x * x).sum::<u64>());
    assert!(taken.load(Ordering::Relaxed) <= 550, "{taken:?}");
    exchange.finish();
}

fn a_map_by_position() {
    let exchange = Exchange::new(2).unwrap();
    let mut map = exchange.map(tasks::square, 0..10);
    assert_eq!(map.get(7).unwrap().unwrap(), &49);
    assert!(map.get(10).is_none());
    let slice: Vec<u64> = map.slice(2..5).into_iter().map(|r| *r.unwrap()).collect();
    assert_eq!(slice, [4, 9, 16]);
    assert!(map.slice(20..30).is_empty());
    assert_eq!(map.len(), 10);
    assert_eq!(map.next().unwrap().unwrap(), 0);
    assert!(map.get(0).is_none(), "it was moved out");
    assert_eq!(map.count(), 9);
    exchange.finish();
}

fn a_map_larger_than_the_backlog() {
    let exchange = ExchangeOptions::new().limit(2).backlog(3).open().unwrap();
    let other = exchange.submit(tasks::pause, 30).unwrap();
    let sum: u64 = exchange
        .map(tasks::square, 0..100)
        .map(Result::unwrap)
        .sum();
    assert_eq!(sum, (0..100).map(|x| x * x).sum::<u64>());
    other.wait().unwrap();
    exchange.finish();
}

fn a_map_of_nothing() {
    let exchange = Exchange::new(2).unwrap();
    assert!(exchange.map(tasks::square, []).next().is_none());
    exchange.finish();
}

fn a_map_of_an_unregistered_function() {
    fn stranger(x: u64) -> u64 {
        x
    }
    let exchange = Exchange::new(1).unwrap();
    let mut map = exchange.map(stranger, [1, 2]);
    assert!(map.next().is_none());
    assert!(matches!(
        map.refused(),
        Some(SubmitReason::Unregistered { .. })
    ));
    exchange.finish();
}

fn a_queue_gives_what_comes_first() {
    let exchange = Exchange::new(2).unwrap();
    let mut queue = exchange.queue();
    queue.start(tasks::pause, 150).unwrap();
    queue.start(tasks::pause, 1).unwrap();
    let order: Vec<u64> = std::iter::from_fn(|| queue.recv())
        .map(|(number, _)| number)
        .collect();
    assert_eq!(order, [1, 0]);
    assert!(queue.next().is_none());
    queue.start(tasks::pause, 1).unwrap();
    assert!(queue.try_recv().is_none());
    assert!(queue.recv_timeout(Duration::from_secs(20)).is_some());
    exchange.finish();
}

fn a_queue_of_different_functions() {
    let exchange = Exchange::new(2).unwrap();
    let mut queue = exchange.queue();
    for x in 0..10 {
        queue.start(tasks::square, x).unwrap();
        queue.start(tasks::double, x).unwrap();
    }
    let mut results: Vec<u64> = queue.by_ref().map(Result::unwrap).collect();
    let mut expected: Vec<u64> = (0..10).flat_map(|x| [x * x, 2 * x]).collect();
    results.sort_unstable();
    expected.sort_unstable();
    assert_eq!(results, expected);
    exchange.finish();
}

fn pmap_ends_its_workers() {
    let squares: Vec<u64> = pmap(tasks::square, 0..20, 2)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(squares[19], 361);
}

fn chunks_keep_the_order() {
    let exchange = Exchange::new(2).unwrap();
    let map = exchange.map(tasks::square, 0..10_007).chunk(100);
    let results: Vec<u64> = map.map(Result::unwrap).collect();
    assert_eq!(results, (0..10_007).map(|x| x * x).collect::<Vec<_>>());
    let mut map = exchange.map(tasks::square, 0..50).chunk(20);
    assert_eq!(map.get(45).unwrap().unwrap(), &2025);
    assert!(map.get(50).is_none());
    assert_eq!(map.slice(18..22).len(), 4);
    assert_eq!(map.count(), 50);
    exchange.finish();
}

fn a_panic_in_a_chunk_is_its_own() {
    let exchange = Exchange::new(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let inputs = (0..20).map(move |n| (trace.clone(), n % 10));
    let results: Vec<_> = exchange.map(tasks::traces, inputs).chunk(10).collect();
    for (n, result) in (0..20).map(|n| n % 10).zip(results) {
        match result {
            Ok(double) => assert_eq!(double, 2 * n),
            Err(error) => {
                assert_eq!(n, 7);
                assert!(
                    error.is_panicked() && error.to_string().contains("seven"),
                    "{error}"
                );
            }
        }
    }
    // A death is of no other chunk.
    let inputs = (0..9).map(|n| if n == 4 { "kill" } else { "live" }.to_owned());
    let lost: Vec<bool> = exchange
        .map(tasks::die, inputs)
        .chunk(3)
        .map(|result| result.is_err_and(|error| error.is_lost()))
        .collect();
    // The one before it has its result only if it took so long that it was told at once.
    assert_eq!((&lost[..3], &lost[6..]), (&[false; 3][..], &[false; 3][..]));
    assert!(lost[4] && lost[5], "{lost:?}");
    exchange.finish();
}

fn a_result_in_a_chunk_that_cannot_be_carried_is_its_own() {
    let exchange = Exchange::new(1).unwrap();
    let map = exchange.map(tasks::odd_is_broken, 0..10).chunk(5);
    let causes: Vec<_> = map
        .map(|result| result.err().map(|error| error.to_string()))
        .collect();
    for (n, cause) in causes.iter().enumerate() {
        assert_eq!(cause.is_some(), n % 2 == 1, "{causes:?}");
        assert!(
            cause
                .as_ref()
                .is_none_or(|text| text.contains("it is broken"))
        );
    }
    exchange.finish();
}

/// A death costs what a long chunk has not told.
fn what_a_chunk_has_told_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = || {
        let folder = folder.path().to_owned();
        (0..6).map(move |n| (folder.join("trace"), n))
    };
    let exchange = Exchange::new(1).unwrap();
    let results: Vec<_> = exchange
        .map(tasks::traces_slowly, inputs())
        .chunk(6)
        .collect();
    let lost: Vec<bool> = results.iter().map(Result::is_err).collect();
    assert_eq!(lost, [false, false, false, true, true, true]);
    assert!(results[3].as_ref().unwrap_err().is_lost());
    exchange.finish();
    let lines = || fs::read_to_string(folder.path().join("trace")).unwrap();
    assert_eq!(lines(), "0\n1\n2\n3\n");

    // And another attempt runs only the rest.
    fs::remove_file(folder.path().join("trace")).unwrap();
    let exchange = ExchangeOptions::new().limit(1).retries(1).open().unwrap();
    let map = exchange.map(tasks::traces_slowly, inputs()).chunk(6);
    let results: Vec<u64> = map.map(Result::unwrap).collect();
    assert_eq!(results, [0, 1, 2, 3, 4, 5]);
    assert_eq!(lines(), "0\n1\n2\n3\n3\n4\n5\n");
    exchange.finish();
}
