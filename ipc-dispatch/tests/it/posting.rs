//! Posts and stops from elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipc_dispatch::{Context, Exit, PostError, Selector, SelectorOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Random, SOON, millis, thread_time, within};

/// What eight threads have posted: how often and in which order it ran.
#[derive(Default)]
struct Ran {
    next: [u64; 8],
    total: u64,
}

/// Posts from eight threads, each `count` times in bursts with pauses, to a loop that parks between.
fn flood(count: u64) -> (Ran, ipc_dispatch::Metrics) {
    let mut selector = Selector::<Ran>::new().unwrap();
    selector.set_persistent(true);
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let poster = selector.poster();
            std::thread::spawn(move || {
                let mut random = Random(thread as u64);
                for number in 0..count {
                    let task = move |ctx: &mut Context<'_, Ran>| {
                        assert_eq!(
                            ctx.state.next[thread], number,
                            "of each thread in its order"
                        );
                        ctx.state.next[thread] += 1;
                        ctx.state.total += 1;
                        if ctx.state.total == 8 * count {
                            ctx.stop();
                        }
                    };
                    assert!(poster.post(task).is_ok());
                    if random.below(2000) == 0 {
                        std::thread::park_timeout(Duration::from_micros(random.below(300)));
                    }
                }
            })
        })
        .collect();
    let mut ran = Ran::default();
    assert_eq!(selector.run(&mut ran).unwrap(), Exit::Stopped);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(selector.poster().is_empty());
    (ran, selector.metrics())
}

#[test]
fn posts_of_eight_threads_run_once_each_and_in_order() {
    within(Duration::from_secs(120), || {
        // By hand: IPC_DISPATCH_POSTS=1000000.
        let count = std::env::var("IPC_DISPATCH_POSTS").ok();
        let count = count.and_then(|count| count.parse().ok()).unwrap_or(50_000);
        let (ran, metrics) = flood(count);
        assert_eq!(ran.total, 8 * count);
        // Each sleep is ended by one system call; nearly all posts found the loop awake.
        assert!(metrics.sleeps < 8 * count / 20, "{} sleeps", metrics.sleeps);
    });
}

/// Runs the loop, and answers how long after `stop` was asked for it ended.
fn stopped(selector: &mut Selector<Option<Instant>>) -> Duration {
    let mut asked = None;
    assert_eq!(selector.run(&mut asked).unwrap(), Exit::Stopped);
    asked.map_or(Duration::ZERO, |asked| asked.elapsed())
}

/// What is asked of each way to stop: the quickest of some, for the machine may be busy.
const STOPPED_WITHIN: Duration = millis(5);

#[test]
fn a_stop_before_the_run_ends_it_at_once() {
    within(SOON, || {
        // pyre and calloop forget it.
        let mut selector = Selector::new().unwrap();
        selector.set_persistent(true);
        let quickest = (0..20).map(|_| {
            selector.poster().stop();
            let began = Instant::now();
            stopped(&mut selector);
            began.elapsed()
        });
        assert!(quickest.min().unwrap() < STOPPED_WITHIN);
    });
}

#[test]
fn a_stop_from_a_handler_ends_the_run_after_its_turn() {
    within(SOON, || {
        let mut selector = Selector::<Option<Instant>>::new().unwrap();
        selector.alarm(Duration::from_secs(3600), |_| ());
        let quickest = (0..20).map(|_| {
            selector.alarm(millis(1), |ctx| {
                *ctx.state = Some(Instant::now());
                ctx.stop();
            });
            stopped(&mut selector)
        });
        assert!(quickest.min().unwrap() < STOPPED_WITHIN);
    });
}

#[test]
fn a_stop_from_another_thread_ends_the_wait() {
    within(SOON, || {
        // pulsar does not wake for half a second.
        let mut selector = Selector::<Option<Instant>>::new().unwrap();
        selector.set_persistent(true);
        let quickest = (0..20).map(|_| {
            let poster = selector.poster();
            let thread = std::thread::spawn(move || {
                std::thread::park_timeout(millis(2));
                let when = Instant::now();
                poster.stop();
                when
            });
            stopped(&mut selector);
            let ended = Instant::now();
            ended - thread.join().unwrap()
        });
        assert!(quickest.min().unwrap() < STOPPED_WITHIN);
    });
}

#[test]
fn a_stop_from_a_signal_ends_the_wait() {
    within(SOON, || {
        let mut selector = Selector::<Option<Instant>>::new().unwrap();
        selector
            .on_signal(Signal::SIGUSR2 as i32, |ctx| ctx.stop())
            .unwrap();
        // pyre notices only when the next alarm is due.
        selector.alarm(Duration::from_secs(3600), |_| ());
        let quickest = (0..5).map(|_| {
            let thread = std::thread::spawn(|| {
                std::thread::park_timeout(millis(5));
                let when = Instant::now();
                kill(Pid::this(), Signal::SIGUSR2).unwrap();
                when
            });
            stopped(&mut selector);
            let ended = Instant::now();
            ended - thread.join().unwrap()
        });
        assert!(quickest.min().unwrap() < STOPPED_WITHIN);
    });
}

#[test]
fn a_loop_that_is_gone_gives_the_task_back() {
    let selector = Selector::<()>::new().unwrap();
    let poster = selector.poster();
    let dropped = Arc::new(AtomicBool::new(false));
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let flag = Flag(Arc::clone(&dropped));
    poster.post(move |_| drop(flag)).unwrap();
    drop(selector);
    assert!(
        dropped.load(Ordering::SeqCst),
        "what was posted went with the loop"
    );
    match poster.post(|_| ()) {
        Err(PostError::Disconnected(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_loop_gives_the_task_back() {
    let mut selector = SelectorOptions::new().posts_max(2).open::<u32>().unwrap();
    let poster = selector.poster();
    for _ in 0..2 {
        poster.post(|ctx| *ctx.state += 1).unwrap();
    }
    let task = match poster.post(|ctx| *ctx.state += 10) {
        Err(PostError::Full(task)) => task,
        other => panic!("{other:?}"),
    };
    let mut count = 0;
    selector.turn(&mut count, Some(Duration::ZERO)).unwrap();
    poster.post(task).unwrap();
    assert_eq!(selector.run(&mut count).unwrap(), Exit::Idle);
    assert_eq!(count, 12);
}

#[test]
fn an_idle_loop_sleeps() {
    within(SOON, || {
        let mut selector = Selector::<()>::new().unwrap();
        selector.set_persistent(true);
        let before = thread_time();
        assert_eq!(
            selector.run_timeout(&mut (), millis(300)).unwrap(),
            Exit::Deadline
        );
        // pulsar wakes up twice a second, pyre's second selector as often as it can. One wait, and
        // one more when a millisecond was cut off.
        assert!(selector.metrics().waits <= 2, "{:?}", selector.metrics());
        assert!(thread_time() - before < millis(5));
    });
}

#[test]
fn idle_work_from_idle_work_is_done_without_a_wait() {
    within(SOON, || {
        // calloop sleeps for a whole time-out between the two.
        let mut selector = Selector::<u32>::new().unwrap();
        selector.set_persistent(true);
        selector.on_idle(|ctx| {
            *ctx.state += 1;
            ctx.on_idle(|ctx| {
                *ctx.state += 1;
                ctx.stop();
            });
        });
        let mut count = 0;
        let exit = selector.run_timeout(&mut count, Duration::from_secs(10));
        assert_eq!((exit.unwrap(), count), (Exit::Stopped, 2));
    });
}
