//! The background process.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use ipc_core::{AnyChannel, Channel, Port};
use ipc_marshal::{Duct, Receiver};
use serde::Serialize;

use super::message::{FromReader, ToReader};
use crate::codec::encode;
use crate::outcome::{lock, wait};
use crate::payload::Payload;
use crate::wire::PROTOCOL;
use crate::{Registry, TaskId, YieldError};

/// Results that may wait for a reader; a task that is further ahead waits itself.
const KEPT_MAX: usize = 65_536;

/// Results that may be on their way to a reader.
const WINDOW: u64 = 64;

/// How long a reader may take to say what it reads: others wait behind it.
const HELLO_MAX: Duration = Duration::from_secs(2);

/// What other users, and readers on other machines, are told.
const STRANGER: &str = "only readers of the same user on the same machine are served";

/// Where a background task, `fn(A, Publisher<T>)`, puts its results.
pub struct Publisher<T> {
    log: Arc<Log>,
    results: PhantomData<fn(T)>,
}

/// The results that were not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Payload>,
    /// The number of the first result kept.
    first: u64,
    /// The results' type, once the function was begun.
    types: &'static str,
    is_finished: bool,
    /// Whether the reader being served is gone.
    reader_gone: bool,
}

/// The log of this process, which is a background process.
static LOG: OnceLock<Arc<Log>> = OnceLock::new();

impl<T> Publisher<T> {
    pub(crate) fn current() -> Self {
        let log = LOG.get_or_init(Arc::default);
        lock(&log.state).types = std::any::type_name::<T>();
        log.changed.notify_all();
        Self {
            log: Arc::clone(log),
            results: PhantomData,
        }
    }
}

impl<T: Serialize> Publisher<T> {
    /// Publishes a result. Waits only when 65,536 were published and not taken.
    ///
    /// # Errors
    ///
    /// [`YieldError::BadItem`] when it cannot be encoded.
    pub fn put(&self, result: &T) -> Result<(), YieldError> {
        let value = encode(result).map_err(|reason| YieldError::BadItem { reason })?;
        let mut state = lock(&self.log.state);
        while state.kept.len() >= KEPT_MAX {
            state = self.log.wait(state);
        }
        state.kept.push_back(value);
        drop(state);
        self.log.changed.notify_all();
        Ok(())
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// Runs the function and serves readers until every result was acknowledged.
pub(crate) fn run_detached(
    registry: &'static Registry,
    mut port: Port,
    task: TaskId,
    argument: Payload,
) -> io::Result<()> {
    let log = Arc::clone(LOG.get_or_init(Arc::default));
    let for_task = Arc::clone(&log);
    let address = port.address().clone();
    thread::Builder::new().name("task".into()).spawn(move || {
        // A panic was printed to nowhere: the end of the results is all that a reader sees of it.
        let run = AssertUnwindSafe(|| registry.run(task, argument.bytes(), None));
        let _ = catch_unwind(run);
        lock(&for_task.state).is_finished = true;
        for_task.changed.notify_all();
        // If everything was taken already nobody may come any more: the wait for a reader is ended
        // by one that says nothing.
        drop(AnyChannel::connect(&address));
    })?;
    while !log.is_done() {
        let channel = port.accept()?;
        let is_own = is_own(&channel);
        let mut duct = Duct::from_channel(channel);
        // A reader's failure is its own; the next one gets what it did not take.
        if is_own {
            let _ = log.serve(duct);
        } else {
            let _ = duct.try_send(ToReader::Refused(STRANGER.into()));
        }
    }
    Ok(())
}

/// Whether the reader belongs to the same user. Channels that do not tell are accepted only where
/// the address itself is protected; a `tcp:` address is not.
fn is_own(channel: &AnyChannel) -> bool {
    match channel.peer_credentials() {
        Ok(Some(peer)) => peer.uid == nix::unistd::geteuid().as_raw(),
        _ => false,
    }
}

impl Log {
    fn is_done(&self) -> bool {
        let state = lock(&self.state);
        state.is_finished && state.kept.is_empty()
    }

    fn wait<'a>(
        &self,
        state: std::sync::MutexGuard<'a, State>,
    ) -> std::sync::MutexGuard<'a, State> {
        let woken = wait(&self.changed, state, ipc_core::Deadline::Never);
        woken.expect("a wait without a deadline ends by being woken")
    }

    /// Serves one reader until it leaves or has everything.
    fn serve(&self, mut duct: Duct<ToReader, FromReader>) -> io::Result<()> {
        let hello = duct.recv_timeout(HELLO_MAX).map_err(io::Error::other)?;
        let types = {
            let mut state = lock(&self.state);
            while state.types.is_empty() && !state.is_finished {
                state = self.wait(state);
            }
            state.reader_gone = false;
            state.types
        };
        let refusal = match hello {
            FromReader::Hello { protocol, .. } if protocol != PROTOCOL => Some(format!(
                "the reader speaks protocol {protocol}, not {PROTOCOL}"
            )),
            FromReader::Hello { types: asked, .. } if asked != types && !types.is_empty() => {
                Some(format!("the results are {types}, not {asked}"))
            }
            FromReader::Hello { .. } => None,
            FromReader::Ack { .. } => Some("the reader did not say what it reads".into()),
        };
        if let Some(reason) = refusal {
            return duct
                .send(ToReader::Refused(reason))
                .map_err(io::Error::other);
        }
        let (sender, receiver) = duct.split()?;
        thread::scope(|scope| {
            thread::Builder::new().spawn_scoped(scope, || self.take_acks(receiver))?;
            let mut sent = lock(&self.state).first;
            while let Some((seq, value)) = self.next(sent) {
                let item = ToReader::Item { seq, value };
                if sender.send(item).is_err() {
                    break;
                }
                sent = seq + 1;
            }
            if self.is_done() {
                // It has everything: whether it hears so changes nothing.
                let _ = sender.send(ToReader::End);
            }
            // Closes the channel, which ends the thread of the acknowledgements once the reader has
            // closed its end.
            drop(sender);
            Ok(())
        })
    }

    /// The next result for a reader that was sent those before `sent`; `None` when it is gone or has
    /// everything.
    fn next(&self, sent: u64) -> Option<(u64, Payload)> {
        let mut state = lock(&self.state);
        loop {
            if state.reader_gone || (state.is_finished && state.kept.is_empty()) {
                return None;
            }
            let index = sent.saturating_sub(state.first);
            if index < WINDOW
                && let Some(value) = state.kept.get(usize::try_from(index).ok()?)
            {
                return Some((state.first + index, value.clone()));
            }
            state = self.wait(state);
        }
    }

    fn take_acks(&self, mut receiver: Receiver<FromReader>) {
        while let Ok(FromReader::Ack { seq }) = receiver.recv() {
            let mut state = lock(&self.state);
            while state.first <= seq && state.kept.pop_front().is_some() {
                state.first += 1;
            }
            drop(state);
            self.changed.notify_all();
        }
        lock(&self.state).reader_gone = true;
        self.changed.notify_all();
    }
}
