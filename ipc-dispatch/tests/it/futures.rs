//! Results to come and futures.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ipc_dispatch::{
    Backoff, Completer, Deferred, Exit, Failure, FailureKind, PanicPolicy, Selector,
    SelectorOptions, Simulation, TryWaitError, WaitError, join_all, race,
};

use crate::support::{SOON, millis, within};

#[test]
fn a_result_comes_once_and_is_waited_for_in_four_forms() {
    within(SOON, || {
        let (completer, mut deferred) = Deferred::<u32>::pair();
        assert_eq!(deferred.try_wait(), Err(TryWaitError::Empty));
        assert_eq!(deferred.wait_timeout(millis(1)), Err(WaitError::Timeout));
        assert_eq!(
            deferred.wait_deadline(Instant::now()),
            Err(WaitError::Timeout)
        );
        let thread = std::thread::spawn(move || completer.complete(7));
        assert_eq!(deferred.wait(), Ok(7));
        thread.join().unwrap();
        let (completer, deferred) = Deferred::<u32>::pair();
        drop(completer);
        assert_eq!(deferred.wait().unwrap_err().kind(), FailureKind::Abandoned);
    });
}

#[test]
fn a_chain_passes_values_and_failures_on() {
    // pulsar's testCallbacks, testError and testDeferredCallback.
    let (completer, deferred) = Deferred::<u32>::pair();
    let end = deferred
        .map(|number| number + 1)
        .and_then(|number| {
            let (completer, deferred) = Deferred::pair();
            completer.complete(number * 10);
            deferred
        })
        .map(|number| format!("{number}"));
    completer.complete(3);
    assert_eq!(end.wait().unwrap(), "40");
    let (completer, deferred) = Deferred::<u32>::pair();
    let end = deferred
        .map(|_| panic!("not for a failure"))
        .or_else(|failure| Ok(failure.message().len() as u32));
    completer.fail(Failure::new("four"));
    assert_eq!(end.wait(), Ok(4));
}

#[test]
fn a_chain_of_a_hundred_thousand_needs_no_more_stack() {
    // pulsar's recursion ends at a thousand.
    within(SOON, || {
        let (completer, deferred) = Deferred::<u64>::pair();
        let mut end = deferred;
        for _ in 0..100_000 {
            end = end.map(|number| number + 1);
        }
        completer.complete(0);
        assert_eq!(end.wait(), Ok(100_000));
    });
}

#[test]
fn join_keeps_the_order_and_the_failures_in_their_places() {
    let (completers, deferreds): (Vec<Completer<usize>>, Vec<_>) =
        (0..3).map(|_| Deferred::pair()).unzip();
    let mut joined = join_all(deferreds);
    let mut completers: Vec<_> = completers.into_iter().map(Some).collect();
    completers[2].take().unwrap().complete(2);
    completers[1].take().unwrap().fail(Failure::new("no"));
    assert_eq!(joined.try_wait(), Err(TryWaitError::Empty));
    completers[0].take().unwrap().complete(0);
    assert_eq!(
        joined.wait().unwrap(),
        [Ok(0), Err(Failure::new("no")), Ok(2)]
    );
    assert_eq!(join_all::<u8, _>([]).wait(), Ok(Vec::new()));
}

#[test]
fn a_race_is_won_once() {
    let (slow, one) = Deferred::<&str>::pair();
    let (fast, two) = Deferred::pair();
    let first = race([one, two]);
    fast.complete("fast");
    slow.complete("slow");
    assert_eq!(first.wait(), Ok((1, "fast")));
    assert!(race::<u8, _>([]).wait().is_err());
}

