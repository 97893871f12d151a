//! What only actors in processes can show: kills, crashes, hangs, and what is left afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipc_actors::{
    Arbiter, ArbiterLoop, ArbiterOptions, ArbiterThread, AskError, ExitReason, LeakGuard,
    Placement, Restart, Shutdown, SpawnError, Spec, State,
};

use crate::actors::{Add, Counter, Harm, Pid, Read, Start};
use crate::behaviours::alone;
use crate::support::{
    LIMIT, eventually, is_alive, pid, set_up, signal, spawn, with_arbiter, within, works,
};

fn counter() -> Spec<Counter> {
    Spec::new(Start::default()).process()
}

#[test]
fn questions_to_a_killed_process_all_end() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter());
        let before = pid(&counter);
        signal(before, "KILL");
        // From before its end was noticed until the next incarnation answers.
        eventually(|| match counter.info().wait_timeout(LIMIT) {
            Ok(answer) => answer.is_ok_and(|info| info.pid != before),
            Err(_) => panic!("a question was forgotten"),
        });
        eventually(|| {
            counter
                .echo(1)
                .wait_timeout(LIMIT)
                .is_ok_and(|echo| echo.is_ok())
        });
    });
}

#[test]
fn it_is_another_process_and_it_is_gone_afterwards() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter());
        let pid = pid(&counter);
        assert_ne!(pid, std::process::id());
        assert_eq!(counter.info().wait().unwrap().pid, pid);
        let called = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        let name = &counter.name()[..15];
        assert!(called.map_or(true, |called| called.trim_end() == name));
        assert_eq!(
            arbiter.stop_actor(counter.id()).wait(),
            Ok(Some(ExitReason::Shutdown))
        );
        assert!(!is_alive(pid), "reaped before its end is told");
        assert_eq!(counter.state(), State::Closed);
    });
}

#[test]
fn kill_9_ends_every_ask_and_a_new_process_takes_over() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter());
        let sibling = spawn(arbiter, self::counter());
        let (old, other) = (pid(&counter), pid(&sibling));
        let busy = counter.ask(Harm::Busy(60_000));
        let waiting: Vec<_> = (0..99).map(|_| counter.ask(Add(1))).collect();
        signal(old, "KILL");
        assert_eq!(busy.wait_timeout(LIMIT).unwrap(), Err(AskError::Started));
        for ask in waiting {
            assert_eq!(ask.wait_timeout(LIMIT).unwrap(), Err(AskError::NotStarted));
        }
        let new = pid(&counter);
        assert_ne!(new, old);
        assert_eq!(counter.incarnation(), 1);
        assert_eq!(pid(&sibling), other, "siblings never notice");
        eventually(|| !is_alive(old));
    });
}

#[test]
fn whatever_ends_the_process_only_that_actor_comes_back() {
    with_arbiter(|arbiter| {
        let sibling = spawn(arbiter, counter());
        for harm in [Harm::Abort, Harm::Segfault, Harm::Exit(7), Harm::Panic] {
            let case = format!("{harm:?}");
            let counter = spawn(arbiter, counter());
            assert_eq!(counter.ask(harm).wait(), Err(AskError::Started), "{case}");
            assert_eq!(counter.ask_timeout(Add(1), LIMIT), Ok(1), "{case}");
            arbiter.stop_actor(counter.id()).wait().unwrap();
        }
        assert_eq!(sibling.incarnation(), 0);
        assert_eq!(sibling.ask_timeout(Read, LIMIT), Ok(0));
    });
}

#[test]
fn a_start_that_hangs_is_killed_at_its_deadline() {
    with_arbiter(|arbiter| {
        let start = Start {
            hang: true,
            ..Start::default()
        };
        let limit = Duration::from_millis(200);
        let spec = Spec::<Counter>::new(start).process().start_timeout(limit);
        let begun = Instant::now();
        let spawned = arbiter.spawn(spec).wait_timeout(LIMIT).unwrap();
        assert_eq!(spawned, Err(SpawnError::Start(ExitReason::StartTimeout)));
        assert!(begun.elapsed() >= limit);
    });
}

#[test]
fn a_stuck_actor_is_found_killed_and_replaced() {
    with_arbiter(|arbiter| {
        let timeout = Duration::from_millis(400);
        // The work is dated by the look that saw it, and found by the turn of the loop that heard of it.
        let early = Duration::from_millis(20);
        let counter = spawn(arbiter, counter().timeout(timeout));
        // The sign of life after the first must count, too.
        assert_eq!(counter.ask(Harm::Busy(300)).wait(), Ok(()));
        let watch = arbiter.watch(counter.id());
        let begun = Instant::now();
        assert_eq!(counter.ask(Harm::Loop).wait(), Err(AskError::Started));
        let found = begun.elapsed();
        assert!(
            found + early >= timeout && found < timeout * 10,
            "{found:?}"
        );
        let down = watch.wait_timeout(LIMIT).unwrap().unwrap();
        assert_eq!(down.reason, ExitReason::Stuck);
        assert_eq!(down.at_hand.as_deref(), Some("harm"));
        assert_eq!(counter.ask_timeout(Add(1), LIMIT), Ok(1));
    });
}

