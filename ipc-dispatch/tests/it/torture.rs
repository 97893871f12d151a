//! Posting, arming and closing at random for a while: nothing is lost, nothing comes twice.
//!
//! A round sets off a random number of posts, alarms, results and byte streams from several threads,
//! and ends when each has come exactly once or was cancelled. Between any two of them the loop may
//! have gone to sleep, so that an event that is lost makes its round hang.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ipc_core::{AnyChannel, Channel, Ring, Socket};
use ipc_dispatch::{
    AlarmId, Completer, Context, Control, Deferred, Exit, Key, Poster, Selector, Trigger,
};

use crate::support::{Random, within};

const THREADS: usize = 3;

/// How long a round may take, which is a thousand times what one takes.
const ROUND_MAX: Duration = Duration::from_secs(20);

/// What a thread is asked to do.
enum Job {
    Posts(u64, Random),
    Write(Box<AnyChannel>, u64, Random),
    Complete(Completer<u64>, u64, Random),
}

#[derive(Clone, Copy)]
struct Armed {
    id: AlarmId,
    due: Instant,
}

struct Flow {
    key: Key<AnyChannel>,
    read: u64,
    total: u64,
}

/// How many of each have come, and how many were taken away before.
#[derive(Debug, Default)]
struct Counts {
    posts: u64,
    results: u64,
    alarms: u64,
    cancelled: u64,
    bytes: u64,
    ended: u64,
    closed: u64,
}

struct World {
    random: Random,
    outstanding: u64,
    /// Whether the round is run, and stopped, or turned by hand.
    runs: bool,
    /// Of each thread, the number of its next post.
    next: [u64; THREADS],
    alarms: BTreeMap<u64, Armed>,
    flows: BTreeMap<u64, Flow>,
    named: u64,
    counts: Counts,
}

type Ctx<'a> = Context<'a, World>;

fn done(ctx: &mut Ctx<'_>) {
    ctx.state.outstanding -= 1;
    if ctx.state.outstanding == 0 && ctx.state.runs {
        ctx.stop();
    }
}

fn name(ctx: &mut Ctx<'_>) -> u64 {
    ctx.state.named += 1;
    ctx.state.outstanding += 1;
    ctx.state.named
}

/// Arms an alarm that rings a few times.
fn arm(ctx: &mut Ctx<'_>) {
    let number = name(ctx);
    let delay = Duration::from_micros(ctx.state.random.below(3000));
    let mut rings = ctx.state.random.below(3);
    let due = ctx.now() + delay;
    let id = ctx.alarm_at(due, move |ctx: &mut Ctx<'_>| {
        let now = ctx.now();
        let armed = ctx.state.alarms.get_mut(&number);
        let armed = armed.expect("an alarm rings only while it is armed");
        assert!(now >= armed.due, "an alarm rang early");
        ctx.state.counts.alarms += 1;
        if rings > 0 {
            rings -= 1;
            // A period counts from when it was due.
            armed.due += Duration::from_micros(300);
            return Some(Duration::from_micros(300));
        }
        ctx.state.alarms.remove(&number);
        meddle(ctx);
        done(ctx);
        None
    });
    ctx.state.alarms.insert(number, Armed { id, due });
}

/// Opens a source to which a thread writes.
fn open(ctx: &mut Ctx<'_>, threads: &[mpsc::Sender<Job>]) {
    let number = name(ctx);
    let (mut ours, theirs): (AnyChannel, AnyChannel) = if ctx.state.random.below(8) == 0 {
        let (ours, theirs) = Ring::pair().unwrap();
        (ours.into(), theirs.into())
    } else {
        let (ours, theirs) = Socket::pair().unwrap();
        (ours.into(), theirs.into())
    };
    ours.set_nonblocking(true).unwrap();
    let trigger = [Trigger::Level, Trigger::Edge][ctx.state.random.below(2) as usize];
    let key = ctx.add_with(ours, trigger);
    ctx.on_readable(key, move |channel: &mut AnyChannel, ctx: &mut Ctx<'_>| {
        drain(channel, ctx, number, trigger)
    })
    .unwrap();
    let total = ctx.state.random.below(2000);
    let flow = Flow {
        key,
        read: 0,
        total,
    };
    ctx.state.flows.insert(number, flow);
    give(ctx, threads, |random| {
        Job::Write(Box::new(theirs), total, random)
    });
}

