//! What an actor's process does when its arbiter has died and another may come.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipc_core::Deadline;
use ipc_exchange::{end_with, meet};
use ipc_marshal::{Receiver, Sender};
use serde::{Deserialize, Serialize};

use crate::arbiter::control_options;
use crate::wire::{Block, FromActor, Order, ToActor};

/// Where to wait for another arbiter, for how long, and what it must know.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Rest {
    pub(crate) folder: PathBuf,
    pub(crate) key: Block,
    pub(crate) at_most_ms: u64,
}

/// The ways to another arbiter.
pub(crate) struct Lanes {
    pub(crate) receiver: Receiver<ToActor>,
    pub(crate) answers: Sender<FromActor>,
    pub(crate) orders: Receiver<ToActor>,
    pub(crate) reports: Sender<FromActor>,
    /// The time between two signs of life, and that in which a message must make progress.
    pub(crate) beats: (Duration, Duration),
}

impl Rest {
    /// Waits for another arbiter; `None` if none comes in time.
    pub(crate) fn await_arbiter(&self) -> Option<Lanes> {
        let until = Instant::now() + Duration::from_millis(self.at_most_ms);
        loop {
            let mut duct = meet::<FromActor, ToActor>(&self.folder, &self.key.0, until).ok()?;
            // One that has met and does not want this process yet, or ends before it does.
            if let Ok(first) = duct.recv_attached(Deadline::At(until)) {
                let (ToActor(order), mut descriptors) = first.into_parts();
                let Order::Adopted(beat, timeout) = order else {
                    return None;
                };
                let mut lane = || control_options().from_fd(descriptors.pop()?).ok();
                let (reports, orders) = lane()?.split().ok()?;
                let (answers, receiver) = lane()?.split().ok()?;
                end_with(&duct).ok()?;
                return Some(Lanes {
                    receiver,
                    answers,
                    orders,
                    reports,
                    beats: (Duration::from_millis(beat), Duration::from_millis(timeout)),
                });
            }
            if Instant::now() >= until {
                return None;
            }
        }
    }
}

impl fmt::Debug for Rest {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
