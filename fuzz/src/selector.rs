//! The selector, on a clock and a system of its own, beside plain lists.

use std::time::Duration;

use ipc_dispatch::{
    AlarmId, Context, Control, Event, Interest, Key, Scripted, Selector, Simulation, Step,
};

/// What a handler does when it runs.
#[derive(Clone, Copy, Debug)]
enum Act {
    Keep,
    Drop,
    Close,
    /// Closes some source, perhaps its own.
    CloseOther(usize),
    /// Adds another handler to its own source, and goes.
    Again,
    /// Waits for the other of what it was added for from now on.
    Swap,
}

fn act(number: u8) -> Act {
    match number % 8 {
        0..=2 => Act::Keep,
        3 => Act::Drop,
        4 => Act::Close,
        5 => Act::CloseOther(usize::from(number / 8)),
        6 => Act::Again,
        _ => Act::Swap,
    }
}

fn other(interest: Interest) -> Interest {
    match interest {
        Interest::Read => Interest::Write,
        _ => Interest::Read,
    }
}

fn event(interest: Interest) -> Event {
    match interest {
        Interest::Read => Event::READ,
        _ => Event::WRITE,
    }
}

#[derive(Default)]
struct World {
    /// The numbers of handlers, alarms and tasks, as they run.
    log: Vec<u32>,
    keys: Vec<Key<Scripted>>,
    named: u32,
}

impl World {
    fn name(&mut self) -> u32 {
        self.named += 1;
        self.named
    }
}

fn watch(ctx: &mut Context<'_, World>, which: usize, interest: Interest, act: Act) {
    let key = ctx.state.keys[which];
    let number = ctx.state.name();
    // A source that was closed is an error, and here nothing.
    let _ = ctx.on(key, interest, move |_, ctx: &mut Context<'_, World>| {
        ctx.state.log.push(number);
        match act {
            Act::Keep => Control::Keep,
            Act::Drop => Control::Drop,
            Act::Close => Control::Close,
            Act::CloseOther(other) => {
                let other = ctx.state.keys[other % ctx.state.keys.len()];
                ctx.close(other);
                Control::Keep
            }
            Act::Again => {
                watch(ctx, which, interest, Act::Keep);
                Control::Drop
            }
            Act::Swap => Control::Replace(other(interest)),
        }
    });
}

#[derive(Clone, Copy)]
struct Handler {
    number: u32,
    /// What it was added for, and what it waits for now.
    first: Interest,
    interest: Interest,
    act: Act,
}

/// A source as the lists have it.
#[derive(Clone, Default)]
struct Source {
    closed: bool,
    paused: bool,
    handlers: Vec<Handler>,
}

impl Source {
    fn wants(&self) -> Event {
        let mut mask = Event::NONE;
        for handler in &self.handlers {
            mask |= event(handler.interest);
        }
        if self.closed || self.paused {
            Event::NONE
        } else {
            mask
        }
    }
}

#[derive(Default)]
struct Model {
    log: Vec<u32>,
    sources: Vec<Source>,
    posted: Vec<u32>,
    deferred: Vec<u32>,
    /// When due, its place among equals, and its number.
    alarms: Vec<(u64, u64, u32)>,
    named: u32,
}

impl Model {
    fn name(&mut self) -> u32 {
        self.named += 1;
        self.named
    }

    fn watch(&mut self, which: usize, interest: Interest, act: Act) {
        let number = self.name();
        let source = &mut self.sources[which];
        if !source.closed {
            source.handlers.push(Handler {
                number,
                first: interest,
                interest,
                act,
            });
        }
    }

    /// Tasks, then the alarms that are due.
    fn begin(&mut self, now: u64) {
        self.log.append(&mut self.posted);
        self.log.append(&mut self.deferred);
        self.alarms.sort_unstable();
        let due = self.alarms.partition_point(|alarm| alarm.0 <= now);
        let due = self.alarms.drain(..due);
        self.log.extend(due.map(|(_, _, number)| number));
    }

    /// One source, for which the loop was told `ready`.
    fn run(&mut self, which: usize, ready: Event) {
        let there = self.sources[which].handlers.clone();
        let mut gone = Vec::new();
        for interest in [Interest::Read, Interest::Write] {
            for handler in &there {
                let moved = gone.contains(&handler.number);
                let runs = handler.interest == interest && ready.contains(event(interest));
                if self.sources[which].closed || moved || !runs {
                    continue;
                }
                self.log.push(handler.number);
                match handler.act {
                    Act::Keep => {}
                    Act::Drop => gone.push(handler.number),
                    Act::Close => self.sources[which].closed = true,
                    Act::CloseOther(other) => {
                        let count = self.sources.len();
                        self.sources[other % count].closed = true;
                    }
                    Act::Again => {
                        gone.push(handler.number);
                        self.watch(which, interest, Act::Keep);
                    }
                    Act::Swap => {
                        let handlers = &mut self.sources[which].handlers;
                        for known in handlers.iter_mut() {
                            if known.number == handler.number {
                                known.interest = other(handler.first);
                            }
                        }
                        // It waits for the next pass with what it wants now.
                        gone.push(handler.number);
                    }
                }
            }
        }
        let swapped = |handler: &Handler| matches!(handler.act, Act::Swap);
        let source = &mut self.sources[which];
        source
            .handlers
            .retain(|handler| swapped(handler) || !gone.contains(&handler.number));
    }
}