/// Reads a little, and says whether there is more.
fn drain(channel: &mut AnyChannel, ctx: &mut Ctx<'_>, number: u64, trigger: Trigger) -> Control {
    let mut buf = [0; 256];
    let len = 1 + ctx.state.random.below(256) as usize;
    let flow = ctx.state.flows.get_mut(&number);
    let flow = flow.expect("a source that was closed does not run");
    match channel.read(&mut buf[..len]) {
        Ok(0) => {
            assert_eq!(flow.read, flow.total, "bytes were lost");
            ctx.state.flows.remove(&number);
            ctx.state.counts.ended += 1;
            meddle(ctx);
            done(ctx);
            return Control::Close;
        }
        Ok(count) => {
            for byte in &buf[..count] {
                assert_eq!(*byte, flow.read as u8, "bytes came twice or in disorder");
                flow.read += 1;
            }
            ctx.state.counts.bytes += count as u64;
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Control::Keep,
        Err(error) => panic!("{error}"),
    }
    if ctx.state.random.below(16) == 0 {
        meddle(ctx);
    }
    match trigger {
        Trigger::Level => Control::Keep,
        Trigger::Edge => Control::Again,
    }
}

/// Takes something away from under the loop, or adds to it.
fn meddle(ctx: &mut Ctx<'_>) {
    match ctx.state.random.below(8) {
        0 => arm(ctx),
        1 => {
            let Some((number, armed)) = ctx.state.alarms.pop_last() else {
                return;
            };
            // It may be ringing right now, and then ends with this ring.
            assert!(ctx.cancel(armed.id), "alarm {number} is armed");
            ctx.state.counts.cancelled += 1;
            done(ctx);
        }
        2 => {
            let Some((number, flow)) = ctx.state.flows.pop_first() else {
                return;
            };
            assert!(ctx.close(flow.key), "source {number} is open");
            ctx.state.counts.closed += 1;
            done(ctx);
        }
        3 => {
            ctx.state.outstanding += 1;
            ctx.defer(done);
        }
        4 => {
            ctx.state.outstanding += 1;
            ctx.on_idle(done);
        }
        _ => {}
    }
}

/// Gives a job to some thread.
fn give(ctx: &mut Ctx<'_>, threads: &[mpsc::Sender<Job>], job: impl FnOnce(Random) -> Job) {
    let seed = Random(ctx.state.random.next());
    let which = ctx.state.random.below(THREADS as u64) as usize;
    threads[which].send(job(seed)).unwrap();
}

/// Sets a round off.
fn begin(ctx: &mut Ctx<'_>, threads: &[mpsc::Sender<Job>]) {
    for _ in 0..ctx.state.random.below(4) {
        let count = 1 + ctx.state.random.below(20);
        ctx.state.outstanding += count;
        give(ctx, threads, |random| Job::Posts(count, random));
    }
    for _ in 0..ctx.state.random.below(6) {
        arm(ctx);
    }
    for _ in 0..ctx.state.random.below(4) {
        open(ctx, threads);
    }
    for _ in 0..ctx.state.random.below(4) {
        let (completer, deferred) = Deferred::<u64>::pair();
        let expected = name(ctx);
        let poster = ctx.poster();
        // One wake from a thread, through a future, and a post from the loop itself.
        let waited = ctx.spawn(async move { deferred.await.unwrap() });
        waited.deliver(&poster, move |result, ctx| {
            assert_eq!(result.unwrap(), expected);
            ctx.state.counts.results += 1;
            done(ctx);
        });
        give(ctx, threads, |random| {
            Job::Complete(completer, expected, random)
        });
    }
}

fn pause(random: &mut Random) {
    if random.below(4) == 0 {
        std::thread::park_timeout(Duration::from_micros(random.below(200)));
    }
}

fn work(index: usize, poster: &Poster<World>, jobs: &mpsc::Receiver<Job>) {
    let mut posted = 0u64;
    for job in jobs {
        match job {
            Job::Posts(count, mut random) => {
                for _ in 0..count {
                    pause(&mut random);
                    let number = posted;
                    posted += 1;
                    let task = move |ctx: &mut Ctx<'_>| {
                        assert_eq!(ctx.state.next[index], number, "posts keep their order");
                        ctx.state.next[index] += 1;
                        ctx.state.counts.posts += 1;
                        if number.is_multiple_of(8) {
                            meddle(ctx);
                        }
                        done(ctx);
                    };
                    assert!(poster.post(task).is_ok());
                }
            }
            Job::Write(mut channel, total, mut random) => {
                let bytes: Vec<u8> = (0..total).map(|number| number as u8).collect();
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    pause(&mut random);
                    let len = rest.len().min(1 + random.below(500) as usize);
                    // It fails when the source was closed.
                    if channel.write_all(&rest[..len]).is_err() {
                        break;
                    }
                    rest = &rest[len..];
                }
            }
            Job::Complete(completer, value, mut random) => {
                pause(&mut random);
                completer.complete(value);
            }
        }
    }
}

