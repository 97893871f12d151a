//! The way from an actor's own process to another's, without the arbiter between them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ipc_core::{AnyChannel, Deadline, Ring, RingOptions};
use ipc_marshal::{Receiver, Sender, TrySendError};

use crate::AskError;
use crate::arbiter::control_options;
use crate::command::CommandId;
use crate::link::{Answered, Refused};
use crate::wire::{Block, FromActor, Order, Record, Report, ToActor};

/// How much each direction of a lane holds, in bytes.
const CAPACITY: usize = 256 << 10;
/// So many questions may wait for their answers.
const WAITING_MAX: usize = 64 << 10;

fn ring() -> RingOptions {
    RingOptions::new().capacity(CAPACITY).capacity_max(CAPACITY)
}

/// Both ends of a lane, each for another process.
pub(crate) fn ends() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ring::ends()
}

/// The end of the one who is told and asked.
pub(crate) fn join(end: OwnedFd) -> std::io::Result<(Sender<FromActor>, Receiver<ToActor>)> {
    let channel = AnyChannel::from(ring().from_fd(end)?);
    control_options()
        .from_channel::<FromActor, ToActor, _>(channel)
        .split()
}

struct Question {
    answered: Answered,
    /// Its handler has returned and will answer later.
    is_late: bool,
    /// How many messages had been sent when it was, itself included.
    position: u64,
}

#[derive(Default)]
struct Waiting {
    questions: BTreeMap<u64, Question>,
    next: u64,
    sent: u64,
    /// Messages that are known to have been handled.
    settled: u64,
    is_over: bool,
    /// Messages that were only told and are lost.
    lost: u64,
}

/// What the two sides of this end share: those who send, and the thread that reads answers.
#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Somebody sends.
    turn: Mutex<bool>,
    free: Condvar,
}

/// The end of the one who tells and asks. It lasts for one incarnation of the other.
pub(crate) struct Direct {
    sender: Sender<ToActor>,
    shared: Arc<Shared>,
}

/// The right to send.
struct Turn<'a>(&'a Shared);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.turn) = false;
        self.0.free.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // User code never runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Direct {
    /// Makes the lane from its end.
    pub(crate) fn make(end: OwnedFd) -> std::io::Result<Arc<Self>> {
        let channel = AnyChannel::from(ring().make_on(end)?);
        let duct = control_options().from_channel::<ToActor, FromActor, _>(channel);
        let (sender, receiver) = duct.split()?;
        let shared = Arc::new(Shared::default());
        let reads = Arc::clone(&shared);
        let reader = thread::Builder::new().name("lane".to_owned());
        reader.spawn(move || reads.read(receiver))?;
        Ok(Arc::new(Self { sender, shared }))
    }

    /// Sends a message; `answered` is called in any case, unless the message is refused.
    pub(crate) fn push(
        &self,
        command: CommandId,
        body: &[u8],
        answered: Option<Answered>,
        deadline: Deadline,
    ) -> Result<(), (Refused, Option<Answered>)> {
        let Some(turn) = self.shared.take_turn(deadline) else {
            let refused = match deadline {
                Deadline::Now => Refused::Full,
                _ => Refused::Timeout,
            };
            return Err((refused, answered));
        };
        let request = self.shared.enter(answered)?;
        let mut batch = Vec::with_capacity(body.len() + 16);
        let appended = Record::append(&mut batch, command, request, |out| {
            out.extend_from_slice(body);
            Ok::<_, Refused>(())
        });
        let order = ToActor(Order::Batch(Block(batch)));
        let refused = match (appended, deadline) {
            (Err(refused), _) => Some(refused),
            (Ok(()), Deadline::Now) => self.sender.try_send(order).err().map(refused),
            (Ok(()), Deadline::At(at)) => {
                let sent = self.sender.send_deadline(order, at);
                sent.err().map(|error| match refused(error.into()) {
                    Refused::Full => Refused::Timeout,
                    other => other,
                })
            }
            (Ok(()), Deadline::Never) => self.sender.send(order).err().map(|e| refused(e.into())),
        };
        drop(turn);
        match refused {
            None => Ok(()),
            Some(refused) => Err((refused, self.shared.withdraw(request))),
        }
    }

    /// How many messages that were only told are known to be lost.
    pub(crate) fn lost(&self) -> u64 {
        lock(&self.shared.waiting).lost
    }
}

