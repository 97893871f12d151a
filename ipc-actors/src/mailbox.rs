//! Where messages wait for an actor in the same process.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ipc_core::Deadline;

use crate::command::Invoke;
use crate::deferred::Resolver;
use crate::link::Answered;
use crate::local::{Bringer, LoopWake};
use crate::reply::{BytesReply, dropped};
use crate::status::Status;
use crate::{
    Actor, ActorId, AskError, Context, ExitReason, Info, Message, Placement, Receive, Reply,
    SendError,
};

/// What goes ahead of the messages.
pub(crate) enum Control {
    /// Stop with this reason once the message at hand is done.
    Stop(ExitReason),
    Ping(Resolver<(), AskError>),
    Info(InfoAsk),
    /// One that the actor was linked to has ended.
    Exit(ActorId, ExitReason),
}

/// A question about an actor, to be answered by whoever comes first: the actor, whose hook adds to the
/// answer, or the asker, who sees that the actor is at work.
#[derive(Clone)]
pub(crate) struct InfoAsk(Arc<Mutex<Option<InfoReply>>>);

type InfoReply = (Info, Resolver<Info, AskError>);

impl InfoAsk {
    pub(crate) fn new(info: Info, resolver: Resolver<Info, AskError>) -> Self {
        Self(Arc::new(Mutex::new(Some((info, resolver)))))
    }

    fn take(&self) -> Option<InfoReply> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn answer(&self, add: impl FnOnce(&mut Info)) {
        if let Some((mut info, resolver)) = self.take() {
            add(&mut info);
            resolver.resolve(Ok(info));
        }
    }

    fn refuse(&self) {
        if let Some((_, resolver)) = self.take() {
            resolver.resolve(Err(AskError::NotStarted));
        }
    }
}

/// One message on its way.
pub(crate) trait Item<A: Actor>: Send + 'static {
    /// Whoever sent it is told when it is dropped.
    const IS_ASKED: bool;

    fn deliver(self, actor: &mut A, ctx: &mut Context<'_, A>);
}

/// A message without an answer.
pub(crate) struct Tell<M>(pub(crate) M);

impl<A: Receive<M>, M: Message> Item<A> for Tell<M> {
    const IS_ASKED: bool = false;

    #[inline]
    fn deliver(self, actor: &mut A, ctx: &mut Context<'_, A>) {
        actor.told(self.0, ctx);
    }
}

/// A message with the place for its answer.
pub(crate) struct Ask<M: Message>(pub(crate) M, pub(crate) Asked<M::Reply>);

impl<A: Receive<M>, M: Message> Item<A> for Ask<M> {
    const IS_ASKED: bool = true;

    #[inline]
    fn deliver(self, actor: &mut A, ctx: &mut Context<'_, A>) {
        let Self(message, mut asked) = self;
        asked.started = true;
        actor.receive(message, Reply::of(asked), ctx);
    }
}

/// Says that everything before it is handled.
struct Mark(Resolver<(), AskError>);

impl<A: Actor> Item<A> for Mark {
    const IS_ASKED: bool = true;

    fn deliver(self, _: &mut A, _: &mut Context<'_, A>) {
        self.0.resolve(Ok(()));
    }
}

/// A message as bytes, whose answer is bytes.
pub(crate) struct Raw<A: Actor> {
    invoke: Invoke<A>,
    body: Arc<[u8]>,
    /// `None` once it was begun.
    answered: Option<Answered>,
}

impl<A: Actor> Raw<A> {
    pub(crate) fn new(invoke: Invoke<A>, body: Arc<[u8]>, answered: Answered) -> Self {
        Self {
            invoke,
            body,
            answered: Some(answered),
        }
    }
}

impl<A: Actor> Item<A> for Raw<A> {
    const IS_ASKED: bool = true;

    fn deliver(mut self, actor: &mut A, ctx: &mut Context<'_, A>) {
        if let Some(answered) = self.answered.take() {
            (self.invoke)(actor, &self.body, ctx, BytesReply::here(answered));
        }
    }
}

