//! An actor as its supervisor sees it: its specification and its present incarnation.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipc_dispatch::Context as LoopContext;

use super::handle::{Arbiter, SpawnResolver};
use super::process::Process;
use super::shelter::Claim;
use super::tree::{Told, Tree};
use crate::cell::{Cell, Turn};
use crate::context::Core;
use crate::link::{Link, Lost};
use crate::local::{LoopWake, set_arbiter};
use crate::mailbox::{Control, Mailbox, Wake};
use crate::proxy::Route;
use crate::status::Status;
use crate::wire::Order;
use crate::{
    Actor, ActorId, ChildPolicy, Commands, ExitReason, Info, Placement, Proxy, SpawnError, Spec,
    State, SystemInfo,
};

/// Messages an actor on the loop may handle before the others get their turn.
const TURN_LEN: u64 = 1024;

/// An actor of some type, as the tree keeps it.
pub(crate) trait AnySlot {
    fn id(&self) -> ActorId;
    fn name(&self) -> &str;
    fn policy(&self) -> ChildPolicy;
    fn incarnation(&self) -> u32;
    /// Begins the next incarnation. What has already come of it is the answer; else the tree is told
    /// later.
    fn start(&mut self, ctx: &mut LoopContext<'_, Tree>) -> Option<Told>;
    /// Asks the incarnation to end. Answers how it ended if it already has.
    fn stop(&mut self, reason: ExitReason) -> Option<ExitReason>;
    /// Ends the incarnation without asking; likewise.
    fn kill(&mut self, reason: ExitReason) -> Option<ExitReason>;
    /// Takes the mail of an actor on the loop out of its mailbox.
    fn fetch(&mut self);
    /// Lets an actor on the loop handle the mail that was fetched.
    fn turn(&mut self) -> Turn;
    /// The incarnation is up.
    fn started(&mut self);
    /// The incarnation is gone: gives up what belonged to it.
    fn ended(&mut self) -> Legacy;
    /// Says how the spawn went, once.
    fn spawned(&mut self, result: Result<(), SpawnError>);
    /// The actor will not come back. Answers how many messages are lost, as `ended`.
    fn close(&mut self) -> u64;
    /// When the incarnation must have shown life again, if it is watched.
    fn health(&mut self, now: Instant) -> Option<Health>;
    /// How long a process that is stuck may take to write a core file.
    fn abort_grace(&self) -> Duration;
    /// What is known of it without asking it.
    fn describe(&self) -> Info;
    /// Tells an actor that traps exits of the end of one that it was linked to. Answers whether it does.
    fn trap(&mut self, linked: ActorId, reason: &ExitReason) -> bool;
    /// When an actor on the loop must be given a turn although it has no mail.
    fn next_alarm(&mut self) -> Option<Instant>;
    /// The process of the incarnation, if it has one.
    fn process(&mut self) -> Option<&mut Process>;
}

/// What an incarnation leaves.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// How many messages that were only told are lost.
    pub(super) lost: u64,
    /// The name of the one that it may have been working on.
    pub(super) at_hand: Option<&'static str>,
    /// The end of what its process wrote.
    pub(super) output: String,
}

/// What is known of an incarnation's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Look again at this time.
    Until(Instant),
    /// It must be killed, for this reason.
    Bad(ExitReason),
}

enum Running<A: Actor> {
    Down,
    Local(Box<Cell<A>>),
    Thread(Box<JoinHandle<()>>),
    Process(Box<Process>),
}

/// An actor as its supervisor sees it.
pub(super) struct Slot<A: Actor> {
    seed: Seed<A>,
    running: Running<A>,
    resolver: Option<SpawnResolver<A>>,
    starts: u32,
    /// When the loop was asked to give it a turn.
    alarm: Option<Instant>,
}

/// What a slot is made from, on its way to the loop.
pub(crate) struct Seed<A: Actor> {
    spec: Spec<A>,
    arbiter: Arbiter,
    route: Route<A>,
    /// The process that the actor is in already.
    claim: Option<Box<Claim>>,
}

