//! Memory that is shared with a process that dies, stops or writes anything into it. What a ring does by
//! itself then is shown where rings are made; here it is what becomes of the actors at both ends.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{Arbiter, ArbiterOptions, ArbiterThread, AskError, Proxy, SendError, Spec};

use super::b02_faults::victim;
use super::victim::{Deed, Victim};
use super::witness::{Job, Plan, Witness};
use super::{alone, figure, note};
use crate::actors::{Add, Counter, Start};
use crate::support::{LIMIT, eventually, set_up, signal, spawn, within};

/// How long anybody may wait for the arbiter, which waits for nobody.
const PATIENCE: Duration = Duration::from_millis(10);

/// With an arbiter that does not mind many deaths.
fn with_patience(test: impl FnOnce(&Arbiter) + Send + 'static) {
    within(3 * LIMIT, move || {
        set_up();
        let mut options = ArbiterOptions::default();
        options.supervisor.intensity = 10_000;
        let thread = ArbiterThread::start(options).expect("an arbiter");
        test(&thread.arbiter());
        thread.finish().expect("a clean end");
    });
}

/// One that has nothing to do with it all, asked again and again: the longest that it took.
fn undisturbed(sibling: &Proxy<Counter>, until: impl Fn() -> bool) -> Duration {
    let mut worst = Duration::ZERO;
    while !until() {
        let asked = Instant::now();
        assert!(sibling.ask_timeout(Add(1), LIMIT).is_ok());
        worst = worst.max(asked.elapsed());
    }
    worst
}

fn busy_wait(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// A process is killed at any step of the way of a message: what it was asked and had not begun has not
/// been done, what is answered has been done once, and nothing is done twice.
#[test]
fn a15_killed_at_any_step_nothing_is_done_twice() {
    let test = "behaviours::b15_memory::a15_killed_at_any_step_nothing_is_done_twice";
    alone(test, 3 * LIMIT, || {
        with_patience(|arbiter| {
            let folder = tempfile::tempdir().expect("a folder");
            let plan = Plan::new(folder.path());
            let witness: Proxy<Witness> = spawn(arbiter, plan.spec("witness"));
            let mut next = 0;
            let mut ends = BTreeMap::new();
            for round in 0..40_u64 {
                // The end of the one before may be under way.
                let pid = loop {
                    next += 1;
                    let end = witness.ask_timeout(Job(next, 0), LIMIT);
                    ends.insert(next, end.as_ref().map(drop).map_err(AskError::clone));
                    if let Ok((_, pid)) = end {
                        break pid;
                    }
                };
                let numbers = next + 1..next + 101;
                next = numbers.end;
                let kill = thread::spawn(move || {
                    busy_wait(Duration::from_micros(97 * round));
                    signal(pid, "KILL");
                });
                let asks: Vec<_> = numbers
                    .clone()
                    .map(|number| witness.ask(Job(number, 0)))
                    .collect();
                for (number, ask) in numbers.zip(asks) {
                    let end = ask.wait_timeout(LIMIT).expect("every ask ends");
                    ends.insert(number, end.map(drop));
                }
                kill.join().expect("it was there");
            }
            let mut done = BTreeMap::new();
            for line in plan.seen(&["job "]) {
                let number: u64 = line["job ".len()..].parse().expect("a number");
                *done.entry(number).or_insert(0_u32) += 1;
            }
            let mut begun = 0;
            for (number, end) in ends {
                let times = done.get(&number).copied().unwrap_or(0);
                match end {
                    Ok(()) => assert_eq!(times, 1, "{number} was answered"),
                    Err(AskError::NotStarted) => assert_eq!(times, 0, "{number} was not begun"),
                    Err(AskError::Started) => {
                        begun += 1;
                        assert!(times <= 1, "{number} was begun");
                    }
                    Err(error) => panic!("{number}: {error}"),
                }
            }
            assert!(begun <= 40, "one for each that was killed: {begun}");
        });
    });
}

/// It is killed in the middle of a message that is longer than what is shared.
#[test]
fn a15_killed_with_half_of_a_message_keeps_nobody() {
    let test = "behaviours::b15_memory::a15_killed_with_half_of_a_message_keeps_nobody";
    alone(test, 3 * LIMIT, || {
        with_patience(|arbiter| {
            let victim = spawn(arbiter, victim());
            let sibling = spawn(arbiter, Spec::<Counter>::new(Start::default()).process());
            let long = vec![7; 3 << 20];
            let mut worst = Duration::ZERO;
            for round in 0..20_u64 {
                let pid = pid(&victim);
                let asker = {
                    let (victim, long) = (victim.clone(), long.clone());
                    thread::spawn(move || victim.ask_timeout(Deed::Take(long), LIMIT))
                };
                busy_wait(Duration::from_micros(250 * round));
                signal(pid, "KILL");
                worst = worst.max(undisturbed(&sibling, || asker.is_finished()));
                match asker.join().expect("no panic") {
                    Ok(answer) => assert_eq!(answer.as_deref(), Ok("3145728")),
                    Err(error) => assert!(
                        matches!(error, AskError::Started | AskError::NotStarted),
                        "{error}"
                    ),
                }
            }
            figure("a sibling's answer", worst, 5 * PATIENCE);
            assert_eq!(sibling.incarnation(), 0);
        });
    });
}

/// One that does not read any more fills its ring and its mailbox. Whoever may not wait is told so, the
/// arbiter waits for nobody, and what had not left is done by the next incarnation, once.
#[test]
fn a15_a_full_ring_of_one_that_is_dead_keeps_nobody() {
    let test = "behaviours::b15_memory::a15_a_full_ring_of_one_that_is_dead_keeps_nobody";
    alone(test, 3 * LIMIT, || {
        with_patience(|arbiter| {
            let folder = tempfile::tempdir().expect("a folder");
            let plan = Plan::new(folder.path());
            let spec = plan.spec("witness").timeout(None).capacity(100_000);
            let witness: Proxy<Witness> = spawn(arbiter, spec);
            let sibling = spawn(arbiter, Spec::<Counter>::new(Start::default()).process());
            let pid = witness.ask_timeout(Job(0, 0), LIMIT).expect("it serves").1;
            signal(pid, "STOP");
            // What it still handles on its way there would be counted as lost.
            eventually(|| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                stat.is_ok_and(|stat| stat.contains(") T "))
            });
            let mut sent = 0_u64;
            let refused = loop {
                match witness.try_send(Job(sent + 1, 0)) {
                    Ok(()) => sent += 1,
                    Err(refused) => break refused,
                }
            };
            assert!(matches!(refused, SendError::Full(_)), "{refused}");
            let waiting = {
                let witness = witness.clone();
                thread::spawn(move || witness.send(Job(sent + 1, 0)))
            };
            let begun = Instant::now();
            let worst = undisturbed(&sibling, || begun.elapsed() > Duration::from_millis(200));
            figure("a sibling's answer", worst, 5 * PATIENCE);
            assert!(!waiting.is_finished(), "there is no room");
            signal(pid, "KILL");
            let told = waiting.join().expect("no panic");
            assert!(told.is_ok(), "the next one has room");
            // It is behind all of them.
            let last = witness
                .ask_timeout(Job(sent + 2, 0), LIMIT)
                .expect("it serves");
            assert_ne!(last.1, pid);
            let mut done = plan.seen(&["job "]);
            let all = done.len();
            done.sort_unstable();
            done.dedup();
            assert_eq!(done.len(), all, "none twice");
            let lost = witness.lost();
            assert_eq!(
                all as u64 + lost,
                sent + 3,
                "each is done or told to be lost"
            );
            note(&format!(
                "{sent} fitted, {lost} of them had left and are lost"
            ));
        });
    });
}

