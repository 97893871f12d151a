//! An incarnation in its own process.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_dispatch::{AlarmId, Context, Control, Key};
use ipc_exchange::{Exit, ProcessOptions, Program};
use ipc_marshal::{Attached, Duct, DuctOptions, Receiver, Sender};

use super::shelter::{Claim, Note};
use super::silence::Silence;
use super::slot::Health;
use super::tree::{Told, Tree};
use crate::answers::{End, Remains};
use crate::cell::failure_text;
use crate::link::{Link, Pending};
use crate::wire::{Boot, FromActor, Order, Report, ToActor};
use crate::{Actor, ActorId, ExitReason, Spec, host};

/// An incarnation in its own process.
pub(crate) struct Process {
    child: ipc_exchange::Process,
    origin: Origin,
    /// For what it wishes for; one that was taken over has none before it has come.
    grants: Option<Sender<ToActor>>,
    /// What the link gets when it is ready.
    ends: Option<Ends>,
    is_ready: bool,
    is_adopted: bool,
    /// The time between its signs of life and that in which it must make progress, in milliseconds.
    beats: (u64, u64),
    /// What one that was taken over ends with.
    lifeline: Option<Duct<ToActor, FromActor>>,
    /// Why it was killed, if it was.
    why: Option<ExitReason>,
    /// The reason it gave itself.
    last: Option<ExitReason>,
    /// How many messages it had handled when it ended, if it said so.
    handled: Option<u64>,
    /// Since when nothing was heard of it.
    silence: Silence,
    /// It was asked to dump and end.
    is_aborted: bool,
    /// For how long it had worked on one message when it last said so.
    busy: Duration,
    alarm: Option<AlarmId>,
    /// How many lanes it was given, to or from others.
    lanes: u32,
}

/// So many lanes an incarnation may be given: each is memory and descriptors of two processes.
const LANES_MAX: u32 = 256;

/// The ends of the two ways to a process: messages and their answers take the one, orders and
/// everything that is said about the actor the other, so that neither is ever behind the other.
struct Ends {
    sender: Sender<ToActor>,
    answers: End,
    orders: Sender<ToActor>,
}

/// When to try again to read from a process whose channel cannot be watched.
const READ_AGAIN: Duration = Duration::from_millis(10);

/// Which incarnation of which actor a report is from.
#[derive(Clone)]
struct Origin {
    id: ActorId,
    incarnation: u32,
    link: Arc<Link>,
    /// Where its reports come from.
    key: Arc<OnceLock<Key<Receiver<FromActor>>>>,
}

impl Process {
    /// Starts the process and takes it into the loop; what becomes of it is told to the tree.
    pub(super) fn start<A: Actor>(
        ctx: &mut Context<'_, Tree>,
        link: &Arc<Link>,
        spec: &Spec<A>,
        incarnation: u32,
    ) -> io::Result<Self> {
        let beats = beats(spec);
        // One without a name of its own could not be asked for; one that is another user could not come,
        // and is not to know the key.
        let may_wait = spec.name.is_some() && !spec.own.budget.has_user();
        let shelter = ctx.state.shared.shelter().filter(|_| may_wait);
        let boot = Boot {
            id: link.id.to_u64(),
            name: link.name.to_string(),
            incarnation,
            params: spec.params.clone(),
            capacity: u32::try_from(spec.capacity).unwrap_or(u32::MAX),
            requests_max: spec.requests_max,
            cpu_bound: spec.own.cpu_bound,
            beat_ms: beats.0,
            timeout_ms: beats.1,
            rest: shelter.as_ref().map(|shelter| shelter.rest()),
        };
        let mut options = options(spec);
        options = match &shelter {
            None => options.keep_output(spec.own.output_kept),
            // Nobody would read it when this arbiter has died.
            Some(shelter) => options.outlives(shelter.at_most),
        };
        let program = Program::<ToActor, FromActor>::start_with(&options, host::<A>, &boot);
        let program = program.map_err(|error| io::Error::other(failure_text(&error.into())));
        let (mut duct, child) = program?.into_parts();
        if let Some(shelter) = shelter {
            let (name, kind) = (boot.name, A::NAME.to_owned());
            let id = boot.id;
            shelter.enrol(
                child.id(),
                &Note {
                    id,
                    name,
                    kind,
                    incarnation,
                },
            )?;
        }
        let (ours, first) = lane(Attached::new(ToActor(Order::Control)))?;
        duct.send_attached(first, Deadline::Now)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let origin = Origin::new(link, incarnation);
        let mut process = Self::new(ctx, child, origin, spec, false)?;
        process.listen(ctx, duct, ours)?;
        Ok(process)
    }