#[test]
fn a_stopped_process_is_found_killed_and_replaced() {
    with_arbiter(|arbiter| {
        for cpu_bound in [false, true] {
            let spec = counter().timeout(Duration::from_millis(400));
            let counter = spawn(arbiter, if cpu_bound { spec.cpu_bound() } else { spec });
            let watch = arbiter.watch(counter.id());
            signal(pid(&counter), "STOP");
            let down = watch.wait_timeout(LIMIT).unwrap().unwrap();
            assert_eq!(down.reason, ExitReason::Silent, "{cpu_bound}");
            assert_eq!(counter.ask_timeout(Add(1), LIMIT), Ok(1));
        }
    });
}

#[test]
fn a_long_job_of_a_cpu_bound_actor_and_many_short_ones_of_any_are_progress() {
    with_arbiter(|arbiter| {
        let timeout = Duration::from_millis(300);
        let computes = spawn(arbiter, counter().timeout(timeout).cpu_bound());
        let works = spawn(arbiter, counter().timeout(timeout));
        let job = computes.ask(Harm::Busy(1200));
        let short: Vec<_> = (0..12).map(|_| works.ask(Harm::Busy(100))).collect();
        assert_eq!(job.wait_timeout(LIMIT).unwrap(), Ok(()));
        for ask in short {
            assert_eq!(ask.wait_timeout(LIMIT).unwrap(), Ok(()));
        }
        assert_eq!((computes.incarnation(), works.incarnation()), (0, 0));
    });
}

#[test]
fn orders_are_behind_neither_work_nor_a_full_mailbox() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter().capacity(16));
        let work = counter.ask(Harm::Busy(60_000));
        while counter.try_send(Add(1)).is_ok() || counter.waiting() < 16 {}
        // Asked again and again, so that some come just before others are done.
        for number in 0..100 {
            assert_eq!(counter.ping().wait_timeout(LIMIT).unwrap(), Ok(()));
            assert_eq!(
                counter.echo(number).wait_timeout(LIMIT).unwrap(),
                Ok(number)
            );
            assert!(counter.info().wait_timeout(LIMIT).unwrap().is_ok());
        }
        assert!(!work.is_ready());
        arbiter.kill_actor(counter.id());
        assert_eq!(work.wait_timeout(LIMIT).unwrap(), Err(AskError::Started));
    });
}

#[test]
fn a_question_to_one_that_begins_to_work_does_not_wait_for_it() {
    with_arbiter(|arbiter| {
        for placement in [Placement::Thread, Placement::Process] {
            let counter = spawn(arbiter, counter().placement(placement));
            for _ in 0..50 {
                let work = counter.ask(Harm::Busy(20));
                let begun = Instant::now();
                let info = counter.info().wait_timeout(LIMIT).unwrap();
                assert!(info.is_ok(), "{placement}");
                let took = begun.elapsed();
                if took > Duration::from_millis(15) {
                    // A machine that is busy otherwise may be slow, too.
                    assert!(!work.is_ready(), "{placement}: {took:?}");
                }
                assert_eq!(work.wait_timeout(LIMIT).unwrap(), Ok(()));
            }
        }
    });
}

#[test]
fn a_cpu_bound_actor_answers_for_itself_while_it_works() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter().cpu_bound());
        let work = counter.ask(Harm::Busy(3000));
        eventually(|| works(&counter));
        assert_eq!(counter.ping().wait(), Ok(()));
        assert_eq!(counter.echo(5).wait(), Ok(5));
        assert!(!work.is_ready());
        assert_eq!(work.wait(), Ok(()));
    });
}

#[test]
fn one_that_does_not_stop_is_killed() {
    with_arbiter(|arbiter| {
        let spec = counter().shutdown(Shutdown::After(Duration::from_millis(100)));
        let counter = spawn(arbiter, spec);
        let pid = pid(&counter);
        let _loops = counter.ask(Harm::Loop);
        eventually(|| works(&counter));
        let gone = arbiter
            .stop_actor(counter.id())
            .wait_timeout(LIMIT)
            .unwrap();
        assert_eq!(gone, Ok(Some(ExitReason::Killed)));
        assert!(!is_alive(pid));
    });
}

