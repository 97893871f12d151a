//! What waits here for an actor in its own process, and who waits for it.

use std::collections::{HashMap, VecDeque};

use ipc_marshal::Sender;

use crate::command::CommandId;
use crate::link::Pending;
use crate::wire::ToActor;

/// A request that waits for an answer.
pub(crate) struct Request {
    pub(crate) pending: Pending,
    /// It left as an order of its own, ahead of the batches: it is gone with the incarnation that it
    /// was sent to, and never waits for the next.
    pub(crate) is_order: bool,
    /// How many messages had been taken when it was, itself included.
    pub(crate) position: u64,
    pub(crate) command: CommandId,
}

pub(crate) struct Out {
    /// The present incarnation, once it is ready.
    pub(crate) sender: Option<Sender<ToActor>>,
    /// The lane of its own that orders take.
    pub(crate) orders: Option<Sender<ToActor>>,
    /// Messages that are still here.
    pub(crate) batch: Vec<u8>,
    pub(crate) count: usize,
    /// A thread is writing and will look at `batch` again.
    pub(crate) flushing: bool,
    /// The loop was asked to write, and does so until nothing is left.
    pub(crate) posted: bool,
    pub(crate) closed: bool,
    /// No more messages are taken, but for the mark behind those that were.
    pub(crate) draining: bool,
    /// Senders sleep until there is room.
    pub(crate) crowd: bool,
    /// The requests that wait for an answer: the one at `base`, the one after it, and so on.
    pub(crate) pending: VecDeque<Option<Request>>,
    pub(crate) base: u64,
    /// Those that were begun and will be answered later, by their numbers.
    pub(crate) late: HashMap<u64, Request>,
    /// Requests below this number have left, or are just being written.
    pub(crate) sent: u64,
    /// Counts incarnations that are gone.
    pub(crate) epoch: u64,
    /// Messages that were ever taken.
    pub(crate) taken: u64,
    /// Of those, the ones that have left for an incarnation.
    pub(crate) left: u64,
    /// Of those, the ones that are known to be dealt with, or to be lost.
    pub(crate) settled: u64,
    /// What had left when the present incarnation came.
    pub(crate) connected: u64,
}

impl Out {
    /// An answer has come: what left before its question was handled before it.
    pub(crate) fn settle(&mut self, position: u64) {
        self.settled = self.settled.max(position.min(self.left));
    }

    pub(crate) fn take(&mut self, request: u64) -> Option<Request> {
        if let Some(late) = self.late.remove(&request) {
            return Some(late);
        }
        let index = usize::try_from(request.checked_sub(self.base)?).ok()?;
        let found = self.pending.get_mut(index)?.take();
        self.forget_answered();
        found
    }

    /// A message was begun and will be answered later; those after it are begun now.
    pub(crate) fn put_off(&mut self, request: u64) {
        let Some(found) = self.take(request) else {
            return;
        };
        self.settle(found.position);
        self.late.insert(request, found);
    }

    /// Drops the oldest requests that wait for nothing any more.
    pub(crate) fn forget_answered(&mut self) {
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.base += 1;
        }
    }
}