    /// Takes over a process that has lost its arbiter, as soon as it comes. Should it end before,
    /// another is started in its place.
    pub(super) fn adopt<A: Actor>(
        ctx: &mut Context<'_, Tree>,
        link: &Arc<Link>,
        spec: &Spec<A>,
        claim: Claim,
    ) -> io::Result<Self> {
        let origin = Origin::new(link, claim.note.incarnation);
        let child = ipc_exchange::Process::adopt(claim.orphan);
        let pid = child.id();
        let process = Self::new(ctx, child, origin, spec, true)?;
        ctx.state.meetings.expect(pid, link.id);
        // It may have come before it was asked for; this one is in its place by then.
        let _ = ctx.poster().post(move |ctx| Tree::join(ctx, pid));
        Ok(process)
    }

    /// It has come.
    pub(super) fn adopted(
        &mut self,
        ctx: &mut Context<'_, Tree>,
        mut duct: Duct<ToActor, FromActor>,
    ) {
        let (beat, timeout) = self.beats;
        let order = Attached::new(ToActor(Order::Adopted(beat, timeout)));
        let connected = lane(order).and_then(|(batches, order)| {
            let (ours, order) = lane(order)?;
            duct.send_attached(order, Deadline::Now)
                .map_err(|error| io::Error::other(error.to_string()))?;
            self.listen(ctx, batches, ours)
        });
        self.lifeline = Some(duct);
        if let Err(error) = connected {
            self.kill(ExitReason::StartFailed(error.to_string()));
        }
    }

    /// One whose end is told, and whose health is watched.
    fn new<A: Actor>(
        ctx: &mut Context<'_, Tree>,
        child: ipc_exchange::Process,
        origin: Origin,
        spec: &Spec<A>,
        is_adopted: bool,
    ) -> io::Result<Self> {
        let ending = origin.clone();
        child.on_exit(ctx, move |exit, ctx| {
            // Behind what was posted before the end: a watch or link that its owner made first must
            // be in place, although the loop saw both in one turn. Without a loop nobody is told.
            let _ = ctx
                .poster()
                .post(move |ctx| Self::exited(ctx, &ending, exit));
        })?;
        let (id, incarnation) = (origin.id, origin.incarnation);
        let look = move |ctx: &mut Context<'_, Tree>| Tree::check_health(ctx, id, incarnation);
        let timeout = spec.own.timeout;
        let alarm = timeout.map(|timeout| ctx.alarm(Silence::step(timeout), look));
        Ok(Self {
            child,
            origin,
            grants: None,
            ends: None,
            is_ready: false,
            is_adopted,
            beats: beats(spec),
            lifeline: None,
            why: None,
            last: None,
            handled: None,
            silence: Silence::new(Instant::now()),
            is_aborted: false,
            busy: Duration::ZERO,
            alarm,
            lanes: 0,
        })
    }

    /// Takes its two lanes into the loop.
    fn listen(
        &mut self,
        ctx: &mut Context<'_, Tree>,
        batches: Duct<ToActor, FromActor>,
        orders: Duct<ToActor, FromActor>,
    ) -> io::Result<()> {
        let (sender, answers) = batches.split()?;
        let (orders, receiver) = orders.split()?;
        let key = ctx.add(receiver);
        let reports = self.origin.clone();
        ctx.on_message(key, move |_, message, ctx| match message {
            Ok(FromActor(report)) => {
                Self::take(ctx, &reports, report);
                Control::Keep
            }
            // What it cannot say it cannot do; its exit tells the rest.
            Err(_) => Control::Drop,
        })?;
        // Each process has one.
        let _ = self.origin.key.set(key);
        self.silence = Silence::new(Instant::now());
        self.grants = Some(orders.clone());
        self.ends = Some(Ends {
            sender,
            answers: Box::new(answers),
            orders,
        });
        Ok(())
    }

    /// Takes in one report.
    fn take(ctx: &mut Context<'_, Tree>, origin: &Origin, report: Report) {
        let now = ctx.now();
        if let Some(process) = Tree::process(ctx, origin.id, origin.incarnation) {
            process.silence = Silence::new(now);
            match &report {
                Report::Beat {
                    handled,
                    waiting,
                    busy_us,
                } => {
                    origin.link.status.observe(*handled, *waiting, *busy_us);
                    process.busy = Duration::from_micros(busy_us.unwrap_or(0));
                }
                Report::Failed(reason) => process.last = Some(reason.clone()),
                Report::Ended(reason, handled) => {
                    process.last = Some(reason.clone());
                    process.handled = Some(*handled);
                }
                _ => {}
            }
        }
        match report {
            Report::Ready => Tree::told(ctx, origin.id, origin.incarnation, Told::Started),
            Report::Answer(..) | Report::Later(_) => origin.link.answered(report),
            Report::Info(request, info) => {
                if let Some(Pending::Info(resolver)) = origin.link.take_pending(request) {
                    resolver.resolve(Ok(*info));
                }
            }
            Report::Beat { .. } => {
                // A time-out that has passed is acted upon at once; the alarm stays as it is.
                Tree::check_health(ctx, origin.id, origin.incarnation);
                // And a question whose asker does something else must not keep the process waiting.
                origin.link.attend();
            }
            Report::Wish(wish) => {
                let process = Tree::process(ctx, origin.id, origin.incarnation);
                if let Some(grants) = process.and_then(|process| process.grants.clone()) {
                    Tree::wish(ctx, origin.id, &grants, wish);
                }
            }
            Report::Failed(_) | Report::Ended(..) => {}
        }
    }

