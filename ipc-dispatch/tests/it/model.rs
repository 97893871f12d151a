//! The contract of re-entrancy against the simplest loop that keeps it.
//!
//! Handlers of a simulated selector do random things to it: add, close and change sources, arm and
//! cancel alarms, defer tasks, post, stop. The reference below does the same with plain vectors, and
//! after every turn both must have run the same handlers in the same order.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc_dispatch::{
    AlarmId, Context, Control, Event, Exit, Interest, Key, Next, Scripted, Selector, Simulation,
    Step,
};

use crate::support::Random;

/// Something that a handler does to the loop, by the numbers of things.
#[derive(Clone, Copy, Debug)]
enum Act {
    Add,
    Close(usize),
    Watch(usize, Interest),
    Pause(usize),
    Resume(usize),
    Arm(u64),
    Cancel(usize),
    Defer,
    Post,
    Stop,
}

/// What a handler answers.
fn answer(random: &mut Random) -> Control {
    match random.below(10) {
        0..=4 => Control::Keep,
        5 => Control::Again,
        6..=7 => Control::Drop,
        8 => Control::Replace(if random.below(2) == 0 {
            Interest::Read
        } else {
            Interest::Write
        }),
        _ => Control::Close,
    }
}

fn acts(random: &mut Random) -> Vec<Act> {
    (0..random.below(3))
        .map(|_| {
            let which = random.below(40) as usize;
            let interest = if random.below(2) == 0 {
                Interest::Read
            } else {
                Interest::Write
            };
            match random.below(24) {
                0..=3 => Act::Add,
                4..=6 => Act::Close(which),
                7..=11 => Act::Watch(which, interest),
                12 => Act::Pause(which),
                13..=14 => Act::Resume(which),
                15..=17 => Act::Arm(random.below(6)),
                18..=19 => Act::Cancel(which),
                20..=21 => Act::Defer,
                22 => Act::Post,
                _ => Act::Stop,
            }
        })
        .collect()
}

/// What ran: a handler by its number, an alarm or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ran {
    Handler(usize),
    Alarm(usize),
    Task(usize),
}

/// Decides everything by what runs, so that both loops decide alike.
fn decide(seed: u64, ran: Ran, count: usize) -> Random {
    let kind = match ran {
        Ran::Handler(number) => number as u64,
        Ran::Alarm(number) => 1_000_000 + number as u64,
        Ran::Task(number) => 2_000_000 + number as u64,
    };
    let mut random = Random(seed ^ (kind << 32) ^ count as u64);
    random.next();
    random
}

#[derive(Default)]
struct World {
    seed: u64,
    log: Vec<Ran>,
    sources: Vec<Key<Scripted>>,
    alarms: Vec<AlarmId>,
    handlers: usize,
    tasks: usize,
}

fn watch(ctx: &mut Context<'_, World>, which: usize, interest: Interest) {
    let Some(key) = ctx.state.sources.get(which).copied() else {
        return;
    };
    let number = ctx.state.handlers;
    ctx.state.handlers += 1;
    // A source that is gone is an error, as it is in the reference.
    let _ = ctx.on(key, interest, move |_, ctx: &mut Context<'_, World>| {
        let mut random = run(ctx, Ran::Handler(number));
        answer(&mut random)
    });
}

fn run(ctx: &mut Context<'_, World>, ran: Ran) -> Random {
    ctx.state.log.push(ran);
    let mut random = decide(ctx.state.seed, ran, ctx.state.log.len());
    for act in acts(&mut random) {
        obey(ctx, act);
    }
    random
}

fn task(ctx: &mut Context<'_, World>) -> usize {
    ctx.state.tasks += 1;
    ctx.state.tasks - 1
}

fn obey(ctx: &mut Context<'_, World>, act: Act) {
    match act {
        Act::Add => {
            let key = ctx.add(Scripted);
            ctx.state.sources.push(key);
        }
        Act::Close(which) => {
            if let Some(key) = ctx.state.sources.get(which).copied() {
                ctx.close(key);
            }
        }
        Act::Watch(which, interest) => watch(ctx, which, interest),
        Act::Pause(which) => {
            if let Some(key) = ctx.state.sources.get(which).copied() {
                ctx.pause(key);
            }
        }
        Act::Resume(which) => {
            if let Some(key) = ctx.state.sources.get(which).copied() {
                ctx.resume(key);
            }
        }
        Act::Arm(delay) => {
            let number = ctx.state.alarms.len();
            let id = ctx.alarm(
                Duration::from_millis(delay),
                move |ctx: &mut Context<'_, World>| {
                    let mut random = run(ctx, Ran::Alarm(number));
                    match random.below(4) {
                        0 => Next::After(Duration::from_millis(random.below(4))),
                        _ => Next::Done,
                    }
                },
            );
            ctx.state.alarms.push(id);
        }
        Act::Cancel(which) => {
            if let Some(id) = ctx.state.alarms.get(which).copied() {
                ctx.cancel(id);
            }
        }
        Act::Defer => {
            let number = task(ctx);
            ctx.defer(move |ctx| {
                run(ctx, Ran::Task(number));
            });
        }
        Act::Post => {
            let number = task(ctx);
            ctx.poster()
                .post(move |ctx| {
                    run(ctx, Ran::Task(number));
                })
                .unwrap();
        }
        Act::Stop => ctx.stop(),
    }
}

