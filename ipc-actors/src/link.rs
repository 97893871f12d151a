//! The way to an actor in its own process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ipc_core::Deadline;
use ipc_dispatch::Poster;
use ipc_marshal::{Sender, TrySendError};

use crate::answers::{Answers, Duty, End};
use crate::arbiter::Tree;
use crate::command::CommandId;
use crate::deferred::Resolver;
use crate::local::{Bringer, LoopShared};
use crate::outbox::{Out, Request};
use crate::status::Status;
use crate::wire::{Block, Order, Record, Report, ToActor};
use crate::{ActorId, AskError, Info, SendError};

/// A batch of this many bytes is written by whoever filled it.
const FLUSH_LEN: usize = 16 << 10;
/// Senders wait when this many bytes wait for the process.
const BATCH_LEN_MAX: usize = 256 << 10;
/// So many questions may be answered later.
const LATE_MAX: usize = 64 << 10;

pub(crate) type Answered = Box<dyn FnOnce(Result<&[u8], AskError>) + Send>;

/// What waits for an answer.
pub(crate) enum Pending {
    Bytes(Answered),
    Info(Resolver<Info, AskError>),
}

impl Pending {
    pub(crate) fn fail(self, error: AskError) {
        match self {
            Self::Bytes(answered) => answered(Err(error)),
            Self::Info(resolver) => resolver.resolve(Err(error)),
        }
    }
}

/// The way to an actor in its own process: batches messages, keeps those that were not sent over to
/// the next incarnation, and knows who waits for an answer.
///
/// What is in `batch` always has somebody who will write it. While there is a sender, that is the
/// thread that is `flushing`, which looks again before it lets go of the lock with the flag down, or
/// the loop, which was asked to (`posted`) and keeps the flag up until it has seen the batch and the
/// sender's own buffer empty. Whoever leaves something behind with both flags down raises `posted`
/// under the same lock ([`Link::hand_over`]). While there is no sender it is whoever brings the next
/// one ([`Link::connect`]), and both flags belong to the incarnation whose `epoch` they were raised
/// in. What the sender has kept of a frame that it took ([`Sender::try_flush`]) counts as left behind.
pub(crate) struct Link {
    pub(crate) id: ActorId,
    pub(crate) name: Arc<str>,
    pub(crate) status: Status,
    capacity: usize,
    home: Arc<LoopShared>,
    poster: Poster<Tree>,
    out: Mutex<Out>,
    room: Condvar,
    pub(crate) answers: Answers,
}

/// What the end of an incarnation has taken along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Messages that were only told.
    pub(crate) told: u64,
    /// The question that it may have been working on.
    pub(crate) at_hand: Option<CommandId>,
}

/// Why a message was not taken, without the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Disconnected,
    Draining,
    Full,
    Timeout,
    Encode,
}

impl Refused {
    pub(crate) fn with<M>(self, message: M) -> SendError<M> {
        match self {
            Self::Disconnected => SendError::Disconnected(message),
            Self::Draining => SendError::Draining(message),
            Self::Full => SendError::Full(message),
            Self::Timeout => SendError::Timeout(message),
            Self::Encode => SendError::Encode(message),
        }
    }
}