impl<A: Actor> Seed<A> {
    fn new(id: ActorId, name: Arc<str>, mut spec: Spec<A>, arbiter: Arbiter) -> Self {
        if arbiter.shared.clock.is_simulated() {
            spec.placement = Placement::Local;
        }
        let status = Status::new();
        let home = Arc::clone(&arbiter.shared.home);
        let route = match spec.placement {
            Placement::Local => {
                let wake = Wake::Loop(LoopWake { shared: home, id });
                Route::Here(Arc::new(Mailbox::new(
                    id,
                    name,
                    spec.capacity,
                    wake,
                    status,
                )))
            }
            Placement::Thread => {
                let mailbox = Mailbox::new(id, name, spec.capacity, Wake::Thread, status);
                Route::Here(Arc::new(mailbox))
            }
            Placement::Process => {
                let poster = arbiter.shared.poster.clone();
                Route::Process(Arc::new(Link::new(
                    id,
                    name,
                    spec.capacity,
                    status,
                    home,
                    poster,
                )))
            }
        };
        Self {
            spec,
            arbiter,
            route,
            claim: None,
        }
    }

    pub(crate) fn proxy(&self) -> Proxy<A> {
        Proxy::new(self.route.clone())
    }

    /// A seed whose name is taken down, so that it can be found.
    pub(crate) fn named(spec: Spec<A>, arbiter: &Arbiter) -> Result<Self, SpawnError> {
        let claim = match (&spec.name, spec.placement, arbiter.shared.shelter()) {
            (Some(name), Placement::Process, Some(shelter)) => {
                shelter.claim(name, A::NAME).map(Box::new)
            }
            _ => None,
        };
        let claimed = claim.as_ref().map(|claim| ActorId(claim.note.id));
        let id = claimed.unwrap_or_else(ActorId::next);
        let name: Arc<str> = match &spec.name {
            Some(name) => Arc::from(&**name),
            None => Arc::from(format!("{}-{id}", A::NAME)),
        };
        let mut seed = Self::new(id, Arc::clone(&name), spec, arbiter.clone());
        seed.claim = claim;
        let allowed = seed.spec.own.allowed.clone();
        let registered = arbiter.shared.register(&name, id, seed.proxy(), allowed);
        if let Err(error) = registered {
            if let (Some(claim), Some(shelter)) = (seed.claim, arbiter.shared.shelter()) {
                shelter.give_back(*claim);
            }
            return Err(error);
        }
        Ok(seed)
    }

    /// A seed that only its proxies lead to.
    pub(crate) fn unnamed(spec: Spec<A>, arbiter: &Arbiter) -> Self {
        let id = ActorId::next();
        Self::new(
            id,
            Arc::from(format!("{}-{id}", A::NAME)),
            spec,
            arbiter.clone(),
        )
    }

    pub(crate) fn id(&self) -> ActorId {
        self.route.id()
    }

    fn name(&self) -> &str {
        self.route.name()
    }

    fn status(&self) -> &Status {
        self.route.status()
    }

    /// Makes the slot of one whose start nobody waits for.
    pub(crate) fn plant_alone(self) -> Box<dyn AnySlot> {
        self.into_slot(None)
    }

    pub(super) fn plant(self, resolver: SpawnResolver<A>) -> Box<dyn AnySlot> {
        self.into_slot(Some(resolver))
    }

    fn into_slot(self, resolver: Option<SpawnResolver<A>>) -> Box<dyn AnySlot> {
        let starts = self
            .claim
            .as_ref()
            .map_or(0, |claim| claim.note.incarnation);
        Box::new(Slot {
            seed: self,
            running: Running::Down,
            resolver,
            starts,
            alarm: None,
        })
    }
}

impl<A: Actor> Slot<A> {
    fn core(&self, mailbox: &Arc<Mailbox<A>>) -> Core<A> {
        let arbiter = Some(self.seed.arbiter.clone());
        Core::new(
            mailbox,
            arbiter,
            self.incarnation(),
            self.seed.spec.requests_max,
        )
    }

    fn start_local(&mut self, mailbox: &Arc<Mailbox<A>>) -> Told {
        match Cell::start(self.seed.spec.params.clone(), self.core(mailbox)) {
            Ok(cell) => {
                self.running = Running::Local(Box::new(cell));
                // What came while it was down waits for it.
                self.seed.arbiter.shared.home.push(self.seed.id());
                Told::Started
            }
            Err(reason) => Told::Failed(reason),
        }
    }

