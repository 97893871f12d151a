//! Events, progress, and what failures lead to.

use std::path::PathBuf;
use std::time::Duration;

use ipc_exchange::{Cause, Exchange, ExchangeEvent, ExchangeOptions, Exit, Halt, TaskError};

use crate::harness::{eventually, tests};
use crate::tasks;

tests![
    events_tell_what_happened,
    those_who_do_not_listen_hold_nobody_up,
    progress_is_told,
    halt_soon_lets_what_runs_finish,
    halt_now_stops_what_runs,
    halt_by_percentage,
];

fn events_tell_what_happened() {
    let exchange = Exchange::new(1).unwrap();
    let events = exchange.events(100);
    exchange.submit(tasks::square, 3).unwrap().wait().unwrap();
    let lost = exchange.submit(tasks::die, "exit".to_owned()).unwrap();
    lost.wait().unwrap_err();
    exchange.finish();
    let events: Vec<_> = events.collect();
    let [
        ExchangeEvent::WorkerStarted { pid },
        ExchangeEvent::Sent {
            job: 1, attempt: 1, ..
        },
        ExchangeEvent::Ended {
            job: 1,
            error: None,
            task,
            ..
        },
        ExchangeEvent::Sent { job: 2, .. },
        ExchangeEvent::WorkerEnded { pid: ended, exit },
        ExchangeEvent::Ended {
            job: 2,
            error: Some(cause),
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert!(task.ends_with("tasks::square"));
    assert_eq!((pid, *exit), (ended, Exit::Code(3)));
    let expected = Cause::Lost {
        exit: Exit::Code(3),
        out_of_memory: false,
    };
    assert_eq!(*cause, expected);
}

fn those_who_do_not_listen_hold_nobody_up() {
    let exchange = Exchange::new(2).unwrap();
    let deaf = exchange.events(5);
    drop(exchange.events(1));
    assert_eq!(exchange.map(tasks::square, 0..500).count(), 500);
    exchange.finish();
    assert!(deaf.missed() >= 990, "{}", deaf.missed());
    assert_eq!(deaf.count(), 5);
}

fn progress_is_told() {
    let exchange = Exchange::new(1).unwrap();
    let nothing = exchange.snapshot();
    assert!(nothing.progress() == 0.0 && nothing.remaining().is_none());
    let handles: Vec<_> = (0..20)
        .map(|_| exchange.submit(tasks::pause, 10).unwrap())
        .collect();
    assert!(eventually(|| exchange.snapshot().ended >= 5));
    let half = exchange.snapshot();
    assert!((0.2..1.0).contains(&half.progress()), "{half:?}");
    let remaining = half.remaining().unwrap();
    assert!(remaining < Duration::from_secs(5), "{remaining:?}");
    for handle in handles {
        handle.wait().unwrap();
    }
    let all = exchange.snapshot();
    assert!(all.progress() == 1.0 && all.running() == 0);
    exchange.finish();
}

fn missing() -> PathBuf {
    "/nonexistent".into()
}

fn cancelled<R>(results: &[Result<R, TaskError>]) -> usize {
    let errors = results.iter().filter_map(|result| result.as_ref().err());
    errors.filter(|error| error.is_cancelled()).count()
}

fn halting(halt: Halt) -> Exchange {
    ExchangeOptions::new()
        .limit(2)
        .prefetch(false)
        .halt(halt)
        .open()
        .unwrap()
}

fn halt_soon_lets_what_runs_finish() {
    let exchange = halting(Halt::Soon(1));
    // Both workers are there, so that what is placed on one has begun long before the other has failed.
    let first: Vec<_> = (0..2)
        .map(|_| exchange.submit(tasks::pause, 50).unwrap())
        .collect();
    for handle in first {
        handle.wait().unwrap();
    }
    let running = exchange.submit(tasks::pause, 500).unwrap();
    assert!(eventually(|| exchange.snapshot().running() == 1));
    let failing = exchange.submit(tasks::fail, missing()).unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| exchange.submit(tasks::pause, 1).unwrap())
        .collect();
    assert!(failing.wait().unwrap().is_err());
    assert!(running.wait().is_ok());
    let results: Vec<_> = waiting.into_iter().map(|handle| handle.wait()).collect();
    assert!(cancelled(&results) >= 15, "{results:?}");
    let after = exchange.submit(tasks::square, 1).unwrap().wait();
    assert!(after.unwrap_err().is_cancelled());
    exchange.finish();
}

fn halt_now_stops_what_runs() {
    let exchange = halting(Halt::Now(2));
    let running = exchange.submit(tasks::pause, 60_000).unwrap();
    for _ in 0..2 {
        let failing = exchange.submit(tasks::fail, missing()).unwrap();
        assert!(failing.wait().unwrap().is_err());
    }
    assert!(running.wait().unwrap_err().is_cancelled());
    exchange.finish();
}

fn halt_by_percentage() {
    for (halt, fails) in [(Halt::SoonPercent(50), true), (Halt::NowPercent(90), false)] {
        let exchange = halting(halt);
        // Every second one fails.
        for n in 0..10 {
            let path = if n % 2 == 0 {
                missing()
            } else {
                "/proc/self/stat".into()
            };
            // After the policy has struck it is cancelled.
            drop(exchange.submit(tasks::fail, path).unwrap().wait());
        }
        let after = exchange.submit(tasks::square, 1).unwrap().wait();
        assert_eq!(after.is_err(), fails, "{halt:?}");
        exchange.finish();
    }
}