#[test]
fn after_requests_max_messages_a_new_process_takes_over() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter().requests_max(3));
        let mut seen = Vec::new();
        for _ in 0..9 {
            // One that reached a process on its way out did no harm and is sent again.
            seen.push(loop {
                match counter.ask_timeout(Pid, LIMIT) {
                    Ok(pid) => break pid,
                    Err(AskError::NotStarted) => {}
                    Err(error) => panic!("{error}"),
                }
            });
        }
        for three in seen.chunks(3) {
            assert_eq!(three, [three[0]; 3]);
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 3);
    });
}

#[test]
fn tells_to_a_process_arrive_in_order_and_block_when_it_is_slow() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter().capacity(64));
        for _ in 0..100_000 {
            counter.send(Add(1)).unwrap();
        }
        assert_eq!(counter.ask_timeout(Read, LIMIT), Ok(100_000));
    });
}

#[test]
fn a_tell_is_handled_or_counted_as_lost() {
    with_arbiter(|arbiter| {
        let counter = spawn(arbiter, counter());
        let pid = pid(&counter);
        let watch = arbiter.watch(counter.id());
        let busy = counter.ask(Harm::Busy(60_000));
        for _ in 0..500 {
            counter.send(Add(1)).unwrap();
        }
        signal(pid, "KILL");
        assert_eq!(busy.wait_timeout(LIMIT).unwrap(), Err(AskError::Started));
        let down = watch.wait_timeout(LIMIT).unwrap().unwrap();
        // Those that had not left are done by the next incarnation.
        let handled = counter.ask_timeout(Read, LIMIT).unwrap();
        assert_eq!(handled + down.lost, 500);
        assert_eq!(counter.lost(), down.lost);
        // A clean end knows it exactly.
        for _ in 0..500 {
            counter.send(Add(1)).unwrap();
        }
        arbiter.stop_actor(counter.id()).wait().unwrap();
        assert!(counter.lost() <= 1000);
    });
}

#[test]
fn what_does_not_fit_is_written_when_there_is_room() {
    within(3 * LIMIT, || {
        set_up();
        let mut root = ArbiterLoop::new(ArbiterOptions::default()).unwrap();
        let arbiter = root.arbiter();
        let spawning = arbiter.spawn(counter().capacity(1 << 20));
        let counter = root.wait(spawning.into_deferred()).unwrap().unwrap();
        // On the loop's own thread nothing may wait for room, and nobody sends again.
        let mut sent = 0;
        while sent < 100_000 && counter.send(Add(1)).is_ok() {
            sent += 1;
        }
        assert!(sent > 1000, "{sent}");
        let asked = loop {
            let asked = counter.ask(Read);
            match root.wait(asked).unwrap() {
                Err(AskError::Full) => root.turn(None).unwrap(),
                answer => break answer,
            }
        };
        assert_eq!(asked, Ok(sent));
        arbiter.stop();
        root.run().unwrap();
    });
}

#[test]
fn nothing_is_left_behind() {
    alone("processes::nothing_is_left_behind", 3 * LIMIT, || {
        let pids = |arbiter: &Arbiter| -> Vec<u32> {
            let counters: Vec<_> = (0..4).map(|_| spawn(arbiter, counter())).collect();
            signal(pid(&counters[0]), "KILL");
            counters.iter().map(pid).collect()
        };
        // Stopped, dropped, and ended with an actor that is stuck.
        for round in 0..3 {
            let thread = ArbiterThread::start(ArbiterOptions::default()).unwrap();
            let pids = pids(&thread.arbiter());
            match round {
                0 => assert_eq!(thread.finish().unwrap(), 0),
                1 => drop(thread),
                _ => {
                    let loops = spawn(&thread.arbiter(), counter());
                    let _loops = loops.ask(Harm::Loop);
                    thread.arbiter().stop();
                    thread.arbiter().stop();
                    let begun = Instant::now();
                    thread.join().unwrap();
                    assert!(
                        begun.elapsed() < Duration::from_secs(2),
                        "the second does not wait"
                    );
                }
            }
            for pid in pids {
                assert!(!is_alive(pid), "round {round}");
            }
        }
    });
}

#[test]
fn many_lives_leak_nothing() {
    alone("processes::many_lives_leak_nothing", 3 * LIMIT, || {
        with_arbiter(|arbiter| {
            let lives = |count: usize| {
                for round in 0..count {
                    let counter = spawn(arbiter, counter().restart(Restart::Temporary));
                    let pid = pid(&counter);
                    if round % 2 == 0 {
                        signal(pid, "KILL");
                        let watch = arbiter.watch(counter.id());
                        watch.wait_timeout(LIMIT).expect("in time").expect("an end");
                    } else {
                        arbiter.stop_actor(counter.id()).wait().unwrap();
                    }
                    assert!(!is_alive(pid));
                }
            };
            lives(10);
            // What each life had is given back when it ends, and not with the arbiter only.
            let guard = LeakGuard::new();
            lives(90);
            guard.check(LIMIT).expect("nothing more");
        });
    });
}