    fn start_thread(&mut self, mailbox: &Arc<Mailbox<A>>) -> Option<Told> {
        let core = self.core(mailbox);
        let (arbiter, params) = (self.seed.arbiter.clone(), self.seed.spec.params.clone());
        let (id, incarnation) = (self.seed.id(), self.incarnation());
        let thread = thread::Builder::new()
            .name(self.seed.name().to_owned())
            .spawn(move || {
                set_arbiter(Some(arbiter.clone()));
                let tell = |told| {
                    // Without an arbiter nobody needs to know.
                    drop(arbiter.shared.poster.post(move |ctx| {
                        Tree::told(ctx, id, incarnation, told);
                    }));
                };
                match Cell::start(params, core) {
                    Ok(cell) => {
                        tell(Told::Started);
                        tell(Told::Ended(live(cell)));
                    }
                    Err(reason) => tell(Told::Failed(reason)),
                }
            });
        match thread {
            Ok(thread) => {
                self.running = Running::Thread(Box::new(thread));
                None
            }
            Err(error) => Some(Told::Failed(ExitReason::StartFailed(error.to_string()))),
        }
    }
}

/// The life of an actor in a thread.
fn live<A: Actor>(mut cell: Cell<A>) -> ExitReason {
    loop {
        match cell.turn(u64::MAX) {
            Turn::Idle => cell.sleep(),
            Turn::More => {}
            Turn::Ended(reason) => return cell.finish(reason),
        }
    }
}

impl<A: Actor> AnySlot for Slot<A> {
    fn id(&self) -> ActorId {
        self.seed.id()
    }

    fn name(&self) -> &str {
        self.seed.name()
    }

    fn policy(&self) -> ChildPolicy {
        self.seed.spec.policy
    }

    fn incarnation(&self) -> u32 {
        self.starts.saturating_sub(1)
    }

    fn start(&mut self, ctx: &mut LoopContext<'_, Tree>) -> Option<Told> {
        self.starts += 1;
        // Its first hooks run on this turn of the loop.
        self.seed.arbiter.shared.clock.set(ctx.now());
        self.seed.status().set_incarnation(self.incarnation());
        self.seed.status().set_state(State::Starting);
        match self.seed.route.clone() {
            Route::Here(mailbox) if self.seed.spec.placement == Placement::Local => {
                Some(self.start_local(&mailbox))
            }
            Route::Here(mailbox) => self.start_thread(&mailbox),
            // Slots are made for actors of this arbiter.
            Route::Remote(_) | Route::Up(_) => None,
            Route::Process(link) => {
                let (spec, incarnation) = (&self.seed.spec, self.incarnation());
                let process = match self.seed.claim.take() {
                    Some(claim) => Process::adopt(ctx, &link, spec, *claim),
                    None => Process::start::<A>(ctx, &link, spec, incarnation),
                };
                match process {
                    Ok(process) => {
                        self.running = Running::Process(Box::new(process));
                        None
                    }
                    Err(error) => Some(Told::Failed(ExitReason::StartFailed(error.to_string()))),
                }
            }
        }
    }

    fn stop(&mut self, reason: ExitReason) -> Option<ExitReason> {
        self.seed.status().set_state(State::Stopping);
        match (&mut self.running, &self.seed.route) {
            (Running::Local(_), _) => {
                let Running::Local(cell) = std::mem::replace(&mut self.running, Running::Down)
                else {
                    return None;
                };
                Some(cell.finish(reason))
            }
            (Running::Thread(_), Route::Here(mailbox)) => {
                mailbox.control(Control::Stop(reason));
                None
            }
            (Running::Process(process), Route::Process(link)) => {
                if !link.order(Order::Stop(reason.clone())) {
                    // One that is ready but reads nothing has until its shutdown time-out.
                    process.close_unready(reason);
                }
                None
            }
            _ => Some(reason),
        }
    }

    fn kill(&mut self, reason: ExitReason) -> Option<ExitReason> {
        self.seed.status().set_state(State::Terminated);
        match &mut self.running {
            Running::Process(process) => {
                process.kill(reason);
                None
            }
            Running::Local(_) | Running::Thread(_) | Running::Down => {
                // A thread goes on until its handler returns; the number tells it that it is over.
                self.starts += 1;
                self.seed.status().set_incarnation(self.incarnation());
                if let Running::Local(cell) = std::mem::replace(&mut self.running, Running::Down) {
                    cell.abandon();
                }
                Some(reason)
            }
        }
    }

    fn fetch(&mut self) {
        if let Running::Local(cell) = &mut self.running {
            cell.fetch();
        }
    }