/// Both loops, and the clock.
struct Pair {
    simulation: Simulation,
    selector: Selector<World>,
    world: World,
    model: Model,
    now: u64,
    alarms: Vec<(AlarmId, u32)>,
}

impl Pair {
    fn obey(&mut self, what: u8, number: u8, order: u64) {
        let which = usize::from(number & 15) % self.world.keys.len().max(1);
        let there = !self.world.keys.is_empty();
        match what % 12 {
            0 => {
                self.world.keys.push(self.selector.add(Scripted));
                self.model.sources.push(Source::default());
            }
            1 if there => {
                let open = !self.model.sources[which].closed;
                assert_eq!(self.selector.close(self.world.keys[which]), open);
                self.model.sources[which].closed = true;
            }
            2..=4 if there => {
                let interest = [Interest::Read, Interest::Write][usize::from(what / 12) % 2];
                let act = act(number >> 4 | what & 0xf0);
                self.model.watch(which, interest, act);
                self.selector
                    .with(&mut self.world, |ctx| watch(ctx, which, interest, act));
            }
            5 if there => {
                let event = [Event::READ, Event::WRITE][usize::from(number >> 7)];
                self.simulation.ready(self.world.keys[which], event);
            }
            6 if there => {
                let event = [Event::READ, Event::WRITE][usize::from(number >> 7)];
                self.simulation.clear(self.world.keys[which], event);
            }
            7 if there => {
                let paused = number >> 7 == 1;
                let key = self.world.keys[which];
                let known = if paused {
                    self.selector.pause(key)
                } else {
                    self.selector.resume(key)
                };
                assert_eq!(known, !self.model.sources[which].closed);
                self.model.sources[which].paused = paused;
            }
            8 => {
                let due = self.now + u64::from(number % 16);
                let name = self.model.name();
                self.world.name();
                self.model.alarms.push((due, order, name));
                let delay = Duration::from_millis(u64::from(number % 16));
                let id = self
                    .selector
                    .alarm(delay, move |ctx| ctx.state.log.push(name));
                self.alarms.push((id, name));
            }
            9 if !self.alarms.is_empty() => {
                let (id, name) = self.alarms[usize::from(number) % self.alarms.len()];
                let before = self.model.alarms.len();
                self.model.alarms.retain(|alarm| alarm.2 != name);
                assert_eq!(self.selector.cancel(id), self.model.alarms.len() < before);
            }
            10 => {
                let name = self.model.name();
                self.world.name();
                if number.is_multiple_of(2) {
                    self.model.posted.push(name);
                    let posted = self.selector.poster();
                    let posted = posted.post(move |ctx| ctx.state.log.push(name));
                    assert!(posted.is_ok(), "the loop is there and takes any number");
                } else {
                    self.model.deferred.push(name);
                    self.selector.defer(move |ctx| ctx.state.log.push(name));
                }
            }
            _ => self.turn(u64::from(number % 16)),
        }
    }

    fn turn(&mut self, time: u64) {
        self.now += time;
        self.simulation.advance(Duration::from_millis(time));
        self.simulation.take_trace();
        let before = self.model.log.len();
        self.model.begin(self.now);
        // What the system says, and to whom it matters.
        let ready: Vec<Event> = self
            .model
            .sources
            .iter()
            .zip(&self.world.keys)
            .map(|(source, key)| self.simulation.readiness(*key) & source.wants())
            .collect();
        let turned = self.selector.turn(&mut self.world, Some(Duration::ZERO));
        let ran = turned.expect("a simulated system does not fail");
        let mut seen = vec![false; ready.len()];
        for step in self.simulation.take_trace() {
            let Step::Source(id, event) = step else {
                continue;
            };
            let which = self.world.keys.iter().position(|key| key.id() == id);
            let which = which.expect("only sources that were added run");
            assert!(!self.model.sources[which].closed, "a closed source ran");
            assert!(!seen[which], "a source ran twice in a turn");
            assert_eq!(event, ready[which]);
            seen[which] = true;
            self.model.run(which, event);
        }
        for (which, event) in ready.iter().enumerate() {
            let excused = event.is_none() || self.model.sources[which].closed;
            assert!(seen[which] || excused, "source {which} was left out");
        }
        assert_eq!(self.world.log, self.model.log);
        assert_eq!(ran, (self.model.log.len() - before) as u64);
        for (source, key) in self.model.sources.iter().zip(&self.world.keys) {
            assert_eq!(self.selector.contains(*key), !source.closed);
            // What handlers changed is told to the system before the next wait.
            if !seen.contains(&true) {
                assert_eq!(self.simulation.interest(*key), source.wants());
            }
        }
    }
}

/// Adding, watching, pausing, closing, arming, cancelling and posting in any order, from outside and
/// from handlers, runs what the lists say, in their order, each once.
pub fn selector(data: &[u8]) {
    let (seed, operations) = data.split_first().unwrap_or((&0, &[]));
    let simulation = Simulation::new(u64::from(*seed));
    let mut pair = Pair {
        selector: simulation.selector(),
        simulation,
        world: World::default(),
        model: Model::default(),
        now: 0,
        alarms: Vec::new(),
    };
    // More would only be more of the same.
    for (order, operation) in (0..1000).zip(operations.chunks_exact(2)) {
        pair.obey(operation[0], operation[1], order);
    }
    pair.turn(16);
    assert!(pair.model.alarms.is_empty());
}