impl<A: Actor> Drop for Raw<A> {
    fn drop(&mut self) {
        if let Some(answered) = self.answered.take() {
            answered(Err(AskError::NotStarted));
        }
    }
}

/// The place for an answer. Dropped without one, it says what became of the message.
pub(crate) struct Asked<R: 'static> {
    resolver: Option<Resolver<R, AskError>>,
    started: bool,
}

impl<R: 'static> Asked<R> {
    pub(crate) fn new(resolver: Resolver<R, AskError>) -> Self {
        Self {
            resolver: Some(resolver),
            started: false,
        }
    }

    pub(crate) fn answer(mut self, answer: Result<R, AskError>) {
        if let Some(resolver) = self.resolver.take() {
            resolver.resolve(answer);
        }
    }
}

impl<R: 'static> Drop for Asked<R> {
    fn drop(&mut self) {
        if let Some(resolver) = self.resolver.take() {
            let error = if self.started {
                dropped()
            } else {
                AskError::NotStarted
            };
            resolver.resolve(Err(error));
        }
    }
}

/// Messages of one type that came one after the other: stored as they are, without a box each.
pub(crate) struct Run<I>(VecDeque<I>);

impl<I> Run<I> {
    pub(crate) fn of(item: I) -> Self {
        Self(VecDeque::from([item]))
    }

    pub(crate) fn push(&mut self, item: I) {
        self.0.push_back(item);
    }
}