    fn turn(&mut self) -> Turn {
        match &mut self.running {
            Running::Local(cell) => match cell.deliver(TURN_LEN) {
                Turn::Ended(reason) => match std::mem::replace(&mut self.running, Running::Down) {
                    Running::Local(cell) => Turn::Ended(cell.finish(reason)),
                    _ => Turn::Ended(reason),
                },
                turn => turn,
            },
            _ => Turn::Idle,
        }
    }

    fn started(&mut self) {
        self.seed.status().set_state(State::Running);
        if let (Running::Process(process), Route::Process(link)) =
            (&mut self.running, &self.seed.route)
        {
            process.ready(link);
        }
    }

    fn ended(&mut self) -> Legacy {
        let mut lost = Lost::default();
        let mut output = String::new();
        match (
            std::mem::replace(&mut self.running, Running::Down),
            &self.seed.route,
        ) {
            // It has said its last word and ends at once.
            (Running::Thread(thread), _) => drop(thread.join()),
            (Running::Process(process), Route::Process(link)) => {
                lost = link.disconnect(process.took_leave(), process.handled());
                output = process.output();
                if let Some(shelter) = self.seed.arbiter.shared.shelter() {
                    shelter.strike(process.pid());
                }
            }
            _ => {}
        }
        if !self.seed.status().state().is_stopped() {
            self.seed.status().set_state(State::Closed);
        }
        self.seed.status().add_lost(lost.told);
        let named = |id| Some(Commands::<A>::shared().find(id)?.name);
        Legacy {
            lost: lost.told,
            at_hand: lost.at_hand.and_then(named),
            output,
        }
    }

    fn spawned(&mut self, result: Result<(), SpawnError>) {
        if let Some(resolver) = self.resolver.take() {
            let proxy = self.seed.proxy();
            resolver.resolve(result.map(|()| proxy));
        }
    }

    fn close(&mut self) -> u64 {
        let lost = match &self.seed.route {
            Route::Here(mailbox) => mailbox.close(),
            Route::Process(link) => link.close(),
            Route::Remote(_) | Route::Up(_) => 0,
        };
        self.seed.status().add_lost(lost);
        self.seed
            .arbiter
            .shared
            .forget(self.seed.name(), self.seed.id());
        lost
    }

    fn abort_grace(&self) -> Duration {
        self.seed.spec.own.abort_grace
    }

    fn health(&mut self, now: Instant) -> Option<Health> {
        match &mut self.running {
            Running::Process(process) => process.health(self.seed.spec.own.timeout?, now),
            _ => None,
        }
    }

    fn describe(&self) -> Info {
        let pid = match &self.running {
            Running::Down => 0,
            Running::Process(process) => process.pid(),
            Running::Local(_) | Running::Thread(_) => std::process::id(),
        };
        // Of those in this process there may be very many.
        let own = matches!(self.running, Running::Process(_));
        Info {
            id: self.seed.id(),
            name: self.seed.name().to_owned(),
            kind: A::NAME.to_owned(),
            state: self.seed.status().state(),
            placement: self.seed.spec.placement,
            pid,
            incarnation: self.incarnation(),
            uptime_ms: self.seed.status().uptime_ms(),
            handled: self.seed.status().handled(),
            waiting: self.seed.proxy().waiting() as u64 + self.seed.status().waiting_there(),
            busy_us: self.seed.status().busy_us(),
            system: own.then(|| SystemInfo::of(pid)).flatten(),
            extra: Default::default(),
        }
    }

    fn trap(&mut self, linked: ActorId, reason: &ExitReason) -> bool {
        if !self.seed.spec.traps_exits {
            return false;
        }
        match (&self.running, &self.seed.route) {
            (Running::Local(_) | Running::Thread(_), Route::Here(mailbox)) => {
                mailbox.control(Control::Exit(linked, reason.clone()))
            }
            (Running::Process(_), Route::Process(link)) => {
                link.order(Order::Exit(linked.to_u64(), reason.clone()))
            }
            _ => false,
        }
    }

    fn next_alarm(&mut self) -> Option<Instant> {
        let Running::Local(cell) = &self.running else {
            return None;
        };
        // Told once for each time; a turn that comes early does no harm.
        let next = cell.next_alarm();
        if next == std::mem::replace(&mut self.alarm, next) {
            return None;
        }
        next
    }

    fn process(&mut self) -> Option<&mut Process> {
        match &mut self.running {
            Running::Process(process) => Some(process),
            _ => None,
        }
    }
}
