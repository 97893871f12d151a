//! What the process of an actor runs.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_dispatch::{
    Context as LoopContext, Control as Next, Key, Poster, Selector, SelectorOptions,
};
use ipc_marshal::{Duct, Receiver, RecvError, Sender, TryRecvError};

use crate::about::here_info;
use crate::arbiter::control_options;
use crate::cell::{Cell, Turn};
use crate::command::CommandId;
use crate::context::Core;
use crate::deferred::deferred;
use crate::direct;
use crate::mailbox::{Control, InfoAsk, Item, Mailbox, Run, Wake};
use crate::orphan::Rest;
use crate::reply::{Answering, BytesReply};
use crate::status::Status;
use crate::upward::Upward;
use crate::wire::{Block, Boot, FromActor, Order, Record, Report, ToActor};
use crate::{Access, Actor, ActorId, AskError, Commands, Context, ExitReason, Placement};

/// Runs an actor in its own process. Name it in the registry with the actor's type, so that the
/// arbiter can start such processes: `registry![ipc_actors::host::<Counter>]`. Not to be called.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the registry calls it with values"
)]
pub fn host<A: Actor>(duct: Duct<FromActor, ToActor>, boot: Boot<A::Params>) {
    // By its first fifteen bytes operators know it in a list of processes; elsewhere there is no such file.
    let _ = std::fs::write("/proc/self/comm", &boot.name);
    // A process whose ways to the arbiter cannot be had has nobody to report to; it just ends.
    let _ = Host::<A>::run(duct, &boot);
}

/// What the two threads of the process share.
///
/// The actor works on the main thread, where its messages arrive. The other thread has the lane for
/// orders to itself: it gives signs of life and answers questions however long the actor works, and
/// wakes the main thread for what only that can do.
struct Host<A: Actor> {
    /// For the answers to messages.
    answering: Arc<Answering>,
    /// For everything else.
    reports: Sender<FromActor>,
    mailbox: Arc<Mailbox<A>>,
    upward: Arc<Upward>,
    /// For lanes that other actors have to this one.
    lanes: Poster<Intake<A>>,
    /// Messages that the arbiter has not sent: they came on lanes, or from the arbiter before it.
    direct: Arc<AtomicU64>,
    /// Another arbiter has taken the process over: this host is of the one before.
    is_past: AtomicBool,
    commands: Commands<A>,
    /// Its progress is nobody's business.
    cpu_bound: bool,
}

/// A batch of messages as it came.
struct Batch<A: Actor> {
    bytes: Vec<u8>,
    host: Arc<Host<A>>,
    /// `None` if it came from the arbiter.
    lane: Option<Arc<Lane>>,
}

/// The way from another actor's process.
struct Lane {
    answering: Arc<Answering>,
    /// The commands that it may use.
    allowed: Vec<String>,
    handled: AtomicU64,
}

impl<A: Actor> Item<A> for Batch<A> {
    // The arbiter keeps the count.
    const IS_ASKED: bool = true;

    fn deliver(self, actor: &mut A, ctx: &mut Context<'_, A>) {
        let mut bytes = self.bytes.as_slice();
        let mut first = true;
        while let Some(record) = Record::split(&mut bytes) {
            if !first {
                ctx.core.begin();
            }
            first = false;
            match &self.lane {
                None => {
                    if self.host.is_past.load(Ordering::Relaxed) {
                        self.host.direct.fetch_add(1, Ordering::Relaxed);
                    }
                    self.host.invoke(&record, &self.host.answering, actor, ctx);
                }
                Some(lane) => self.host.invoke_for(lane, &record, actor, ctx),
            }
            if ctx.core.must_pause() {
                break;
            }
        }
        if !bytes.is_empty() {
            // Control goes first; the rest is the next item.
            ctx.core.rest = Some(Box::new(Run::of(Self {
                bytes: bytes.to_vec(),
                host: self.host,
                lane: self.lane,
            })));
        }
    }
}

/// What has come from the arbiter and was not looked at yet.
struct Intake<A: Actor> {
    batches: VecDeque<Vec<u8>>,
    /// What has come on the lanes of other actors.
    direct: VecDeque<(Vec<u8>, Arc<Lane>)>,
    lanes: Vec<Weak<Lane>>,
    is_over: bool,
    /// Another arbiter has taken this process over.
    next: Option<(Arc<Host<A>>, Receiver<ToActor>)>,
}