    /// The process is gone. What it said before is still in its channels and comes first.
    fn exited(ctx: &mut Context<'_, Tree>, origin: &Origin, exit: Exit) {
        let answers = match Self::remains(ctx, origin, exit) {
            // It is told again then.
            Remains::Lent => return,
            Remains::Loop(key) => ctx.remove(key).map(Box::new),
            Remains::Here(receiver) => Some(receiver),
            Remains::Nothing => None,
        };
        if let Some(mut receiver) = answers {
            while let Ok(FromActor(report)) = receiver.try_recv() {
                origin.link.answered(report);
            }
        }
        let key = origin.key.get();
        if let Some(mut receiver) = key.and_then(|&key| ctx.remove(key)) {
            while let Ok(FromActor(report)) = receiver.try_recv() {
                Self::take(ctx, origin, report);
            }
        }
        let mut reason = ExitReason::LinkLost;
        if let Some(process) = Tree::process(ctx, origin.id, origin.incarnation) {
            if process.is_adopted && !process.is_ready && process.why.is_none() {
                let alarm = process.alarm.take();
                alarm.map(|alarm| ctx.cancel(alarm));
                return Tree::start_instead(ctx, origin.id);
            }
            let alarm = process.alarm.take();
            let told = process.why.take().or_else(|| process.last.clone());
            reason = told.unwrap_or_else(|| reason_of(exit, &process.child));
            if let Some(alarm) = alarm {
                ctx.cancel(alarm);
            }
        }
        Tree::told(ctx, origin.id, origin.incarnation, Told::Ended(reason));
    }

    /// Whether it has said that it is ready.
    pub(super) fn is_up(&self) -> bool {
        self.is_ready
    }

    /// Where the end of one more lane between it and another goes; `None` if it has as many as it may have.
    pub(super) fn lane(&mut self) -> Option<Sender<ToActor>> {
        if self.lanes == LANES_MAX {
            return None;
        }
        self.lanes += 1;
        self.grants.clone()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it wrote to standard error.
    pub(super) fn output(&self) -> String {
        self.child.output()
    }

    /// The answers that nobody has read, of one that is gone.
    fn remains(ctx: &mut Context<'_, Tree>, origin: &Origin, exit: Exit) -> Remains {
        match Tree::process(ctx, origin.id, origin.incarnation) {
            // It never came to being asked anything.
            Some(process) if !process.is_ready => Remains::Nothing,
            Some(_) => {
                let again = origin.clone();
                origin.link.answers.disconnect(Box::new(move |ctx| {
                    Self::exited(ctx, &again, exit);
                }))
            }
            // It was given up: what the link has is its successor's.
            None => Remains::Nothing,
        }
    }

    /// It has said that it is ready.
    pub(super) fn ready(&mut self, link: &Arc<Link>) {
        if let Some(ends) = self.ends.take() {
            self.is_ready = true;
            link.connect(ends.sender, ends.orders, ends.answers);
        }
    }

    /// Ends one that is not ready to be asked.
    pub(super) fn close_unready(&mut self, reason: ExitReason) {
        if !self.is_ready {
            self.kill(reason);
        }
    }

    pub(super) fn kill(&mut self, reason: ExitReason) {
        self.why.get_or_insert(reason);
        // The only error there can be is that it is gone, which is being told anyway.
        let _ = self.child.kill();
    }

    /// Whether it said why it ends, with no message at hand.
    pub(super) fn took_leave(&self) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| !matches!(last, ExitReason::Panicked(_)))
    }

    /// How many messages it says it has handled, if it came to saying so.
    pub(super) fn handled(&self) -> Option<u64> {
        self.handled
    }

    /// Has it write a core file, if it may, and end; once. Answers whether it was given time for that.
    pub(super) fn abort(&mut self, reason: ExitReason) -> bool {
        self.why.get_or_insert(reason);
        // The only error there can be is that it is gone, which is being told anyway.
        !std::mem::replace(&mut self.is_aborted, true) && self.child.abort().is_ok()
    }

    /// Alive: it was heard of within the time-out. Making progress: it has not worked on one message
    /// for longer than that. Before it is ready, its start time-out watches over it.
    pub(super) fn health(&mut self, timeout: Duration, now: Instant) -> Option<Health> {
        if self.is_aborted {
            return None;
        }
        if !self.is_ready {
            return Some(Health::Until(now + Silence::step(timeout)));
        }
        if self.busy >= timeout {
            return Some(Health::Bad(ExitReason::Stuck));
        }
        Some(match self.silence.look(now, timeout) {
            Some(at) => Health::Until(at),
            None => Health::Bad(ExitReason::Silent),
        })
    }
}