/// A [`Run`] of some type.
pub(crate) trait AnyRun<A: Actor>: Send {
    /// Delivers messages until none is left or the context says to pause. A panic of the handler
    /// leaves the rest in place.
    fn deliver(&mut self, actor: &mut A, ctx: &mut Context<'_, A>);
    fn len(&self) -> usize;
    /// Of those, the messages that were only told.
    fn told(&self) -> usize;
    fn as_any(&mut self) -> &mut dyn Any;
}

impl<A: Actor, I: Item<A>> AnyRun<A> for Run<I> {
    fn deliver(&mut self, actor: &mut A, ctx: &mut Context<'_, A>) {
        while let Some(item) = self.0.pop_front() {
            ctx.core.begin();
            item.deliver(actor, ctx);
            if ctx.core.must_pause() {
                break;
            }
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn told(&self) -> usize {
        if I::IS_ASKED { 0 } else { self.0.len() }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

pub(crate) type Runs<A> = VecDeque<Box<dyn AnyRun<A>>>;

/// Who gets in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// No more messages; control still.
    Draining,
    Closed,
}

/// How the owner of the mailbox is woken.
pub(crate) enum Wake {
    /// It sleeps on the mailbox.
    Thread,
    /// It sleeps elsewhere, and this wakes it.
    Call(Box<dyn Fn() + Send + Sync>),
    /// The loop looks at it.
    Loop(LoopWake),
}

/// What was in the lane that goes ahead.
pub(crate) type Urgent = Option<Box<VecDeque<Control>>>;

struct Lanes<A: Actor> {
    /// Made when something comes that goes ahead, which is seldom.
    control: Urgent,
    runs: Runs<A>,
    /// An empty run that goes on being used, so that a steady stream allocates nothing.
    spare: Option<Box<dyn AnyRun<A>>>,
    /// Messages in `runs`.
    len: usize,
    /// The owner has seen the lanes empty and must be woken.
    idle: bool,
    /// The owner sleeps on `work`.
    asleep: bool,
    /// Senders sleep until there is room.
    crowd: bool,
    gate: Gate,
}

/// Where messages wait for an actor: in the order in which they came, at most `capacity` of them.
pub(crate) struct Mailbox<A: Actor> {
    lanes: Mutex<Lanes<A>>,
    work: Condvar,
    room: Condvar,
    capacity: usize,
    wake: Wake,
    pub(crate) id: ActorId,
    pub(crate) name: Arc<str>,
    pub(crate) status: Status,
}

impl<A: Actor> Mailbox<A> {
    pub(crate) fn new(
        id: ActorId,
        name: Arc<str>,
        capacity: usize,
        wake: Wake,
        status: Status,
    ) -> Self {
        let lanes = Lanes {
            control: None,
            runs: VecDeque::new(),
            spare: None,
            len: 0,
            idle: true,
            asleep: false,
            crowd: false,
            gate: Gate::Open,
        };
        let capacity = capacity.max(1);
        let (work, room) = (Condvar::new(), Condvar::new());
        Self {
            lanes: Mutex::new(lanes),
            work,
            room,
            capacity,
            wake,
            id,
            name,
            status,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<A>> {
        // User code that can panic never runs under the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an item, waiting for room until `deadline`.
    pub(crate) fn push<I: Item<A>>(&self, item: I, deadline: Deadline) -> Result<(), SendError<I>> {
        let mut lanes = self.lock();
        while lanes.len >= self.capacity && lanes.gate == Gate::Open {
            if deadline == Deadline::Now || self.is_mine() {
                return Err(SendError::Full(item));
            }
            if deadline.is_expired() {
                return Err(SendError::Timeout(item));
            }
            lanes.crowd = true;
            lanes = match deadline.remaining() {
                None => self
                    .room
                    .wait(lanes)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let woken = self.room.wait_timeout(lanes, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        match lanes.gate {
            Gate::Open => {}
            Gate::Draining => return Err(SendError::Draining(item)),
            Gate::Closed => return Err(SendError::Disconnected(item)),
        }
        lanes.push(item);
        self.wake_owner(lanes);
        Ok(())
    }

    /// Refuses messages from now on, and says when those that it has are handled.
    pub(crate) fn drain(&self, done: Resolver<(), AskError>) {
        let mut lanes = self.lock();
        if lanes.gate == Gate::Closed {
            drop(lanes);
            return done.resolve(Err(AskError::Lost));
        }
        lanes.gate = Gate::Draining;
        // There is always room for it: the next incarnation may have to come to it as well.
        lanes.push(Mark(done));
        self.wake_owner(lanes);
        self.room.notify_all();
    }

    /// Puts something into the lane that goes ahead. Never waits; a closed mailbox drops it.
    pub(crate) fn control(&self, control: Control) -> bool {
        let mut lanes = self.lock();
        if lanes.gate == Gate::Closed {
            return false;
        }
        lanes.control.get_or_insert_default().push_back(control);
        self.status.set_control(true);
        self.wake_owner(lanes);
        true
    }

    /// Asks about the actor. One that is at work, or begins just now, does not look: then the answer is
    /// what can be told without it.
    pub(crate) fn ask_info(&self, ask: InfoAsk) {
        if !self.control(Control::Info(ask.clone())) {
            return ask.refuse();
        }
        // SeqCst: pairs with the fence in `Status::set_busy`. Of the flag for the control lane and the
        // actor's word that it works, each side writes one and then reads the other: either the actor
        // sees the flag before it begins, or this sees that it works.
        fence(Ordering::SeqCst);
        if let Some(busy) = self.status.busy_us() {
            ask.answer(|info| info.busy_us = Some(busy));
        }
    }

    /// Whether something has come since the owner saw the lanes empty.
    pub(crate) fn has_mail(&self) -> bool {
        self.status.has_mail()
    }

    fn wake_owner(&self, mut lanes: MutexGuard<'_, Lanes<A>>) {
        if lanes.idle {
            lanes.idle = false;
            self.status.set_mail(true);
            let asleep = std::mem::take(&mut lanes.asleep);
            drop(lanes);
            match &self.wake {
                Wake::Thread if asleep => self.work.notify_one(),
                Wake::Thread => {}
                Wake::Call(wake) => wake(),
                Wake::Loop(wake) => wake.wake(),
            }
        }
    }

    /// Whether the caller is on the thread that empties this mailbox.
    pub(crate) fn is_mine(&self) -> bool {
        match &self.wake {
            Wake::Thread | Wake::Call(_) => crate::local::current_actor() == Some(self.id),
            Wake::Loop(wake) => wake.is_here(),
        }
    }

    /// Who brings the answers of this actor.
    #[inline]
    pub(crate) fn bringer(&self) -> Bringer {
        match &self.wake {
            Wake::Thread | Wake::Call(_) => Bringer::Actor(self.id),
            Wake::Loop(wake) => wake.shared.bringer(),
        }
    }

    /// Where the actor runs, as its own process sees it.
    pub(crate) fn placement(&self) -> Placement {
        match self.wake {
            Wake::Thread => Placement::Thread,
            Wake::Call(_) => Placement::Process,
            Wake::Loop(_) => Placement::Local,
        }
    }

    pub(crate) fn is_on_loop(&self) -> bool {
        matches!(self.wake, Wake::Loop(_))
    }

    /// Takes everything out. `runs` must be empty; its memory goes on being used. Answers what is in
    /// the control lane. When there is nothing at all, the next sender wakes the owner.
    pub(crate) fn take(&self, runs: &mut Runs<A>, spare: Option<Box<dyn AnyRun<A>>>) -> Urgent {
        let mut lanes = self.lock();
        if spare.is_some() {
            lanes.spare = spare;
        }
        std::mem::swap(&mut lanes.runs, runs);
        lanes.len = 0;
        let control = lanes.control.take();
        self.status.set_control(false);
        lanes.idle = runs.is_empty() && control.is_none();
        if lanes.idle {
            self.status.set_mail(false);
        }
        let crowd = std::mem::take(&mut lanes.crowd);
        drop(lanes);
        if crowd {
            self.room.notify_all();
        }
        control
    }

    /// Takes out what is in the control lane alone.
    pub(crate) fn take_control(&self) -> Urgent {
        self.status.set_control(false);
        self.lock().control.take()
    }

    /// Sleeps until something is in one of the lanes, but not beyond `deadline`.
    pub(crate) fn sleep(&self, deadline: Deadline) {
        // Without the lock, which the senders want meanwhile.
        if crate::spin::until(1000, || self.has_mail()) {
            return;
        }
        let mut lanes = self.lock();
        while lanes.idle {
            lanes.asleep = true;
            lanes = match deadline.remaining() {
                Some(left) if left.is_zero() => return,
                Some(left) => {
                    let woken = self.work.wait_timeout(lanes, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .work
                    .wait(lanes)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Puts back what an incarnation has not begun with, for the next one. `runs` comes first.
    pub(crate) fn put_back(&self, mut runs: Runs<A>) {
        let len: usize = runs.iter().map(|run| run.len()).sum();
        let mut lanes = self.lock();
        std::mem::swap(&mut lanes.runs, &mut runs);
        lanes.runs.append(&mut runs);
        lanes.len += len;
        // The next incarnation looks by itself.
        lanes.idle = false;
        self.status.set_mail(true);
        let control = lanes.control.take();
        self.status.set_control(false);
        drop(lanes);
        drop(control);
    }

    /// Refuses messages from now on and drops those that wait. Answers how many of them nobody is told
    /// of.
    pub(crate) fn close(&self) -> u64 {
        let mut lanes = self.lock();
        lanes.gate = Gate::Closed;
        lanes.len = 0;
        let runs = std::mem::take(&mut lanes.runs);
        let control = lanes.control.take();
        drop(lanes);
        self.room.notify_all();
        // Outside the lock: it answers asks, whose callbacks may send.
        let told: usize = runs.iter().map(|run| run.told()).sum();
        drop(runs);
        drop(control);
        told as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len
    }
}

impl<A: Actor> Lanes<A> {
    #[inline]
    fn push<I: Item<A>>(&mut self, item: I) {
        self.len += 1;
        if let Some(last) = self.runs.back_mut()
            && let Some(run) = last.as_any().downcast_mut::<Run<I>>()
        {
            run.0.push_back(item);
            return;
        }
        if let Some(mut spare) = self.spare.take()
            && let Some(run) = spare.as_any().downcast_mut::<Run<I>>()
        {
            run.0.push_back(item);
            self.runs.push_back(spare);
            return;
        }
        self.runs.push_back(Box::new(Run::of(item)));
    }
}

impl<A: Actor> fmt::Debug for Mailbox<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish()
    }
}