/// The reference: everything in plain vectors, nothing clever.
#[derive(Default)]
struct Reference {
    seed: u64,
    log: Vec<Ran>,
    sources: Vec<Source>,
    /// When due, armed as which, and the number.
    alarms: Vec<(u64, u64, usize)>,
    sequence: u64,
    ids: usize,
    handlers: usize,
    tasks: usize,
    deferred: Vec<usize>,
    posted: Vec<usize>,
    /// Ready without asking the system, for the next turn.
    again: BTreeMap<usize, Vec<Interest>>,
    running: Option<usize>,
    ringing: Option<(usize, bool)>,
    now: u64,
}

#[derive(Clone, Default)]
struct Source {
    gone: bool,
    paused: bool,
    handlers: Vec<(usize, Interest)>,
    added: Vec<(usize, Interest)>,
}

impl Reference {
    fn run(&mut self, ran: Ran) -> Random {
        self.log.push(ran);
        let mut random = decide(self.seed, ran, self.log.len());
        for act in acts(&mut random) {
            self.obey(act);
        }
        random
    }

    fn obey(&mut self, act: Act) {
        match act {
            Act::Add => self.sources.push(Source::default()),
            Act::Close(which) => {
                if let Some(source) = self.sources.get_mut(which) {
                    source.gone = true;
                }
            }
            Act::Watch(which, interest) => {
                let Some(source) = self.sources.get_mut(which) else {
                    return;
                };
                let number = self.handlers;
                self.handlers += 1;
                if source.gone {
                    return;
                }
                if self.running == Some(which) {
                    source.added.push((number, interest));
                } else {
                    source.handlers.push((number, interest));
                }
            }
            Act::Pause(which) | Act::Resume(which) => {
                if let Some(source) = self.sources.get_mut(which) {
                    source.paused = matches!(act, Act::Pause(_));
                }
            }
            Act::Arm(delay) => {
                self.arm(delay, self.ids);
                self.ids += 1;
            }
            Act::Cancel(which) => {
                self.alarms.retain(|(_, _, number)| *number != which);
                if let Some((number, cancelled)) = &mut self.ringing {
                    *cancelled |= *number == which;
                }
            }
            Act::Defer => {
                self.deferred.push(self.tasks);
                self.tasks += 1;
            }
            Act::Post => {
                self.posted.push(self.tasks);
                self.tasks += 1;
            }
            Act::Stop => {}
        }
    }

    fn arm(&mut self, delay: u64, number: usize) {
        self.alarms.push((self.now + delay, self.sequence, number));
        self.sequence += 1;
    }

    /// The first part of a turn: tasks, then alarms.
    fn begin(&mut self) {
        for number in std::mem::take(&mut self.posted) {
            self.run(Ran::Task(number));
        }
        for number in std::mem::take(&mut self.deferred) {
            self.run(Ran::Task(number));
        }
        let mark = self.sequence;
        loop {
            // The first that is due; one that was armed in this pass ends it.
            let Some(alarm) = self.alarms.iter().min().copied() else {
                return;
            };
            if alarm.0 > self.now || alarm.1 >= mark {
                return;
            }
            self.alarms.retain(|other| *other != alarm);
            self.ringing = Some((alarm.2, false));
            let mut random = self.run(Ran::Alarm(alarm.2));
            let again = (random.below(4) == 0).then(|| random.below(4));
            let cancelled = self.ringing.take().is_some_and(|(_, cancelled)| cancelled);
            if let (Some(delay), false) = (again, cancelled) {
                self.arm(delay, alarm.2);
            }
        }
    }

    /// One source with what is ready, as the trace of the real loop says.
    fn source(&mut self, which: usize, ready: Event) {
        self.running = Some(which);
        let mut kept = Vec::new();
        let handlers = self.sources[which].handlers.clone();
        let mut after: BTreeMap<usize, Option<Interest>> = BTreeMap::new();
        for (interest, bit) in [
            (Interest::Read, Event::READ),
            (Interest::Write, Event::WRITE),
        ] {
            if !ready.contains(bit) || self.sources[which].gone {
                continue;
            }
            for (number, wanted) in &handlers {
                // One that has changed its interest in this pass waits for the next.
                if *wanted != interest || after.contains_key(number) || self.sources[which].gone {
                    continue;
                }
                let mut random = self.run(Ran::Handler(*number));
                match answer(&mut random) {
                    Control::Drop => drop(after.insert(*number, None)),
                    Control::Replace(other) => drop(after.insert(*number, Some(other))),
                    Control::Again => self.again.entry(which).or_default().push(interest),
                    Control::Close => self.sources[which].gone = true,
                    _ => {}
                }
            }
        }
        for (number, interest) in handlers {
            match after.get(&number) {
                None => kept.push((number, interest)),
                Some(Some(other)) => kept.push((number, *other)),
                Some(None) => {}
            }
        }
        let source = &mut self.sources[which];
        kept.append(&mut source.added);
        source.handlers = kept;
        self.running = None;
    }
}

