//! Workers are replaced while they work.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{Monitor, MonitorSpec, Spec};

use super::{alone, note};
use crate::actors::{Add, Counter, Pid, Start};
use crate::support::{LIMIT, eventually, with_arbiter};

/// For how many seconds, unless three.
const SECONDS: &str = "IPC_ACTORS_SECONDS";

const SIZE: usize = 8;

/// Asks until told to stop, many questions at a time. Answers how many each worker answered.
fn ask(pool: &Monitor<Counter>, stop: &AtomicBool, asked: &AtomicU64) -> BTreeMap<u32, u64> {
    let mut served = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let asks: Vec<_> = (0..32).map(|_| pool.ask(Pid)).collect();
        asked.fetch_add(asks.len() as u64, Ordering::Relaxed);
        for ask in asks {
            let pid = ask.wait_timeout(LIMIT).expect("in time");
            *served.entry(pid.expect("no ask fails")).or_insert(0) += 1;
        }
    }
    served
}

/// Asks one after the other, each when the one before is answered.
fn ask_in_turn(pool: &Monitor<Counter>, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let answer = pool.ask(Add(1)).wait_timeout(LIMIT).expect("in time");
        assert!(answer.is_ok_and(|count| count >= 1));
    }
    number
}

#[test]
fn a11_no_ask_fails_while_all_workers_are_replaced_again_and_again() {
    let test = "behaviours::b11_recycling::a11_no_ask_fails_while_all_workers_are_replaced_again_and_again";
    let seconds = env::var(SECONDS).map_or(3, |text| text.parse().expect("a count"));
    let time = Duration::from_secs(seconds);
    alone(test, time + 3 * LIMIT, move || {
        with_arbiter(move |arbiter| {
            let worker = Spec::<Counter>::new(Start::default()).process();
            // Eighty to a hundred and twenty each.
            let spec = MonitorSpec::new("crew", worker, SIZE).requests_max(80, 40);
            let pool = arbiter.monitor(spec).wait().expect("a pool");
            let stop = Arc::new(AtomicBool::new(false));
            let asked = Arc::new(AtomicU64::new(0));
            let askers: Vec<_> = (0..3)
                .map(|_| {
                    let (pool, stop, asked) = (pool.clone(), Arc::clone(&stop), Arc::clone(&asked));
                    thread::spawn(move || ask(&pool, &stop, &asked))
                })
                .collect();
            let teller = {
                let (pool, stop) = (pool.clone(), Arc::clone(&stop));
                thread::spawn(move || ask_in_turn(&pool, &stop))
            };
            let begun = Instant::now();
            let (mut least, mut most) = (usize::MAX, 0);
            let mut step = 0;
            while begun.elapsed() < time {
                step += 1;
                match step % 4 {
                    0 => pool.reload(),
                    1 => pool.resize(1),
                    _ => pool.resize(SIZE),
                }
                let next = Instant::now() + Duration::from_millis(500).min(time / 6);
                while Instant::now() < next {
                    let info = pool.info().wait().expect("an arbiter").expect("a pool");
                    least = least.min(info.total);
                    // Beside those that shall be, one that comes for one that goes, and those that were
                    // told to go and finish what they have.
                    most = most.max(info.total);
                    thread::park_timeout(Duration::from_millis(5));
                }
            }
            stop.store(true, Ordering::Relaxed);
            let took = begun.elapsed();
            let mut served = BTreeMap::new();
            for asker in askers {
                for (pid, count) in asker.join().expect("none fails") {
                    *served.entry(pid).or_insert(0) += count;
                }
            }
            let told = teller.join().expect("none fails");
            let asked = asked.load(Ordering::Relaxed);
            assert!(least >= 1 && most <= 2 * SIZE + 1, "{least} to {most}");
            assert_eq!(served.values().sum::<u64>(), asked, "each once");
            assert!(served.values().all(|&count| count <= 120), "{served:?}");
            note(&format!(
                "{asked} asks and {told} one by one in {took:?}, {} processes, {least} to {most} at a time",
                served.len()
            ));
            pool.resize(SIZE);
            eventually(|| {
                let info = pool.info().wait().expect("an arbiter").expect("a pool");
                (info.up, info.total) == (SIZE, SIZE)
            });
        });
    });
}