fn refused(error: TrySendError<ToActor>) -> Refused {
    match error {
        TrySendError::Full(_) => Refused::Full,
        TrySendError::TooLarge { .. } => Refused::Encode,
        _ => Refused::Disconnected,
    }
}

impl Shared {
    /// Waits until nobody else sends, but not beyond `deadline`.
    fn take_turn(&self, deadline: Deadline) -> Option<Turn<'_>> {
        let mut taken = lock(&self.turn);
        while *taken {
            let left = deadline.remaining();
            if left == Some(Duration::ZERO) {
                return None;
            }
            taken = match left {
                None => self
                    .free
                    .wait(taken)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let woken = self.free.wait_timeout(taken, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *taken = true;
        Some(Turn(self))
    }

    /// Enters a message before it leaves, and answers its number: zero if no answer is wanted.
    fn enter(&self, answered: Option<Answered>) -> Result<u64, (Refused, Option<Answered>)> {
        let mut waiting = lock(&self.waiting);
        if waiting.is_over {
            return Err((Refused::Disconnected, answered));
        }
        if answered.is_some() && waiting.questions.len() >= WAITING_MAX {
            return Err((Refused::Full, answered));
        }
        waiting.sent += 1;
        let Some(answered) = answered else {
            return Ok(0);
        };
        waiting.next += 1;
        let (request, position) = (waiting.next, waiting.sent);
        let question = Question {
            answered,
            is_late: false,
            position,
        };
        waiting.questions.insert(request, question);
        Ok(request)
    }

    /// Takes back what was entered last.
    fn withdraw(&self, request: u64) -> Option<Answered> {
        let mut waiting = lock(&self.waiting);
        waiting.sent = waiting.sent.saturating_sub(1);
        let question = waiting.questions.remove(&request);
        question.map(|question| question.answered)
    }

    fn read(&self, mut receiver: Receiver<FromActor>) {
        let mut handled = None;
        while let Ok(FromActor(report)) = receiver.recv() {
            match report {
                Report::Answer(request, answer) => {
                    let mut waiting = lock(&self.waiting);
                    let Some(question) = waiting.questions.remove(&request) else {
                        continue;
                    };
                    waiting.settled = waiting.settled.max(question.position);
                    drop(waiting);
                    let answer = answer.as_ref().map(|block| &block.0[..]);
                    (question.answered)(answer.map_err(AskError::clone));
                }
                Report::Later(request) => {
                    let mut waiting = lock(&self.waiting);
                    let Some(question) = waiting.questions.get_mut(&request) else {
                        continue;
                    };
                    question.is_late = true;
                    let position = question.position;
                    waiting.settled = waiting.settled.max(position);
                }
                Report::Ended(_, count) => handled = Some(count),
                // Nothing else is said on a lane.
                _ => {}
            }
        }
        self.end(handled);
    }

    /// The other is gone. Of the messages without an answer the oldest may have been begun and those that
    /// it said it would answer later have been; no other was, and if it took its leave only the latter.
    fn end(&self, handled: Option<u64>) {
        let mut waiting = lock(&self.waiting);
        waiting.is_over = true;
        waiting.settled = waiting.settled.max(handled.unwrap_or(0)).min(waiting.sent);
        let questions = std::mem::take(&mut waiting.questions);
        let settled = waiting.settled;
        let open = questions
            .values()
            .filter(|question| question.position > settled);
        waiting.lost = (waiting.sent - settled).saturating_sub(open.count() as u64);
        drop(waiting);
        let mut at_hand = handled.is_none();
        for question in questions.into_values() {
            let began = question.is_late || std::mem::take(&mut at_hand);
            let error = if began {
                AskError::Started
            } else {
                AskError::NotStarted
            };
            (question.answered)(Err(error));
        }
    }
}