fn pid(victim: &Proxy<Victim>) -> u32 {
    loop {
        match victim.ask_timeout(Deed::Pid, LIMIT) {
            Ok(answer) => return answer.expect("an id").parse().expect("a number"),
            // Its end was under way.
            Err(AskError::Started | AskError::NotStarted) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A process writes anything anywhere into the memory that it shares with the arbiter. Its own messages may
/// be answered wrongly or not; but each ask ends, nobody else notices, and it can be ended and replaced.
#[test]
fn a15_memory_that_is_written_over_costs_its_process_only() {
    let test = "behaviours::b15_memory::a15_memory_that_is_written_over_costs_its_process_only";
    alone(test, 3 * LIMIT, || {
        with_patience(|arbiter| {
            let spec = victim().timeout(Duration::from_secs(1)).keep_output(1024);
            let victim = spawn(arbiter, spec);
            let sibling = spawn(arbiter, Spec::<Counter>::new(Start::default()).process());
            let mut ended = 0;
            let mut worst = Duration::ZERO;
            for seed in 1..=12 {
                let old = pid(&victim);
                let incarnation = victim.incarnation();
                let asker = {
                    let victim = victim.clone();
                    thread::spawn(move || {
                        let scribble = victim.ask(Deed::Scribble(seed, 20));
                        let others: Vec<_> = (0..20).map(|_| victim.ask(Deed::Pid)).collect();
                        let ends = others.into_iter().chain([scribble]);
                        ends.map(|ask| ask.wait_timeout(LIMIT).is_ok())
                            .collect::<Vec<_>>()
                    })
                };
                worst = worst.max(undisturbed(&sibling, || asker.is_finished()));
                let ends = asker.join().expect("no panic");
                assert!(ends.iter().all(|&has_ended| has_ended), "{seed}: {ends:?}");
                ended += u32::from(victim.incarnation() != incarnation);
                arbiter.kill_actor(victim.id());
                while pid(&victim) == old {}
            }
            figure("a sibling's answer", worst, 5 * PATIENCE);
            assert_eq!(sibling.incarnation(), 0);
            note(&format!(
                "{ended} of 12 that wrote over their memory ended of it"
            ));
        });
    });
}