#[test]
fn a_failure_keeps_its_chain() {
    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let outer = Outer(std::io::Error::other("inner"));
    let failure = Failure::from(&outer as &(dyn std::error::Error + 'static));
    assert_eq!(failure.to_string(), "outer");
    assert_eq!(failure.causes().collect::<Vec<_>>(), ["inner"]);
    let failure = failure.with_backtrace("there");
    assert_eq!(failure.backtrace(), Some("there"));
}

#[test]
fn futures_run_on_the_loop_and_wait_for_threads_and_time() {
    within(SOON, || {
        let mut selector = Selector::<()>::new().unwrap();
        let poster = selector.poster();
        let (completer, from_thread) = Deferred::<u32>::pair();
        let local = Rc::new(Cell::new(0));
        let seen = Rc::clone(&local);
        let result = selector.spawn(async move {
            poster.sleep(millis(2)).await?;
            let number = from_thread.await?;
            // What belongs to the loop's thread alone.
            seen.set(number);
            Ok::<_, Failure>(number + 1)
        });
        let thread = std::thread::spawn(move || {
            std::thread::park_timeout(millis(5));
            completer.complete(41);
        });
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Idle);
        assert_eq!(result.wait(), Ok(Ok(42)));
        assert_eq!(local.get(), 41);
        thread.join().unwrap();
    });
}

#[test]
fn a_future_that_panics_fails_its_result_or_the_loop() {
    within(SOON, || {
        let options = SelectorOptions::new().panics(PanicPolicy::Contain);
        let mut selector = options.open::<()>().unwrap();
        let kept = selector.spawn(async { panic!("in a future") });
        let dropped: Deferred<()> = selector.spawn(async { panic!("and nobody looks") });
        drop(dropped);
        assert_eq!(selector.run(&mut ()).unwrap(), Exit::Idle);
        let failure: Failure = Deferred::<()>::wait(kept).unwrap_err();
        assert_eq!(
            (failure.kind(), failure.message()),
            (FailureKind::Panicked, "in a future")
        );
        assert_eq!(selector.metrics().panics, 1);
    });
}

#[test]
fn futures_go_with_their_loop_even_if_a_thread_still_wakes_them() {
    within(SOON, || {
        let mut selector = Selector::<()>::new().unwrap();
        let alive = Rc::new(());
        let (completer, from_thread) = Deferred::<u32>::pair();
        let held = Rc::clone(&alive);
        let result = selector.spawn(async move {
            let number = from_thread.await;
            drop(held);
            number
        });
        selector.turn(&mut (), Some(Duration::ZERO)).unwrap();
        assert_eq!(Rc::strong_count(&alive), 2);
        drop(selector);
        assert_eq!(Rc::strong_count(&alive), 1);
        std::thread::spawn(move || completer.complete(1))
            .join()
            .unwrap();
        assert!(result.wait().is_err());
    });
}

#[test]
fn a_result_is_delivered_on_the_loop() {
    within(SOON, || {
        let mut selector = Selector::<u32>::new().unwrap();
        selector.set_persistent(true);
        let (completer, deferred) = Deferred::<u32>::pair();
        deferred.deliver(&selector.poster(), |result, ctx| {
            *ctx.state = result.unwrap();
            ctx.stop();
        });
        let thread = std::thread::spawn(move || completer.complete(9));
        let mut state = 0;
        assert_eq!(selector.run(&mut state).unwrap(), Exit::Stopped);
        assert_eq!(state, 9);
        thread.join().unwrap();
    });
}

#[test]
fn retries_pause_longer_and_longer() {
    let simulation = Simulation::new(0);
    let mut selector = simulation.selector::<Vec<Duration>>();
    let (start, clock) = (simulation.now(), simulation.clone());
    let result = selector.retry(Backoff::new(), move |count, ctx| {
        ctx.state.push(clock.now() - start);
        if count < 5 {
            Err(Failure::new("not yet"))
        } else {
            Ok(count)
        }
    });
    let mut log = Vec::new();
    assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
    assert_eq!(result.wait(), Ok(5));
    assert_eq!(log, [0, 2, 6, 12, 20].map(Duration::from_secs));
    let limited = Backoff::new().limit(Duration::from_secs(7));
    let result = selector.retry(limited, |_, _| Err::<(), _>(Failure::new("never")));
    assert_eq!(selector.run(&mut log).unwrap(), Exit::Idle);
    assert_eq!(result.wait(), Err(Failure::new("never")));
}
