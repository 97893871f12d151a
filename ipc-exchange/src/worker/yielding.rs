//! Tasks that give more than one result.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;

use super::current::CURRENT;
use super::tasks::{LINK, Link};
use crate::codec::encode;
use crate::outcome::lock;
use crate::wire::{FromWorker, ToWorker};

/// Where a streaming task, `fn(A, Yield<T>)`, puts its items.
///
/// They reach the [`Queue`](crate::Queue) that started it in order, while the task goes on. The queue's
/// owner grants credit by taking them: a task that is 64 items ahead waits.
///
/// # Examples
///
/// ```
/// use ipc_exchange::{Exchange, Yield, init, registry};
///
/// fn count(to: u32, out: Yield<u32>) {
///     for n in 0..to {
///         if out.put(&n).is_err() {
///             break;
///         }
///     }
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init(registry![count]);
///     let exchange = Exchange::new(2)?;
///     let mut queue = exchange.queue();
///     queue.start_stream(count, 500)?;
///     let numbers: Result<Vec<u32>, _> = queue.by_ref().collect();
///     assert_eq!(numbers?, (0..500).collect::<Vec<_>>());
///     exchange.finish();
///     Ok(())
/// }
/// ```
pub struct Yield<T> {
    seq: u64,
    items: PhantomData<fn(T)>,
}

/// An error returned from [`Yield::put`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum YieldError {
    /// The exchange is gone, or the task has ended.
    #[error("nobody takes the items any more")]
    Disconnected,
    /// The item could not be encoded.
    #[error("the item cannot be encoded: {reason}")]
    BadItem {
        /// What the codec says.
        reason: String,
    },
}

impl<T> Yield<T> {
    /// For the task that runs now.
    pub(crate) fn current() -> Self {
        Self {
            seq: CURRENT.get().map_or(0, |current| current.seq()),
            items: PhantomData,
        }
    }
}

impl<T: Serialize> Yield<T> {
    /// Sends an item, waiting while too many were not taken. The owner's taking them, and the
    /// exchange's end, wake it.
    ///
    /// # Errors
    ///
    /// See [`YieldError`].
    pub fn put(&self, item: &T) -> Result<(), YieldError> {
        let value = encode(item).map_err(|reason| YieldError::BadItem { reason })?;
        let Some(link) = LINK.get().filter(|_| self.is_running()) else {
            return Err(YieldError::Disconnected);
        };
        let mut link = lock(link);
        while link.credit == 0 {
            link.await_credit(self.seq)?;
        }
        link.credit -= 1;
        let item = FromWorker::Item {
            seq: self.seq,
            value,
        };
        link.control
            .send(item)
            .map_err(|_| YieldError::Disconnected)
    }

    fn is_running(&self) -> bool {
        self.seq != 0
            && CURRENT
                .get()
                .is_some_and(|current| current.seq() == self.seq)
    }
}

impl Link {
    fn await_credit(&mut self, of: u64) -> Result<(), YieldError> {
        match self.control.recv() {
            Ok(ToWorker::Credit { seq, count }) if seq == of => {
                self.credit = self.credit.saturating_add(count);
                Ok(())
            }
            Ok(ToWorker::Credit { .. }) => Ok(()),
            Ok(ToWorker::Run(runs)) => {
                self.queued.extend(runs);
                Ok(())
            }
            Ok(ToWorker::Hello(_)) | Err(_) => Err(YieldError::Disconnected),
        }
    }
}

impl<T> fmt::Debug for Yield<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yield").finish_non_exhaustive()
    }
}
