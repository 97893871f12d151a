//! The nineteen defects of pprocess that are known, each shown not to happen here.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc_core::Address;
use ipc_exchange::{
    Cause, Exchange, ExchangeOptions, Exit, Programs, Reader, TaskError, start_persistent,
};

use crate::harness::{children, eventually, tests};
use crate::tasks;

tests![
    b1_a_killed_worker_leaves_no_hole,
    b2_a_death_frees_its_slot,
    b3_a_death_changes_no_order,
    b4_an_io_error_of_the_task_is_its_result,
    b5_an_error_tells_whose_it_is,
    b6_results_and_errors_are_not_confused,
    b7_a_free_slot_is_used_at_once,
    b8_streams_keep_to_the_limit,
    b9_each_call_runs_its_own_function,
    b10_removing_twice_is_harmless,
    b11_maps_overlap,
    b12_workers_do_not_wait_for_the_parent,
    b13_a_background_task_listens_when_it_is_said_to,
    b14_a_reader_that_leaves_takes_nothing_with_it,
    b15_starting_in_the_background_waits_for_nobody,
    b16_workers_hold_nothing_of_their_siblings,
    b17_workers_are_not_copies,
    b18_large_results_are_quick,
    b19_exchanges_live_side_by_side,
];

fn die() -> String {
    "kill".to_owned()
}

fn b1_a_killed_worker_leaves_no_hole() {
    let exchange = Exchange::new(2).unwrap();
    let inputs = (0..6).map(|n| {
        if n == 1 {
            "kill".to_owned()
        } else {
            "live".to_owned()
        }
    });
    let results: Vec<Result<u64, TaskError>> = exchange.map(tasks::die, inputs).collect();
    let lost: Vec<bool> = results.iter().map(Result::is_err).collect();
    assert_eq!(lost, [false, true, false, false, false, false]);
    exchange.finish();
}

fn b2_a_death_frees_its_slot() {
    let exchange = Exchange::new(2).unwrap();
    let dead = exchange.submit(tasks::die, die()).unwrap();
    assert!(dead.wait().unwrap_err().is_lost());
    let pids: HashSet<u32> = exchange
        .map(tasks::pause, vec![20; 8])
        .map(Result::unwrap)
        .collect();
    assert_eq!(pids.len(), 2, "both slots work");
    exchange.finish();
}

fn b3_a_death_changes_no_order() {
    let exchange = Exchange::new(1).unwrap();
    let dead = exchange.submit(tasks::die, die()).unwrap();
    let mut map = exchange.map(tasks::square, 0..4);
    map.start();
    assert!(dead.wait().is_err());
    assert_eq!(map.map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 4, 9]);
    exchange.finish();
}

fn b4_an_io_error_of_the_task_is_its_result() {
    let exchange = Exchange::new(1).unwrap();
    let result = exchange
        .submit(tasks::fail, PathBuf::from("/nonexistent"))
        .unwrap()
        .wait();
    assert!(result.unwrap().is_err());
    exchange.finish();
}

fn b5_an_error_tells_whose_it_is() {
    let exchange = Exchange::new(2).unwrap();
    let good = exchange.submit(tasks::square, 3).unwrap();
    let bad = exchange.submit(tasks::panics, "fourth".into()).unwrap();
    assert_eq!(good.wait().unwrap(), 9);
    let error = bad.wait().unwrap_err();
    assert_eq!(error.report().job, 2);
    assert!(error.report().task.ends_with("panics") && error.to_string().contains("tasks.rs"));
    exchange.finish();
}

fn b6_results_and_errors_are_not_confused() {
    let exchange = Exchange::new(1).unwrap();
    let error = exchange
        .submit(tasks::huge, ())
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(matches!(error.cause(), Cause::BadResult { .. }));
    let exited = exchange
        .submit(tasks::die, "exit".into())
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(
        *exited.cause(),
        Cause::Lost {
            exit: Exit::Code(3),
            out_of_memory: false
        }
    );
    let value = exchange
        .submit(tasks::fail, "/nonexistent".into())
        .unwrap()
        .wait();
    assert!(matches!(value, Ok(Err(_))), "a returned error is a value");
    exchange.finish();
}

fn b7_a_free_slot_is_used_at_once() {
    let exchange = Exchange::new(2).unwrap();
    let long = exchange.submit(tasks::pause, 60_000).unwrap();
    let short: u64 = exchange.map(tasks::square, 0..50).map(Result::unwrap).sum();
    assert_eq!(short, (0..50).map(|x| x * x).sum::<u64>());
    assert!(!long.is_done());
    exchange.shutdown();
    assert!(long.wait().is_err());
}

fn b8_streams_keep_to_the_limit() {
    let exchange = Exchange::new(2).unwrap();
    let mut queue = exchange.queue();
    for n in 0..12 {
        queue.start_stream(tasks::counts, (n, 20)).unwrap();
    }
    let mut items = 0;
    while let Some((_, item)) = queue.recv() {
        item.unwrap();
        items += 1;
        assert!(children().len() <= 2);
    }
    assert_eq!(items, 240);
    exchange.finish();
}

