//! Submitting, waiting, failing and stopping.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc_exchange::{
    Cause, Exchange, ExchangeOptions, LookupError, Registry, SubmitReason, TaskOptions,
};

use crate::harness::{children, eventually, is_alive, tests};
use crate::tasks;

tests![
    a_result_comes_back,
    joined_out_of_order,
    tasks_are_found_by_name,
    an_unregistered_function_is_refused,
    failures_are_told_apart,
    a_panic_leaves_the_worker_alive,
    workers_are_reused,
    the_limit_holds,
    a_process_per_task,
    time_out_of_a_loop_and_its_grandchild,
    time_out_of_a_sleep,
    a_queued_task_is_cancelled,
    a_prefetched_task_is_recalled,
    a_running_task_is_cancelled,
    a_running_task_may_stop_by_itself,
    the_backlog_is_bounded,
    ten_thousand_outstanding,
    large_arguments_behind_busy_workers,
    dropping_everything_leaves_nothing,
    a_handle_is_a_future,
    nested_exchanges,
    an_initializer_that_fails,
    no_worker_can_be_started,
];

/// A path in a folder of its own.
fn file(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

fn told(path: &PathBuf) -> u32 {
    let read = || {
        fs::read_to_string(path)
            .ok()
            .and_then(|text| text.parse().ok())
    };
    assert!(eventually(|| read().is_some()));
    read().unwrap()
}

fn a_result_comes_back() {
    let exchange = Exchange::new(2).unwrap();
    assert_eq!(
        exchange.submit(tasks::square, 7).unwrap().wait().unwrap(),
        49
    );
    exchange.finish();
    assert!(children().is_empty());
}

fn joined_out_of_order() {
    let exchange = Exchange::new(1).unwrap();
    let handles: Vec<_> = (0..50)
        .map(|x| (x, exchange.submit(tasks::square, x).unwrap()))
        .collect();
    for (x, handle) in handles.into_iter().rev() {
        assert_eq!(handle.wait().unwrap(), x * x);
    }
    exchange.finish();
}

fn tasks_are_found_by_name() {
    let registry = Registry::installed().unwrap();
    let task = registry.task::<u64, u64>("square").unwrap();
    let exchange = Exchange::new(1).unwrap();
    assert_eq!(exchange.submit(task, 9).unwrap().wait().unwrap(), 81);
    let unknown = registry.task::<u64, u64>("cube").unwrap_err();
    assert!(matches!(unknown, LookupError::Unknown { .. }), "{unknown}");
    let types = registry.task::<u64, String>("square").unwrap_err();
    assert!(matches!(types, LookupError::Types { .. }), "{types}");
    exchange.finish();
}

fn an_unregistered_function_is_refused() {
    fn stranger(x: u64) -> u64 {
        x
    }
    let exchange = Exchange::new(1).unwrap();
    let error = exchange.submit(stranger, 5).unwrap_err();
    assert!(matches!(error.reason(), SubmitReason::Unregistered { .. }));
    assert_eq!(error.into_inner(), 5);
    exchange.finish();
}

fn failures_are_told_apart() {
    let exchange = Exchange::new(1).unwrap();
    let missing = PathBuf::from("/nonexistent");
    let own = exchange
        .submit(tasks::fail, missing)
        .unwrap()
        .wait()
        .unwrap();
    assert!(own.unwrap_err().contains("No such file"));

    let error = exchange
        .submit(tasks::panics, "on purpose".into())
        .unwrap()
        .wait()
        .unwrap_err();
    let Cause::Panicked {
        message, location, ..
    } = error.cause()
    else {
        panic!("{error:?}");
    };
    assert_eq!(message, "on purpose");
    assert!(
        location.as_ref().unwrap().contains("tasks.rs"),
        "{location:?}"
    );
    assert!(error.report().task.ends_with("tasks::panics"));
    assert_eq!(error.report().job, 2);

    let error = exchange
        .submit(tasks::panics, String::new())
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(
        error.is_panicked() && error.to_string().contains("not a string"),
        "{error}"
    );

    let error = exchange
        .submit(tasks::huge, ())
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(matches!(error.cause(), Cause::BadResult { .. }), "{error}");

    assert_eq!(
        exchange.submit(tasks::square, 3).unwrap().wait().unwrap(),
        9
    );
    exchange.finish();
}

fn a_panic_leaves_the_worker_alive() {
    let exchange = Exchange::new(1).unwrap();
    let before = exchange.submit(tasks::pid, ()).unwrap().wait().unwrap();
    assert!(
        exchange
            .submit(tasks::panics, "x".into())
            .unwrap()
            .wait()
            .is_err()
    );
    let resumed = exchange.submit(tasks::resumes, "again".into()).unwrap();
    let error = resumed.wait().unwrap_err();
    assert!(error.to_string().contains("panicked: again"), "{error}");
    assert_eq!(
        exchange.submit(tasks::pid, ()).unwrap().wait().unwrap(),
        before
    );
    exchange.finish();
}

fn workers_are_reused() {
    let exchange = Exchange::new(3).unwrap();
    let mut pids = HashSet::new();
    for _ in 0..5 {
        let handles: Vec<_> = (0..6)
            .map(|_| exchange.submit(tasks::pause, 2).unwrap())
            .collect();
        pids.extend(handles.into_iter().map(|handle| handle.wait().unwrap()));
    }
    assert!(pids.len() <= 3, "{pids:?}");
    exchange.finish();
}

fn the_limit_holds() {
    let exchange = Exchange::new(2).unwrap();
    let mut queue = exchange.queue();
    for _ in 0..40 {
        queue.start(tasks::pause, 3).unwrap();
    }
    while queue.recv_timeout(Duration::from_millis(1)).is_some() || queue.unfinished() > 0 {
        assert!(children().len() <= 2, "{:?}", children());
    }
    exchange.finish();
}

fn a_process_per_task() {
    let exchange = ExchangeOptions::new().limit(2).reuse(false).open().unwrap();
    let pids: HashSet<_> = exchange
        .map(tasks::pid, vec![(); 12])
        .map(Result::unwrap)
        .collect();
    assert_eq!(pids.len(), 12);
    exchange.finish();
}

fn time_out_of_a_loop_and_its_grandchild() {
    let (_folder, path) = file("pid");
    let exchange = Exchange::new(1).unwrap();
    let options = TaskOptions::new().timeout(Duration::from_millis(300));
    let started = Instant::now();
    let handle = exchange
        .submit_with(&options, tasks::grandchild, path.clone())
        .unwrap();
    let grandchild = told(&path);
    let error = handle.wait().unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(eventually(|| !is_alive(grandchild)));
    assert_eq!(
        exchange.submit(tasks::square, 4).unwrap().wait().unwrap(),
        16
    );
    exchange.finish();
}

fn time_out_of_a_sleep() {
    let exchange = Exchange::new(1).unwrap();
    exchange.submit(tasks::square, 1).unwrap().wait().unwrap();
    let options = TaskOptions::new().timeout(Duration::from_millis(50));
    let started = Instant::now();
    let error = exchange
        .submit_with(&options, tasks::pause, 20_000)
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(*error.cause(), Cause::TimedOut { running: true });
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    // A deadline counts the waiting too.
    let busy = exchange.submit(tasks::pause, 200).unwrap();
    let options = TaskOptions::new().deadline(Instant::now() + Duration::from_millis(30));
    let error = exchange
        .submit_with(&options, tasks::square, 2)
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(*error.cause(), Cause::TimedOut { running: false });
    busy.wait().unwrap();
    exchange.finish();
}

fn a_queued_task_is_cancelled() {
    let (_folder, path) = file("trace");
    let exchange = ExchangeOptions::new()
        .limit(1)
        .prefetch(false)
        .open()
        .unwrap();
    let busy = exchange.submit(tasks::pause, 50).unwrap();
    let queued = exchange.submit(tasks::mark, path.clone()).unwrap();
    queued.cancel();
    assert!(queued.wait().unwrap_err().is_cancelled());
    busy.wait().unwrap();
    exchange.finish();
    assert!(!path.exists());
}

fn a_prefetched_task_is_recalled() {
    let (_folder, path) = file("trace");
    let exchange = Exchange::new(1).unwrap();
    exchange.submit(tasks::square, 1).unwrap().wait().unwrap();
    let busy = exchange.submit(tasks::pause, 20_000).unwrap();
    let ahead = exchange.submit(tasks::mark, path.clone()).unwrap();
    let ahead = ahead.wait_timeout(Duration::from_millis(20)).unwrap_err();
    ahead.cancel();
    let started = Instant::now();
    assert!(ahead.wait().unwrap_err().is_cancelled());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "it waited for the running task"
    );
    busy.cancel();
    assert!(busy.wait().unwrap_err().is_cancelled());
    exchange.finish();
    assert!(!path.exists());
}