/// Runs rounds until `time` is over. Answers how many.
fn torture(time: Duration, seed: u64) -> (u64, World, ipc_dispatch::Metrics) {
    let mut selector = Selector::<World>::new().unwrap();
    selector.set_persistent(true);
    let mut world = World {
        random: Random(seed),
        outstanding: 0,
        runs: false,
        next: [0; THREADS],
        alarms: BTreeMap::new(),
        flows: BTreeMap::new(),
        named: 0,
        counts: Counts::default(),
    };
    let (threads, joins): (Vec<_>, Vec<_>) = (0..THREADS)
        .map(|index| {
            let (jobs, received) = mpsc::channel();
            let poster = selector.poster();
            let thread = std::thread::spawn(move || work(index, &poster, &received));
            (jobs, thread)
        })
        .unzip();
    let began = Instant::now();
    let mut rounds = 0u64;
    while began.elapsed() < time {
        rounds += 1;
        world.runs = world.random.below(2) == 0;
        selector.with(&mut world, |ctx| {
            ctx.state.outstanding += 1;
            begin(ctx, &threads);
            // Not before everything has been set off.
            ctx.defer(done);
        });
        let place = format!("seed {seed}, round {rounds}");
        if world.runs {
            let exit = selector.run_timeout(&mut world, ROUND_MAX).unwrap();
            assert_eq!(exit, Exit::Stopped, "{place}: {} lost", world.outstanding);
        } else {
            let began = Instant::now();
            while world.outstanding > 0 {
                selector.turn(&mut world, Some(ROUND_MAX)).unwrap();
                let lost = world.outstanding > 0 && began.elapsed() > ROUND_MAX;
                assert!(!lost, "{place}: {} lost", world.outstanding);
            }
        }
        assert!(world.alarms.is_empty() && world.flows.is_empty(), "{place}");
    }
    drop(threads);
    for thread in joins {
        thread.join().unwrap();
    }
    assert!(selector.sources().is_empty());
    (rounds, world, selector.metrics())
}

#[test]
fn random_posts_alarms_and_closes_come_once_each() {
    // By hand: IPC_DISPATCH_TORTURE=600, in seconds.
    let number = |name| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse::<u64>().ok())
    };
    let time = Duration::from_secs(number("IPC_DISPATCH_TORTURE").unwrap_or(2));
    let seed = number("IPC_DISPATCH_SEED").unwrap_or(1);
    within(time + 2 * ROUND_MAX, move || {
        let (rounds, world, metrics) = torture(time, seed);
        println!("{rounds} rounds in {time:?}: {:?}", world.counts);
        println!("{metrics:?}");
        assert!(rounds > 10, "{rounds} rounds");
        assert!(metrics.sleeps > rounds, "the loop did go to sleep");
        assert_eq!(metrics.errors + metrics.panics, 0);
    });
}
