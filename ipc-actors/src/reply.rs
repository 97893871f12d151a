//! The place for an answer, which may come later than the handler returns.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_marshal::Sender;

use crate::link::Answered;
use crate::local::is_ending;
use crate::mailbox::Asked;
use crate::wire::{Block, FromActor, Report};
use crate::{AskError, Deferred};

/// The place for the answer to one message: see [`Receive`](crate::Receive).
///
/// It can be kept in the actor, sent to another thread, or left to a [`Deferred`]. If it is dropped
/// without an answer, the one who asked is told [`Lost`](AskError::Lost) at once; if it is still kept when
/// the actor ends, in whatever way, [`Started`](AskError::Started). A pool gives a message of the latter
/// kind to another worker.
#[must_use = "dropping it tells the one who asked that the answer is lost"]
pub struct Reply<R: 'static> {
    way: Way<R>,
}

pub(crate) type Encode<R> = fn(&R, &mut Vec<u8>) -> Result<(), AskError>;

enum Way<R: 'static> {
    /// The message was only told.
    Nobody,
    Value(Asked<R>),
    Bytes(BytesReply, Encode<R>),
}

impl<R: Send + 'static> Reply<R> {
    pub(crate) fn nobody() -> Self {
        Self { way: Way::Nobody }
    }

    #[inline]
    pub(crate) fn of(asked: Asked<R>) -> Self {
        Self {
            way: Way::Value(asked),
        }
    }

    /// `None` when no answer is wanted.
    pub(crate) fn of_bytes(bytes: BytesReply, encode: Encode<R>) -> Option<Self> {
        bytes.way.as_ref()?;
        let way = Way::Bytes(bytes, encode);
        Some(Self { way })
    }

    /// Whether anybody waits for the answer: a message may only be told.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !matches!(self.way, Way::Nobody)
    }

    /// Answers. Never blocks for longer than the arbiter takes to make room.
    #[inline]
    pub fn answer(self, answer: R) {
        self.resolve(Ok(answer));
    }

    /// Answers with a result that is still to come: that of another actor, for one.
    pub fn answer_with(self, answer: Deferred<R, AskError>) {
        if self.is_wanted() {
            answer.then(|result| self.resolve(result));
        }
    }

    #[inline]
    fn resolve(self, answer: Result<R, AskError>) {
        match self.way {
            Way::Nobody => {}
            Way::Value(asked) => asked.answer(answer),
            Way::Bytes(bytes, encode) => {
                let mut out = Vec::new();
                let answer = answer.and_then(|answer| encode(&answer, &mut out));
                bytes.resolve(answer.map(|()| out));
            }
        }
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// The place for an answer in bytes.
pub(crate) struct BytesReply {
    /// `None` when no answer is wanted, or it was given.
    way: Option<BytesWay>,
}

enum BytesWay {
    Here(Answered),
    There(Arc<Answering>, u64),
}

impl BytesReply {
    pub(crate) fn here(answered: Answered) -> Self {
        Self {
            way: Some(BytesWay::Here(answered)),
        }
    }

    /// To the arbiter of this process; none is wanted if `request` is zero.
    pub(crate) fn there(answering: &Arc<Answering>, request: u64) -> Self {
        let way = (request != 0).then(|| BytesWay::There(Arc::clone(answering), request));
        Self { way }
    }

    pub(crate) fn resolve(mut self, answer: Result<Vec<u8>, AskError>) {
        match self.way.take() {
            None => {}
            Some(BytesWay::Here(answered)) => {
                answered(answer.as_ref().map(Vec::as_slice).map_err(AskError::clone));
            }
            Some(BytesWay::There(answering, request)) => answering.answer(request, answer),
        }
    }
}

impl Drop for BytesReply {
    fn drop(&mut self) {
        match self.way.take() {
            None => {}
            Some(BytesWay::Here(answered)) => answered(Err(dropped())),
            // The actor's process is about to end, and its end tells more.
            Some(BytesWay::There(..)) if is_end_of_actor() => {}
            Some(BytesWay::There(answering, request)) => {
                answering.answer(request, Err(AskError::Lost));
            }
        }
    }
}

/// What is said when a message that was begun is dropped without an answer.
pub(crate) fn dropped() -> AskError {
    if is_end_of_actor() {
        AskError::Started
    } else {
        AskError::Lost
    }
}

/// Whether the actor of this thread is being dropped, or its handler has panicked and is being left.
fn is_end_of_actor() -> bool {
    is_ending() || (std::thread::panicking() && crate::current_actor().is_some())
}

/// The way of answers from an actor's own process.
pub(crate) struct Answering {
    answers: Sender<FromActor>,
    /// The request that was answered last.
    last: AtomicU64,
}

impl Answering {
    pub(crate) fn new(answers: Sender<FromActor>) -> Arc<Self> {
        let last = AtomicU64::new(0);
        Arc::new(Self { answers, last })
    }

    fn answer(&self, request: u64, answer: Result<Vec<u8>, AskError>) {
        let answer = Report::Answer(request, answer.map(Block));
        // An arbiter that is gone is seen where its messages would come from.
        drop(self.answers.send(FromActor(answer)));
        // Relaxed: at worst a request is said to be late that was just answered, which does no harm.
        self.last.store(request, Ordering::Relaxed);
    }

    /// Says something else to the one who asks.
    pub(crate) fn tell(&self, report: Report) {
        drop(self.answers.send(FromActor(report)));
    }

    /// The handler of this request has returned. If it has not answered, the arbiter must know that it
    /// has begun before the next message does.
    pub(crate) fn returned(&self, request: u64) {
        if request != 0 && self.last.load(Ordering::Relaxed) != request {
            drop(self.answers.send(FromActor(Report::Later(request))));
        }
    }
}