fn a_running_task_is_cancelled() {
    let (_folder, path) = file("pid");
    let exchange = Exchange::new(1).unwrap();
    let handle = exchange.submit(tasks::spin, Some(path.clone())).unwrap();
    let pid = told(&path);
    handle.cancel();
    assert!(handle.wait().unwrap_err().is_cancelled());
    assert!(!is_alive(pid));
    // One that has ended stays as it is.
    let done = exchange.submit(tasks::square, 5).unwrap();
    assert!(eventually(|| done.is_done()));
    done.cancel();
    assert_eq!(done.wait().unwrap(), 25);
    exchange.finish();
}

fn a_running_task_may_stop_by_itself() {
    let (_folder, path) = file("pid");
    let options = ExchangeOptions::new()
        .limit(1)
        .cancel_grace(Duration::from_secs(10));
    let exchange = options.open().unwrap();
    let handle = exchange.submit(tasks::cooperate, path.clone()).unwrap();
    let pid = told(&path);
    handle.cancel();
    assert!(handle.wait().unwrap_err().is_cancelled());
    let after = exchange.submit(tasks::pid, ()).unwrap().wait().unwrap();
    assert_eq!(after, pid, "the worker lives");
    exchange.finish();
}

fn the_backlog_is_bounded() {
    let exchange = ExchangeOptions::new().limit(1).backlog(2).open().unwrap();
    let first = exchange.submit(tasks::pause, 100).unwrap();
    let second = exchange.submit(tasks::square, 1).unwrap();
    let error = exchange.try_submit(tasks::square, 6).unwrap_err();
    assert_eq!(
        (error.reason(), error.clone().into_inner()),
        (&SubmitReason::Full, 6)
    );
    let short = Duration::from_millis(5);
    let error = exchange
        .submit_timeout(tasks::square, 6, short)
        .unwrap_err();
    assert_eq!(error.reason(), &SubmitReason::Timeout);
    let third = exchange.submit(tasks::square, 6).unwrap();
    assert_eq!(third.wait().unwrap(), 36);
    assert_eq!(second.wait().unwrap(), 1);
    first.wait().unwrap();
    exchange.finish();
}

