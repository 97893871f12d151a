//! How a caller is answered, and what the arbiter does for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_marshal::Sender;

use super::bucket::Bucket;
use super::load::{Load, Share};
use super::seal::Seal;
use super::server::LOOK;
use super::stats::Counters;
use super::wire::{Manage, Managed, Response};
use crate::command::encode;
use crate::wire::Block;
use crate::{Access, Arbiter, AskError, Info};

/// An answer that waits to be written.
pub(super) struct Answer {
    response: Response,
    share: Share,
    /// What follows is sealed in this way.
    seal: Option<Seal>,
}

/// `None` when nothing more will come.
pub(super) type Queued = Option<Answer>;

/// What is needed to answer.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) arbiter: Arbiter,
    pub(super) answers: SyncSender<Queued>,
    /// What is under way.
    pub(super) load: Arc<Load>,
    /// Answers that wait to be written.
    pub(super) queued: Arc<Load>,
    pub(super) in_flight_max: usize,
    pub(super) bytes_max: usize,
    pub(super) strikes: Arc<Mutex<Bucket>>,
    pub(super) counters: Arc<Counters>,
    pub(super) cut: Arc<AtomicBool>,
}

impl Call {
    pub(super) fn is_crowded(&self) -> bool {
        self.queued.count() > self.in_flight_max || self.queued.bytes() >= self.bytes_max
    }

    /// Whether as much is under way as may be.
    pub(super) fn is_full(&self) -> bool {
        self.load.count() >= self.in_flight_max || self.load.bytes() >= self.bytes_max
    }

    /// Nothing more will be asked: the writer need not wait for it.
    pub(super) fn end(&self) {
        // A full queue keeps it busy anyway.
        let _ = self.answers.try_send(None);
    }

    /// The caller is cut off.
    fn cut(&self) {
        if !self.cut.swap(true, Ordering::Relaxed) {
            self.counters.cut();
        }
    }

    /// Never waits: a caller that does not read its answers is cut off.
    pub(super) fn respond(&self, response: Response) {
        self.respond_sealed(response, None);
    }

    /// Responds, and has what follows sealed in another way.
    pub(super) fn respond_sealed(&self, response: Response, seal: Option<Seal>) {
        let bytes = response.weight();
        // What is under way when the reader stops may come on top.
        let heavy = self.queued.bytes() > self.bytes_max.saturating_mul(2);
        let share = Share::of(&self.queued, bytes);
        let answer = Answer {
            response,
            share,
            seal,
        };
        if heavy || self.answers.try_send(Some(answer)).is_err() {
            self.cut();
        }
    }

    /// The caller asks for what it may not, what is not there or what cannot be read.
    pub(super) fn strike(&self) {
        self.counters.strike();
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        if strikes.take(Instant::now()).is_err() {
            self.cut();
        }
    }

    /// Notes what is to be held against the caller in an answer.
    pub(super) fn judge<T>(&self, answer: &Result<T, AskError>) {
        if let Err(AskError::Forbidden(_) | AskError::UnknownCommand(_) | AskError::Codec(_)) =
            answer
        {
            self.strike();
        }
    }

    pub(super) fn answer(&self, request: u64, answer: Result<Block, AskError>) {
        self.judge(&answer);
        if request != 0 {
            self.respond(Response::Answer { request, answer });
        }
    }

    pub(super) fn info(&self, request: u64, info: Result<Info, AskError>) {
        self.judge(&info);
        let info = info.map(Box::new);
        self.respond(Response::Info { request, info });
    }

    pub(super) fn managed(&self, request: u64, answer: Result<Managed, AskError>) {
        self.judge(&answer);
        self.respond(Response::Managed { request, answer });
    }

    /// Does what the arbiter is asked by one who may, at this level.
    pub(super) fn manage(&self, request: u64, order: &Manage, access: Access) {
        let (call, counted) = (self.clone(), Share::of(&self.load, 0));
        self.arbiter.obey(order, access, move |answer| {
            drop(counted);
            call.managed(request, answer);
        });
    }
}

/// Writes answers until there is nobody left who could give one, and tells `reader` when there is room
/// for more. Answers whether all were taken.
pub(super) fn write(
    sender: &Sender<()>,
    mut seal: Seal,
    answers: &mpsc::Receiver<Queued>,
    reader: &thread::Thread,
    cut: &AtomicBool,
    limit: Duration,
) -> bool {
    loop {
        match answers.recv_timeout(LOOK) {
            Ok(None) => return true,
            Ok(Some(answer)) => {
                let mut payload = Vec::new();
                let sent = encode(&answer.response, &mut payload).is_ok() && {
                    let frame = seal.seal(payload);
                    let deadline = Deadline::after(limit);
                    sender.send_bytes(&frame, deadline).is_ok()
                };
                drop(answer.share);
                reader.unpark();
                if !sent {
                    return false;
                }
                match answer.seal {
                    Some(next) => seal = next,
                    None => seal.sent(),
                }
            }
            Err(RecvTimeoutError::Timeout) if !cut.load(Ordering::Relaxed) => {}
            Err(_) => return true,
        }
    }
}
