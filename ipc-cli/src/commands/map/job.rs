//! One input, from its submission to its result.

use std::ffi::OsString;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_channel::Sender;
use ipc_exchange::{Claim, Handle, TaskError};
use serde::de::DeserializeOwned;

use super::spool::Spool;

/// An input that is worked on, or whose result was not printed.
#[derive(Debug)]
pub(super) struct Job<V, E> {
    pub(super) input: OsString,
    /// Its place in the job log.
    pub(super) claim: Option<Claim>,
    pub(super) tries_left: u32,
    /// What its last attempt prints, as long as that may be needed.
    pub(super) spool: Option<Spool>,
    pub(super) state: State<V, E>,
}

#[derive(Debug)]
pub(super) enum State<V, E> {
    Running(Handle<Result<V, E>>),
    /// It could not be an input.
    Refused(String),
    Ended(Result<Result<V, E>, TaskError>),
}

/// An attempt that was submitted, and what it prints.
pub(super) type Begun<V, E> = (State<V, E>, Option<Spool>);

/// Tells which input's result has come.
struct Bell {
    index: u64,
    results: Sender<u64>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Nobody waits any more when this fails.
        let _ = self.results.send(self.index);
    }
}

impl<V: DeserializeOwned, E: DeserializeOwned> Job<V, E> {
    /// Takes the result if it has come, else has its `index` sent when it comes. Answers whether it
    /// has come.
    pub(super) fn poll(&mut self, index: u64, results: &Sender<u64>) -> bool {
        let State::Running(handle) = &mut self.state else {
            return true;
        };
        let bell = Bell {
            index,
            results: results.clone(),
        };
        let waker = Waker::from(Arc::new(bell));
        match Pin::new(handle).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => {
                self.state = State::Ended(result);
                true
            }
            Poll::Pending => false,
        }
    }

    /// Whether it has no good result.
    pub(super) fn failed(&self) -> bool {
        !matches!(self.state, State::Ended(Ok(Ok(_))) | State::Running(_))
    }

    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.state, State::Running(_))
    }
}