fn ten_thousand_outstanding() {
    let exchange = Exchange::new(2).unwrap();
    let handles: Vec<_> = (0..10_000)
        .map(|x| exchange.submit(tasks::square, x).unwrap())
        .collect();
    let open = ipc_core::descriptors().unwrap().len();
    assert!(open < 60, "{open} descriptors");
    for (x, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap(), (x * x) as u64);
    }
    exchange.finish();
}

fn large_arguments_behind_busy_workers() {
    let exchange = Exchange::new(1).unwrap();
    let busy = exchange.submit(tasks::pause, 200).unwrap();
    let started = Instant::now();
    let large = exchange.submit(tasks::big, vec![7; 8 << 20]).unwrap();
    assert!(started.elapsed() < Duration::from_millis(5000));
    let small = exchange.submit(tasks::square, 3).unwrap();
    assert_eq!(small.wait().unwrap(), 9);
    assert_eq!(large.wait().unwrap(), 8 << 20);
    busy.wait().unwrap();
    exchange.finish();
}

fn dropping_everything_leaves_nothing() {
    let (_folder, path) = file("pid");
    let exchange = Exchange::new(2).unwrap();
    let running = exchange.submit(tasks::spin, Some(path.clone())).unwrap();
    let waiting = exchange.submit(tasks::pause, 10_000).unwrap();
    let pid = told(&path);
    drop(exchange);
    assert!(running.wait().unwrap_err().is_cancelled());
    assert!(waiting.wait().unwrap_err().is_cancelled());
    assert!(eventually(|| !is_alive(pid)));
}

fn a_handle_is_a_future() {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake};

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let exchange = Exchange::new(1).unwrap();
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = pin!(exchange.submit(tasks::square, 11).unwrap());
    let result = loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => break result,
            Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(result.unwrap(), 121);
    exchange.finish();
}

fn nested_exchanges() {
    let exchange = Exchange::new(1).unwrap();
    let pids = exchange.submit(tasks::nested, 1).unwrap().wait().unwrap();
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 3);
    exchange.finish();
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
}

fn an_initializer_that_fails() {
    let options = ExchangeOptions::new().limit(2);
    let exchange = options
        .clone()
        .initializer(tasks::square, &3)
        .open()
        .unwrap();
    assert_eq!(
        exchange.submit(tasks::square, 7).unwrap().wait().unwrap(),
        49
    );
    exchange.finish();
    let exchange = options
        .initializer(tasks::panics, &"no".to_owned())
        .open()
        .unwrap();
    let error = exchange
        .submit(tasks::square, 7)
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(error.to_string().contains("initializer failed"), "{error}");
    exchange.finish();
}

fn no_worker_can_be_started() {
    let exchange = ExchangeOptions::new()
        .limit(2)
        .worker_program("/nonexistent")
        .open()
        .unwrap();
    let error = exchange
        .submit(tasks::square, 7)
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(matches!(error.cause(), Cause::NoWorker { .. }), "{error}");
    exchange.finish();
    let exchange = ExchangeOptions::new()
        .limit(1)
        .worker_program("true")
        .open()
        .unwrap();
    let error = exchange
        .submit(tasks::square, 7)
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(matches!(error.cause(), Cause::NoWorker { .. }), "{error}");
    exchange.finish();
}