type Line = Option<Key<Receiver<ToActor>>>;

impl<A: Actor> Intake<A> {
    fn take(&mut self, message: Result<ToActor, TryRecvError>) -> bool {
        match message {
            Ok(ToActor(Order::Batch(Block(bytes)))) => self.batches.push_back(bytes),
            // Other orders take the other way.
            Ok(_) | Err(TryRecvError::Empty) => return false,
            Err(_) => self.is_over = true,
        }
        true
    }

    /// Takes in a lane.
    fn open(ctx: &mut LoopContext<'_, Self>, receiver: Receiver<ToActor>, lane: Lane) {
        let lane = Arc::new(lane);
        ctx.state.lanes.retain(|lane| lane.strong_count() > 0);
        ctx.state.lanes.push(Arc::downgrade(&lane));
        let key = ctx.add(receiver);
        let read = ctx.on_message(key, move |_, message, ctx| match message {
            Ok(ToActor(Order::Batch(Block(bytes)))) => {
                ctx.state.direct.push_back((bytes, Arc::clone(&lane)));
                Next::Keep
            }
            // Nothing else is said on a lane, and nothing of it holds up others.
            _ => Next::Close,
        });
        if read.is_err() {
            ctx.remove(key);
        }
    }
}

/// Batches that are read before the first is worked on.
const READ_AHEAD: usize = 16;

/// Messages between two looks at the channel.
const TURN_LEN: u64 = 4096;

/// So often an idle actor looks for messages before it sleeps.
const LOOKS: u32 = 1500;

impl<A: Actor> Host<A> {
    fn run(mut duct: Duct<FromActor, ToActor>, boot: &Boot<A::Params>) -> Option<()> {
        // The first frame brings the lane for orders. Should the arbiter die before, that is seen.
        let first = duct.recv_attached(Deadline::Never).ok()?;
        let (_, mut descriptors) = first.into_parts();
        let control = control_options().from_fd::<FromActor, ToActor>(descriptors.pop()?);
        let (reports, orders) = control.ok()?.split().ok()?;
        let (answers, receiver) = duct.split().ok()?;
        let mut selector: Selector<Intake<A>> =
            SelectorOptions::new().spin(Duration::ZERO).open().ok()?;
        let line = Self::take_in(&mut selector, receiver);
        line?;
        // Without an arbiter there is nothing but posts to wait for.
        selector.set_persistent(true);
        let (poster, main) = (selector.poster(), selector.poster());
        let lanes = selector.poster();
        // The main thread looks around whenever its selector returns.
        let wake = Wake::Call(Box::new(move || {
            let _ = poster.post(|_| ());
        }));
        let status = Status::new();
        status.set_incarnation(boot.incarnation);
        let name = Arc::from(boot.name.as_str());
        let capacity = boot.capacity as usize;
        let mailbox = Mailbox::new(ActorId(boot.id), name, capacity, wake, status);
        let mailbox = Arc::new(mailbox);
        let upward = Upward::open(reports.clone(), &mailbox);
        let host = Arc::new(Self {
            answering: Answering::new(answers),
            reports,
            mailbox,
            upward,
            lanes,
            direct: Arc::default(),
            is_past: AtomicBool::new(false),
            commands: Commands::of_actor(),
            cpu_bound: boot.cpu_bound,
        });
        let beside = Arc::clone(&host);
        let beat = Duration::from_millis(boot.beat_ms.max(1));
        let beats = (beat, Duration::from_millis(boot.timeout_ms));
        let control = thread::Builder::new().name("control".to_owned());
        let rest = boot.rest.clone();
        let (host, last) = match control.spawn(move || beside.control(orders, beats, rest, &main)) {
            Ok(_) => Self::work(host, &mut selector, line, boot),
            Err(error) => {
                let reason = ExitReason::StartFailed(error.to_string());
                (host, Report::Failed(reason))
            }
        };
        // If nobody is there to hear it, nobody needs to.
        drop(host.reports.send(FromActor(last)));
        Some(())
    }