impl Origin {
    fn new(link: &Arc<Link>, incarnation: u32) -> Self {
        Self {
            id: link.id,
            incarnation,
            link: Arc::clone(link),
            key: Arc::default(),
        }
    }
}

impl Tree {
    /// Takes the answers of a process into the loop.
    pub(crate) fn fetch_answers(ctx: &mut Context<'_, Self>, link: &Arc<Link>) {
        let Some(receiver) = link.answers.fetch() else {
            return;
        };
        let key = ctx.add(*receiver);
        let asked = Arc::clone(link);
        let read = ctx.on_message(
            key,
            move |_, message, _: &mut Context<'_, Self>| match message {
                Ok(FromActor(report)) => {
                    asked.answered(report);
                    Control::Keep
                }
                Err(_) => Control::Drop,
            },
        );
        match read {
            Ok(()) => link.answers.fetched(key),
            Err(_) => {
                // No descriptor can be watched just now: the answers must not wait for ever.
                if let Some(receiver) = ctx.remove(key) {
                    link.answers.connect(Box::new(receiver));
                }
                let link = Arc::clone(link);
                ctx.alarm(READ_AGAIN, move |ctx| Self::fetch_answers(ctx, &link));
            }
        }
    }

    /// Leaves the answers of a process to whoever waits for them, if nobody does just now.
    pub(crate) fn put_answers_down(ctx: &mut Context<'_, Self>, link: &Arc<Link>) {
        let Some(key) = link.answers.key() else {
            return;
        };
        if link.is_awaited() {
            return;
        }
        if let Some(receiver) = ctx.remove(key) {
            link.answers.connect(Box::new(receiver));
            // Somebody may have asked since the look.
            link.attend();
        }
    }
}

/// How both ends of the lane for orders are made: they need no hand-shake, being of one program.
pub(crate) fn control_options() -> DuctOptions {
    DuctOptions::new().handshake(false)
}

/// What the process of an actor may use and know.
fn options<A: Actor>(spec: &Spec<A>) -> ProcessOptions {
    let options = ProcessOptions::new()
        .budget(spec.own.budget.clone())
        .hide_variables(&spec.own.variables.hidden);
    match &spec.own.variables.kept {
        Some(names) => options.keep_variables(names),
        None => options,
    }
}

/// A lane to a process: our end; the process makes its own from what is attached to the message.
fn lane(with: Attached<ToActor>) -> io::Result<(Duct<ToActor, FromActor>, Attached<ToActor>)> {
    let (ours, theirs) = control_options().pair::<ToActor, FromActor>()?;
    let theirs = theirs.into_fd();
    let theirs = theirs.map_err(|_| io::Error::other("a new duct is idle"))?;
    Ok((ours, with.attach(theirs)))
}

/// How often a process reports: ten times per time-out, so that a stuck one is found soon after; and
/// the time-out.
fn beats<A: Actor>(spec: &Spec<A>) -> (u64, u64) {
    let timeout = millis(spec.own.timeout);
    ((timeout / 10).clamp(5, 10_000), timeout)
}

fn millis(timeout: Option<Duration>) -> u64 {
    let millis = timeout.map(|timeout| timeout.as_millis());
    u64::try_from(millis.unwrap_or(u128::MAX)).unwrap_or(u64::MAX)
}

fn reason_of(exit: Exit, child: &ipc_exchange::Process) -> ExitReason {
    match exit {
        Exit::Code(0) => ExitReason::Normal,
        Exit::Code(status) => match child.refused() {
            Some(why) => ExitReason::StartFailed(why),
            None => ExitReason::Exited(status),
        },
        Exit::Signal { .. } if child.out_of_memory() => ExitReason::OutOfMemory,
        Exit::Signal {
            signal,
            core_dumped,
        } => ExitReason::Signalled {
            signal,
            core: core_dumped,
        },
        Exit::Unknown => ExitReason::LinkLost,
    }
}