/// Runs both loops for a while under one seed.
fn check(seed: u64) -> usize {
    let simulation = Simulation::new(seed);
    let mut selector: Selector<World> = simulation.selector();
    let mut world = World {
        seed,
        ..World::default()
    };
    let mut reference = Reference {
        seed,
        ..Reference::default()
    };
    let mut random = Random(seed);
    let start = simulation.now();
    for _ in 0..6 {
        let key = selector.add(Scripted);
        world.sources.push(key);
        reference.sources.push(Source::default());
    }
    for round in 0..60 {
        reference.now = (simulation.now() - start).as_millis() as u64;
        // From outside, between turns.
        for act in [acts(&mut random), acts(&mut random), acts(&mut random)].concat() {
            reference.obey(act);
            outside(&mut selector, &mut world, act);
        }
        for which in 0..world.sources.len() {
            if random.below(3) == 0 {
                simulation.ready(
                    world.sources[which],
                    [Event::READ, Event::WRITE][random.below(2) as usize],
                );
            }
            if random.below(3) == 0 {
                simulation.clear(world.sources[which], Event::READ | Event::WRITE);
            }
        }
        simulation.take_trace();
        reference.begin();
        let before = reference.log.len();
        selector.turn(&mut world, Some(Duration::ZERO)).unwrap();
        let begun = &world.log[..before.min(world.log.len())];
        assert_eq!(begun, reference.log, "seed {seed}, round {round}");
        follow(
            &simulation,
            &world,
            &mut reference,
            &format!("seed {seed}, round {round}"),
        );
        assert_eq!(world.log, reference.log, "seed {seed}, round {round}");
        simulation.advance(Duration::from_millis(random.below(3)));
    }
    selector.stop();
    assert_eq!(selector.run(&mut world).unwrap(), Exit::Stopped);
    world.log.len()
}

/// The second part of a turn: the reference runs the sources that the loop ran, in its order, if that
/// is one of the orders that are allowed.
fn follow(simulation: &Simulation, world: &World, reference: &mut Reference, place: &str) {
    let expected = expected(simulation, world, reference);
    let again = std::mem::take(&mut reference.again);
    let mut seen = Vec::new();
    for step in simulation.take_trace() {
        if let Step::Source(id, event) = step {
            let which = world.sources.iter().position(|key| key.id() == id).unwrap();
            seen.push(which);
            let allowed = expected.get(&which).copied().unwrap_or_default();
            let hot = again.get(&which).map_or(Event::NONE, |interests| {
                interests.iter().fold(Event::NONE, |sum, interest| {
                    sum | if *interest == Interest::Read {
                        Event::READ
                    } else {
                        Event::WRITE
                    }
                })
            });
            assert!((allowed | hot).contains(event), "{place}: {event:?}");
            assert!(
                !reference.sources[which].gone,
                "{place}: a closed source ran"
            );
            reference.source(which, event);
        }
    }
    // Nobody who was ready and not closed meanwhile was left out.
    for (which, event) in expected {
        let there = seen.contains(&which) || reference.sources[which].gone;
        assert!(there || event.is_none(), "{place}: {which} was left out");
    }
}

/// What was ready when the loop asked, by the reference's book of who waits for what.
fn expected(
    simulation: &Simulation,
    world: &World,
    reference: &Reference,
) -> BTreeMap<usize, Event> {
    let mut expected = BTreeMap::new();
    for (which, source) in reference.sources.iter().enumerate() {
        let Some(key) = world
            .sources
            .get(which)
            .filter(|_| !source.gone && !source.paused)
        else {
            continue;
        };
        let mut mask = Event::NONE;
        for (_, interest) in &source.handlers {
            mask |= if *interest == Interest::Read {
                Event::READ
            } else {
                Event::WRITE
            };
        }
        expected.insert(which, simulation.readiness(*key) & mask);
    }
    expected
}

fn outside(selector: &mut Selector<World>, world: &mut World, act: Act) {
    selector.with(world, |ctx| obey(ctx, act));
}

#[test]
fn handlers_that_do_random_things_run_as_the_reference_says() {
    // By hand: IPC_DISPATCH_SEEDS=100000.
    let seeds = std::env::var("IPC_DISPATCH_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(1000);
    let ran: usize = (0..seeds).map(check).sum();
    assert!(
        ran as u64 > 50 * seeds,
        "{ran} handlers are too few to tell"
    );
}