    fn take_in(selector: &mut Selector<Intake<A>>, receiver: Receiver<ToActor>) -> Line {
        let key = selector.add(receiver);
        let taken = selector.on_message(key, |_, message, ctx: &mut LoopContext<'_, Intake<A>>| {
            ctx.state.take(message);
            Next::Keep
        });
        taken.ok().map(|()| key)
    }

    /// The life of the actor. Also answers whoever is to hear of its end.
    fn work(
        self: Arc<Self>,
        selector: &mut Selector<Intake<A>>,
        mut line: Line,
        boot: &Boot<A::Params>,
    ) -> (Arc<Self>, Report) {
        let core = Core::new(&self.mailbox, None, boot.incarnation, boot.requests_max);
        let mut cell = match Cell::start(boot.params.clone(), core) {
            Ok(cell) => cell,
            Err(reason) => return (self, Report::Failed(reason)),
        };
        let mut intake = Intake {
            batches: VecDeque::new(),
            direct: VecDeque::new(),
            lanes: Vec::new(),
            is_over: !self.report(Report::Ready),
            next: None,
        };
        let mut host = self;
        loop {
            if let Some((next, receiver)) = intake.next.take() {
                // What came from the arbiter before is answered to that one, which is to say nobody.
                let mut old = line.take().and_then(|old| selector.remove(old));
                while old.as_mut().is_some_and(|old| intake.take(old.try_recv())) && !intake.is_over
                {
                }
                for bytes in intake.batches.drain(..) {
                    cell.accept(host.batch(bytes, None));
                }
                host.pass();
                line = Self::take_in(selector, receiver);
                (host, intake.is_over) = (next, line.is_none());
            }
            while intake.batches.len() + cell.at_hand() < READ_AHEAD
                && let Some(receiver) = line.and_then(|line| selector.get_mut(line))
                // Where a look costs nothing, it saves the system call that finds nothing.
                && receiver.poll_inbound() != Some(false)
                && intake.take(receiver.try_recv())
                && !intake.is_over
            {}
            if intake.is_over {
                if boot.rest.is_none() {
                    // Nobody is left to work for.
                    let last = host.ended(cell.finish(ExitReason::Shutdown));
                    return (host, last);
                }
                // The thread beside waits for another arbiter, and ends the actor if none comes.
                line.take().map(|old| selector.remove(old));
                intake.is_over = false;
            }
            if !intake.lanes.is_empty() && cell.at_hand() < READ_AHEAD {
                // Whatever the arbiter sends, others get their turn.
                intake.is_over |= selector.turn(&mut intake, Some(Duration::ZERO)).is_err();
            }
            for bytes in intake.batches.drain(..) {
                cell.accept(host.batch(bytes, None));
            }
            for (bytes, lane) in intake.direct.drain(..) {
                cell.accept(host.batch(bytes, Some(lane)));
            }
            match cell.turn(TURN_LEN) {
                Turn::More => {}
                Turn::Ended(reason) => {
                    let reason = cell.finish(reason);
                    host.take_leave(&intake, &reason);
                    let last = host.ended(reason);
                    return (host, last);
                }
                Turn::Idle => {
                    let now = Instant::now();
                    let wait = cell
                        .next_alarm()
                        .map(|due| due.saturating_duration_since(now));
                    if !host.look_for_a_while(selector, line)
                        && selector.turn(&mut intake, wait).is_err()
                    {
                        intake.is_over = true;
                    }
                }
            }
        }
    }

    fn batch(self: &Arc<Self>, bytes: Vec<u8>, lane: Option<Arc<Lane>>) -> Batch<A> {
        let host = Arc::clone(self);
        Batch { bytes, host, lane }
    }

    /// Tells those who have lanes to this actor what it has handled, if it ends of itself.
    fn take_leave(&self, intake: &Intake<A>, reason: &ExitReason) {
        if matches!(reason, ExitReason::Panicked(_)) {
            return;
        }
        for lane in intake.lanes.iter().filter_map(Weak::upgrade) {
            let handled = lane.handled.load(Ordering::Relaxed);
            lane.answering.tell(Report::Ended(reason.clone(), handled));
        }
    }

    /// Answers whether something has come.
    fn look_for_a_while(&self, selector: &mut Selector<Intake<A>>, line: Line) -> bool {
        let Some(receiver) = line.and_then(|line| selector.get_mut(line)) else {
            return false;
        };
        crate::spin::until(LOOKS, || {
            receiver.poll_inbound() == Some(true) || self.mailbox.has_mail()
        })
    }

    /// For another actor that has a lane to this one, and the rights that the arbiter gave it.
    fn invoke_for(
        &self,
        lane: &Lane,
        record: &Record<'_>,
        actor: &mut A,
        ctx: &mut Context<'_, A>,
    ) {
        // Relaxed: written and read by this thread.
        lane.handled.fetch_add(1, Ordering::Relaxed);
        self.direct.fetch_add(1, Ordering::Relaxed);
        let allows = |name: &str| lane.allowed.iter().any(|allowed| allowed == name);
        match self.commands.check(record.command, 0, Access::Peer, allows) {
            Ok(()) => self.invoke(record, &lane.answering, actor, ctx),
            Err(refused) => {
                BytesReply::there(&lane.answering, record.request).resolve(Err(refused));
            }
        }
    }

    fn invoke(
        &self,
        record: &Record<'_>,
        answering: &Arc<Answering>,
        actor: &mut A,
        ctx: &mut Context<'_, A>,
    ) {
        let reply = BytesReply::there(answering, record.request);
        match self.commands.find(record.command) {
            Some(command) => (command.invoke)(actor, record.body, ctx, reply),
            // Its turn is the answer.
            None if record.command == CommandId::DRAIN => reply.resolve(Ok(Vec::new())),
            None => {
                let name = format!("{:08x}", record.command.0);
                reply.resolve(Err(AskError::UnknownCommand(name)));
            }
        }
        answering.returned(record.request);
    }

    /// Obeys orders, and gives signs of life in between.
    ///
    /// `beats` are the time between two of these, and that in which a message must make progress.
    ///
    /// Without an arbiter it waits for another if it may, and becomes its host.
    fn control(
        self: Arc<Self>,
        mut orders: Receiver<ToActor>,
        (mut beat, mut timeout): (Duration, Duration),
        rest: Option<Rest>,
        main: &Poster<Intake<A>>,
    ) {
        let mut host = self;
        let mut pulse = Pulse::new(beat);
        let mut next_beat = Instant::now() + beat;
        loop {
            match orders.recv_attached(Deadline::At(next_beat)) {
                Ok(order) => {
                    let (ToActor(order), descriptors) = order.into_parts();
                    host.obey(order, descriptors);
                }
                Err(RecvError::Timeout) => {}
                Err(_) => {
                    host.upward.close();
                    let Some(lanes) = rest.as_ref().and_then(Rest::await_arbiter) else {
                        // Should the actor not heed this, the watch of the exchange ends the process.
                        host.mailbox.control(Control::Stop(ExitReason::Shutdown));
                        return;
                    };
                    let receiver = lanes.receiver;
                    ((beat, timeout), orders) = (lanes.beats, lanes.orders);
                    pulse = Pulse::new(beat);
                    host = host.again(lanes.answers, lanes.reports);
                    let next = Arc::clone(&host);
                    // Behind this come the messages; a main thread that has ended needs none.
                    let _ = main.post(move |ctx| ctx.state.next = Some((next, receiver)));
                    host.report(Report::Ready);
                }
            }
            let now = Instant::now();
            if now >= next_beat {
                let busy = pulse.busy(&host.mailbox.status, now);
                let busy = busy.filter(|_| !host.cpu_bound);
                host.beat(busy);
                // Time is up at the very end of it and not a beat later.
                let left = busy.and_then(|busy| timeout.checked_sub(busy));
                let left = left.filter(|left| !left.is_zero());
                next_beat = now + left.map_or(beat, |left| left.min(beat));
            }
        }
    }

    /// The host for another arbiter.
    fn again(&self, answers: Sender<FromActor>, reports: Sender<FromActor>) -> Arc<Self> {
        self.upward.reopen(reports.clone());
        Arc::new(Self {
            answering: Answering::new(answers),
            reports,
            mailbox: Arc::clone(&self.mailbox),
            upward: Arc::clone(&self.upward),
            lanes: self.lanes.clone(),
            direct: Arc::clone(&self.direct),
            is_past: AtomicBool::new(false),
            commands: Commands::of_actor(),
            cpu_bound: self.cpu_bound,
        })
    }

    /// Another arbiter's host takes the place of this one: what was handled so far that one has not sent.
    fn pass(&self) {
        // Relaxed: looked at by this thread alone.
        self.is_past.store(true, Ordering::Relaxed);
        let handled = self.mailbox.status.handled();
        self.direct.store(handled, Ordering::Relaxed);
    }

    /// Gives a sign of life.
    fn beat(&self, busy: Option<Duration>) {
        let sign = Report::Beat {
            handled: self.mailbox.status.handled(),
            waiting: self.mailbox.len() as u64,
            busy_us: busy.map(|busy| busy.as_micros() as u64),
        };
        // Never waits: an arbiter that does not read has other troubles.
        drop(self.reports.try_send(FromActor(sign)));
    }

    fn obey(&self, order: Order, descriptors: Vec<OwnedFd>) {
        let answer = |request, block| {
            self.report(Report::Answer(request, Ok(block)));
        };
        match order {
            // They take the other way.
            Order::Control | Order::Adopted(..) | Order::Batch(_) => {}
            Order::Ping(request) => answer(request, Block::default()),
            Order::Echo(request, block) => answer(request, block),
            Order::Info(request) => {
                let info = here_info(&self.mailbox, Placement::Process);
                let (resolver, told) = deferred();
                let reports = self.reports.clone();
                told.then(move |info: Result<_, AskError>| {
                    if let Ok(info) = info {
                        let report = Report::Info(request, Box::new(info));
                        drop(reports.send(FromActor(report)));
                    }
                });
                self.mailbox.ask_info(InfoAsk::new(info, resolver));
            }
            Order::Exit(id, reason) => {
                self.mailbox.control(Control::Exit(ActorId(id), reason));
            }
            Order::Grant(grant) => self.upward.granted(grant, descriptors),
            Order::Lane(allowed) => self.open_lane(allowed, descriptors),
            Order::Stop(reason) => {
                self.mailbox.control(Control::Stop(reason));
            }
        }
    }

    /// Joins a lane of another actor. That one may be stopped before it has made it, so nobody else waits.
    fn open_lane(&self, allowed: Vec<String>, mut descriptors: Vec<OwnedFd>) {
        let Some(end) = descriptors.pop() else { return };
        let lanes = self.lanes.clone();
        // Without a thread or a lane the other one is told by the loss of its end.
        let _ = thread::Builder::new()
            .name("lane".to_owned())
            .spawn(move || {
                let Ok((answers, receiver)) = direct::join(end) else {
                    return;
                };
                let lane = Lane {
                    answering: Answering::new(answers),
                    allowed,
                    handled: AtomicU64::new(0),
                };
                let _ = lanes.post(move |ctx| Intake::open(ctx, receiver, lane));
            });
    }

    fn ended(&self, reason: ExitReason) -> Report {
        // The arbiter counts what it has sent.
        let direct = self.direct.load(Ordering::Relaxed);
        Report::Ended(reason, self.mailbox.status.handled().saturating_sub(direct))
    }

    fn report(&self, report: Report) -> bool {
        self.reports.send(FromActor(report)).is_ok()
    }
}

/// What was last seen of the actor's progress.
struct Pulse {
    /// How often it is looked.
    every: Duration,
    steps: u64,
    looked: Instant,
    /// For how long it was seen to stand still.
    still: Duration,
}

impl Pulse {
    fn new(every: Duration) -> Self {
        Self {
            every,
            steps: 0,
            looked: Instant::now(),
            still: Duration::ZERO,
        }
    }

    /// For how long the actor has been at work without a step; `None` if it is idle.
    fn busy(&mut self, status: &Status, now: Instant) -> Option<Duration> {
        let (busy, steps) = (status.busy_us(), status.steps());
        let since_last = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        if busy.is_none() || steps != std::mem::replace(&mut self.steps, steps) {
            self.still = Duration::ZERO;
        } else {
            // When this thread did not run, with the whole machine or by a signal, neither did the actor.
            self.still += since_last.min(self.every * 2);
        }
        // Many short messages are one long stretch of work: only what was seen to stand still counts.
        busy.map(|busy| self.still.min(Duration::from_micros(busy)))
    }
}