fn b9_each_call_runs_its_own_function() {
    let exchange = ExchangeOptions::new().limit(1).reuse(true).open().unwrap();
    let first = exchange.submit(tasks::pid, ()).unwrap().wait().unwrap();
    for x in 1..5 {
        assert_eq!(
            exchange.submit(tasks::square, x).unwrap().wait().unwrap(),
            x * x
        );
        assert_eq!(
            exchange.submit(tasks::double, x).unwrap().wait().unwrap(),
            2 * x
        );
    }
    assert_eq!(
        exchange.submit(tasks::pid, ()).unwrap().wait().unwrap(),
        first
    );
    exchange.finish();
}

fn b10_removing_twice_is_harmless() {
    let programs = Programs::<String, String>::new(1).unwrap();
    let first = programs.start(tasks::echo, String::new()).unwrap();
    let waiting = programs.start(tasks::echo, String::new()).unwrap();
    assert!(programs.busy() && programs.unfinished() == 2);
    assert!(programs.remove(first) && !programs.remove(first));
    assert!(
        !programs
            .store(Some(Duration::from_millis(20)), |_, _, _| {})
            .unwrap()
    );
    assert!(eventually(|| programs.active() == [waiting]));
    assert!(programs.remove(waiting) && programs.unfinished() == 0);
}

fn b11_maps_overlap() {
    let exchange = Exchange::new(2).unwrap();
    let mut one = exchange.map(tasks::square, 0..100);
    let mut two = exchange.map(tasks::double, 0..100);
    for x in 0..100 {
        assert_eq!(one.next().unwrap().unwrap(), x * x);
        assert_eq!(two.next().unwrap().unwrap(), 2 * x);
    }
    exchange.finish();
}

fn b12_workers_do_not_wait_for_the_parent() {
    let exchange = Exchange::new(2).unwrap();
    let handles: Vec<_> = (0..40)
        .map(|_| exchange.submit(tasks::pause, 5).unwrap())
        .collect();
    // Nobody collects anything.
    assert!(eventually(|| handles.iter().all(|handle| handle.is_done())));
    exchange.finish();
}

fn place(folder: &tempfile::TempDir, name: &str) -> Address {
    Address::unix(folder.path().join(name)).unwrap()
}

fn b13_a_background_task_listens_when_it_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let address = place(&folder, &n.to_string());
        start_persistent(&address, tasks::publishes, &0).unwrap();
        assert_eq!(Reader::<u64>::connect(&address).unwrap().count(), 1);
        assert!(eventually(|| children().is_empty()), "no zombie is left");
    }
}

fn b14_a_reader_that_leaves_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let address = place(&folder, "results");
    start_persistent(&address, tasks::publishes, &4).unwrap();
    let mut first = Reader::<u64>::connect(&address).unwrap();
    // Two of four consumed, the second not acknowledged.
    assert_eq!(first.recv().unwrap(), Some(0));
    assert_eq!(first.recv().unwrap(), Some(1));
    drop(first);
    let rest: Result<Vec<u64>, _> = Reader::connect(&address).unwrap().collect();
    assert_eq!(rest.unwrap()[..3], [1, 2, 3]);
}

fn b15_starting_in_the_background_waits_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = [0, 1, 2, 3].map(|n: u32| place(&folder, &n.to_string()));
    for address in &addresses {
        // Returns although nobody reads, however many run already.
        start_persistent(address, tasks::publishes, &3).unwrap();
    }
    for address in &addresses {
        let results: Result<Vec<u64>, _> = Reader::connect(address).unwrap().collect();
        assert_eq!(results.unwrap()[..3], [0, 1, 2]);
    }
}

fn b16_workers_hold_nothing_of_their_siblings() {
    let exchange = Exchange::new(3).unwrap();
    let counts: HashSet<usize> = exchange
        .map(tasks::open_files, vec![10; 9])
        .map(Result::unwrap)
        .collect();
    // The third has no more open than the first.
    assert_eq!(counts.len(), 1, "{counts:?}");
    exchange.finish();
}

fn b17_workers_are_not_copies() {
    let exchange = ExchangeOptions::new().limit(2).reuse(false);
    for start in [ipc_exchange::Start::Spawn, ipc_exchange::Start::Zygote] {
        let exchange = exchange.clone().start(start).open().unwrap();
        let numbers: HashSet<u64> = exchange
            .map(tasks::random, vec![(); 5])
            .map(Result::unwrap)
            .collect();
        assert_eq!(numbers.len(), 5);
        exchange.finish();
    }
}

fn b18_large_results_are_quick() {
    let exchange = Exchange::new(1).unwrap();
    exchange.submit(tasks::square, 1).unwrap().wait().unwrap();
    let started = Instant::now();
    let text = exchange
        .submit(tasks::long_text, 16 << 20)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(text.len(), 16 << 20);
    // There it is 3.7 MiB a second.
    assert!(
        started.elapsed() < Duration::from_millis(2500),
        "{:?}",
        started.elapsed()
    );
    exchange.finish();
}

fn b19_exchanges_live_side_by_side() {
    let exchanges: Vec<_> = (0..3).map(|_| Exchange::new(1).unwrap()).collect();
    let handles: Vec<_> = exchanges
        .iter()
        .map(|e| e.submit(tasks::pid, ()).unwrap())
        .collect();
    let pids: HashSet<u32> = handles
        .into_iter()
        .map(|handle| handle.wait().unwrap())
        .collect();
    assert_eq!(pids.len(), 3);
    // Time-outs, cancelling, retries, exit status and output have tests of their own.
    for exchange in exchanges {
        exchange.finish();
    }
}