impl Link {
    pub(crate) fn new(
        id: ActorId,
        name: Arc<str>,
        capacity: usize,
        status: Status,
        home: Arc<LoopShared>,
        poster: Poster<Tree>,
    ) -> Self {
        let out = Out {
            sender: None,
            orders: None,
            batch: Vec::new(),
            count: 0,
            flushing: false,
            posted: false,
            closed: false,
            draining: false,
            crowd: false,
            pending: VecDeque::new(),
            late: HashMap::new(),
            base: 1,
            sent: 1,
            epoch: 0,
            taken: 0,
            left: 0,
            settled: 0,
            connected: 0,
        };
        Self {
            id,
            name,
            status,
            capacity,
            home,
            poster,
            out: Mutex::new(out),
            room: Condvar::new(),
            answers: Answers::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        // User code runs under the lock only to encode a message, and leaves nothing half done.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message. One that wants an answer leaves at once, others with the next batch. `helps` if
    /// who asks reads it from the channel itself while it waits; else the loop must read.
    pub(crate) fn push(
        self: &Arc<Self>,
        command: CommandId,
        answered: Option<Answered>,
        helps: bool,
        deadline: Deadline,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), AskError>,
    ) -> Result<(), Refused> {
        let here = self.home.is_here();
        let mut out = self.lock();
        while !out.closed
            && !out.draining
            && (out.count >= self.capacity || out.batch.len() >= BATCH_LEN_MAX)
        {
            if here || deadline == Deadline::Now {
                return Err(Refused::Full);
            }
            if deadline.is_expired() {
                return Err(Refused::Timeout);
            }
            if out.sender.is_some() && !out.flushing {
                out = self.flush(out, deadline);
                continue;
            }
            out = self.wait(out, deadline);
        }
        if out.closed {
            return Err(Refused::Disconnected);
        }
        if out.draining && command != CommandId::DRAIN {
            return Err(Refused::Draining);
        }
        if answered.is_some() && out.late.len() >= LATE_MAX {
            return Err(Refused::Full);
        }
        let request = match answered {
            Some(_) => out.base + out.pending.len() as u64,
            None => 0,
        };
        Record::append(&mut out.batch, command, request, encode).map_err(|_| Refused::Encode)?;
        out.count += 1;
        out.taken += 1;
        let urgent = answered.is_some();
        if let Some(answered) = answered {
            let position = out.taken;
            out.pending.push_back(Some(Request {
                pending: Pending::Bytes(answered),
                is_order: false,
                position,
                command,
            }));
        }
        // Others that wait for answers are before it, and the loop never reads but in its turn.
        let alone = out.pending.len() == 1 && out.late.is_empty() && !here && helps;
        let connected = out.sender.is_some();
        if connected && !out.flushing {
            let waits = !here && deadline == Deadline::Never;
            if urgent || out.batch.len() >= FLUSH_LEN {
                let deadline = if here { Deadline::Now } else { deadline };
                out = self.flush(out, deadline);
            }
            if !waits || !out.batch.is_empty() {
                self.hand_over(out);
            } else {
                drop(out);
            }
        } else {
            drop(out);
        }
        if urgent && connected {
            self.see_to(self.answers.asked(alone));
        }
        Ok(())
    }

    /// Takes no more messages, and says when those that were taken are handled.
    pub(crate) fn drain(self: &Arc<Self>, done: Resolver<(), AskError>) {
        self.lock().draining = true;
        self.room.notify_all();
        let answered = Box::new(move |answer: Result<&[u8], AskError>| {
            done.resolve(answer.map(drop));
        });
        // Dropping the callback says that it is refused.
        let _ = self.push(
            CommandId::DRAIN,
            Some(answered),
            false,
            Deadline::Now,
            |_| Ok(()),
        );
    }

    /// Who brings what is answered: other threads read answers only while they wait for them, but the end
    /// of the process and its next incarnation are the loop's.
    pub(crate) fn bringer(&self) -> Bringer {
        self.home.bringer()
    }

    /// Does what the answers need to be read.
    pub(crate) fn see_to(self: &Arc<Self>, duty: Duty) {
        if let Duty::Nothing = duty {
            return;
        }
        let link = Arc::clone(self);
        drop(self.poster.post(move |ctx| match duty {
            Duty::Nothing => {}
            Duty::Tell(after) => after(ctx),
            Duty::Fetch => Tree::fetch_answers(ctx, &link),
            Duty::PutDown => Tree::put_answers_down(ctx, &link),
        }));
    }

    /// Has the loop read, in case that a question waits whose asker does not.
    pub(crate) fn attend(self: &Arc<Self>) {
        if self.is_awaited() {
            self.see_to(self.answers.want());
        }
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_awaited(&self) -> bool {
        let out = self.lock();
        !(out.pending.is_empty() && out.late.is_empty())
    }

    /// Takes in an answer.
    pub(crate) fn answered(&self, report: Report) {
        if let Report::Later(request) = report {
            return self.lock().put_off(request);
        }
        // Of others nobody waits, or the peer mixes things up: dropping it answers.
        if let Report::Answer(request, answer) = report
            && let Some(Pending::Bytes(answered)) = self.take_pending(request)
        {
            answered(
                answer
                    .as_ref()
                    .map(|block| &block.0[..])
                    .map_err(AskError::clone),
            );
        }
    }

    /// Has the loop write what is left, unless somebody else does already.
    fn hand_over(self: &Arc<Self>, mut out: MutexGuard<'_, Out>) {
        let left = !out.batch.is_empty() || Self::is_clogged(&out);
        if left
            && out.sender.is_some()
            && !out.flushing
            && !std::mem::replace(&mut out.posted, true)
        {
            drop(out);
            self.post_flush();
        }
    }

    /// Whether the sender has kept a part of a frame for which there was no room.
    fn is_clogged(out: &Out) -> bool {
        // An error is the end of the incarnation, which is reported on its own.
        let flushed = |sender: &Sender<_>| sender.try_flush().unwrap_or(true);
        !out.sender.as_ref().is_none_or(flushed)
    }

    fn wait<'a>(&self, mut out: MutexGuard<'a, Out>, deadline: Deadline) -> MutexGuard<'a, Out> {
        out.crowd = true;
        match deadline.remaining() {
            None => self.room.wait(out).unwrap_or_else(PoisonError::into_inner),
            Some(left) => {
                let woken = self.room.wait_timeout(out, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn post_flush(self: &Arc<Self>) {
        let link = Arc::clone(self);
        // Without a loop there is no actor either.
        drop(self.poster.post(move |ctx| {
            let epoch = link.epoch();
            if !link.flush_now(epoch) {
                Tree::flush_when_writable(ctx, &link, epoch);
            }
        }));
    }

    /// Counts the incarnations that are gone: what was begun for one is not for the next.
    pub(crate) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// Writes what is there without waiting, for the loop, which was asked to. Answers whether nothing
    /// is left; else the loop comes back when there is room.
    pub(crate) fn flush_now(&self, epoch: u64) -> bool {
        let mut out = self.lock();
        if out.epoch != epoch {
            // The flag is that of the next incarnation, if it is up.
            return true;
        }
        if out.sender.is_some() && !out.flushing {
            out = self.flush(out, Deadline::Now);
        }
        if out.epoch != epoch {
            return true;
        }
        // A thread that is flushing looks again at what is left, and then for the flag.
        let done = out.sender.is_none()
            || out.flushing
            || (out.batch.is_empty() && !Self::is_clogged(&out));
        out.posted = !done;
        done
    }

    /// Writes batches until none is left or the deadline has passed. The lock is open meanwhile, so
    /// that others can go on appending.
    fn flush<'a>(
        &'a self,
        mut out: MutexGuard<'a, Out>,
        deadline: Deadline,
    ) -> MutexGuard<'a, Out> {
        out.flushing = true;
        while !out.batch.is_empty() {
            let Some(sender) = out.sender.clone() else {
                break;
            };
            let batch = std::mem::take(&mut out.batch);
            let count = std::mem::take(&mut out.count);
            out.left += count as u64;
            let next = out.base + out.pending.len() as u64;
            let sent = std::mem::replace(&mut out.sent, next);
            let epoch = out.epoch;
            drop(out);
            let order = ToActor(Order::Batch(Block(batch)));
            let refused = match deadline {
                Deadline::Now => sender.try_send(order).err(),
                Deadline::At(at) => sender.send_deadline(order, at).err().map(Into::into),
                Deadline::Never => sender.send(order).err().map(Into::into),
            };
            out = self.lock();
            let Some(refused) = refused else { continue };
            if out.epoch != epoch {
                // The incarnation was given up meanwhile, and this with it.
                continue;
            }
            out.sent = sent;
            out.left -= count as u64;
            let gone = matches!(refused, TrySendError::Disconnected(_));
            if let Order::Batch(Block(mut batch)) = refused.into_inner().0 {
                batch.append(&mut out.batch);
                out.batch = batch;
                out.count += count;
            }
            if gone {
                // Its end is reported on its own; until then nothing can be sent.
                out.sender = None;
            }
            break;
        }
        out.flushing = false;
        if std::mem::take(&mut out.crowd) {
            self.room.notify_all();
        }
        out
    }

    /// Sends an order, on the lane where no message is. Never waits.
    pub(crate) fn order(&self, order: Order) -> bool {
        let orders = self.lock().orders.clone();
        orders.is_some_and(|orders| orders.try_send(ToActor(order)).is_ok())
    }

    /// Sends an order that is answered.
    pub(crate) fn ask(&self, pending: Pending, order: impl FnOnce(u64) -> Order) {
        let mut out = self.lock();
        let Some(orders) = out.orders.clone() else {
            drop(out);
            return pending.fail(AskError::NotStarted);
        };
        let request = out.base + out.pending.len() as u64;
        out.pending.push_back(Some(Request {
            pending,
            is_order: true,
            position: 0,
            command: CommandId(0),
        }));
        drop(out);
        if let Err(refused) = orders.try_send(ToActor(order(request))) {
            let full = matches!(refused, TrySendError::Full(_));
            let error = if full {
                AskError::Full
            } else {
                AskError::NotStarted
            };
            if let Some(pending) = self.take_pending(request) {
                pending.fail(error);
            }
        }
    }

    pub(crate) fn take_pending(&self, request: u64) -> Option<Pending> {
        let mut out = self.lock();
        let request = out.take(request)?;
        out.settle(request.position);
        Some(request.pending)
    }

    /// The sender of the present incarnation.
    pub(crate) fn sender(&self) -> Option<Sender<ToActor>> {
        self.lock().sender.clone()
    }

    /// An incarnation is ready: what has waited for it leaves.
    pub(crate) fn connect(
        self: &Arc<Self>,
        sender: Sender<ToActor>,
        orders: Sender<ToActor>,
        answers: End,
    ) {
        self.answers.connect(answers);
        let mut out = self.lock();
        out.sender = Some(sender);
        out.orders = Some(orders);
        self.hand_over(out);
        // Those who asked before wait on whatever comes: nobody of them reads.
        self.attend();
    }

    /// The incarnation is gone. Answers, or word that they will come later, are sent before the next
    /// message is begun, so of the messages without either the oldest may have been begun and the others
    /// were not; none was if the actor took its leave. What has not left for it waits for the next incarnation.
    ///
    /// Answers how many messages that were only told are lost: those that had left for it and were
    /// not seen to be handled. `handled` is how many it says it has handled, if it could say so;
    /// without that, messages after the last answer count as lost although some were handled. Also
    /// which question may have been begun.
    pub(crate) fn disconnect(&self, took_leave: bool, handled: Option<u64>) -> Lost {
        let mut out = self.lock();
        out.sender = None;
        out.orders = None;
        out.posted = false;
        out.epoch += 1;
        let left = out.sent.saturating_sub(out.base);
        let mut lost = Vec::new();
        for (index, slot) in (0..).zip(&mut out.pending) {
            let is_lost = |request: &mut Request| index < left || request.is_order;
            lost.extend(slot.take_if(is_lost));
        }
        out.forget_answered();
        let late = std::mem::take(&mut out.late);
        if let Some(handled) = handled {
            let position = out.connected.saturating_add(handled);
            out.settle(position);
        }
        let asked = lost.iter().filter(|request| !request.is_order);
        let asked = asked
            .filter(|request| request.position > out.settled)
            .count() as u64;
        let told = (out.left - out.settled).saturating_sub(asked);
        out.settled = out.left;
        out.connected = out.left;
        drop(out);
        self.room.notify_all();
        let at_hand = lost
            .iter()
            .find(|request| !request.is_order && !took_leave)
            .map(|request| request.command);
        let mut error = if took_leave {
            AskError::NotStarted
        } else {
            AskError::Started
        };
        for request in late.into_values() {
            request.pending.fail(AskError::Started);
        }
        for request in lost {
            // An order is done between two messages; only a message can have been begun.
            let error = if request.is_order {
                AskError::NotStarted
            } else {
                std::mem::replace(&mut error, AskError::NotStarted)
            };
            request.pending.fail(error);
        }
        Lost { told, at_hand }
    }

    /// The actor will not come back. Answers how many messages that were only told are lost.
    pub(crate) fn close(&self) -> u64 {
        let mut told = self.disconnect(false, None).told;
        let mut out = self.lock();
        out.closed = true;
        out.batch = Vec::new();
        let count = std::mem::take(&mut out.count) as u64;
        let pending = std::mem::take(&mut out.pending);
        drop(out);
        self.room.notify_all();
        told += count.saturating_sub(pending.iter().flatten().count() as u64);
        for request in pending.into_iter().flatten() {
            request.pending.fail(AskError::NotStarted);
        }
        told
    }

    pub(crate) fn waiting(&self) -> usize {
        self.lock().count
    }
}
