//! What an actor tells about itself, and the arbiter about all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ActorId, Down, Placement, State, SystemInfo};

/// What an actor tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Its id.
    pub id: ActorId,
    /// Its name.
    pub name: String,
    /// The name of its kind.
    pub kind: String,
    /// Where it is in its life.
    pub state: State,
    /// Where it runs.
    pub placement: Placement,
    /// The process it runs in.
    pub pid: u32,
    /// How many times it was started before.
    pub incarnation: u32,
    /// Milliseconds since it was spawned; of an actor in a process, since that process was started.
    pub uptime_ms: u64,
    /// Messages handled; of an actor in a process, by this incarnation.
    pub handled: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// For how many microseconds it has worked on the message at hand, or since it last reported
    /// progress; `None` when it is idle, and always for actors on the loop.
    pub busy_us: Option<u64>,
    /// The load of the process it runs in; `None` where the system does not tell.
    pub system: Option<SystemInfo>,
    /// What the actor's own hook added.
    pub extra: BTreeMap<String, String>,
}

/// A pool, as the arbiter sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How many workers there shall be.
    pub size: u64,
    /// How many are up and stay.
    pub up: u64,
    /// How many exist in any form.
    pub total: u64,
    /// Messages that wait for a worker.
    pub waiting: u64,
}

/// An actor and its place in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorStatus {
    /// The pool or supervisor it belongs to; supervisors below others are written `outer/inner`.
    /// Empty if that is the arbiter itself.
    pub parent: String,
    /// What is known of it without asking it, so that it is there for one that is stuck or down, too.
    /// The process id is zero while it is down; what an actor in a process has handled and what waits
    /// there are as of its last sign of life, and `extra` is empty.
    pub info: Info,
    /// The last of its ends that was no clean one. Of remote callers only those with
    /// [`Access::Peer`](crate::Access::Peer) are told: what a program says when it dies may be secret.
    pub last_failure: Option<LastFailure>,
}

/// How an incarnation of an actor has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// Which incarnation it was.
    pub incarnation: u32,
    /// Why it ended, in words.
    pub reason: String,
    /// The message that it may have been working on.
    pub at_hand: Option<String>,
    /// The end of what its process wrote to standard error.
    pub output: String,
}

impl LastFailure {
    pub(crate) fn of(down: &Down) -> Self {
        Self {
            incarnation: down.incarnation,
            reason: down.reason.to_string(),
            at_hand: down.at_hand.clone(),
            output: down.output.clone(),
        }
    }
}

/// Everything that an arbiter has below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeInfo {
    /// The arbiter's process.
    pub pid: u32,
    /// Milliseconds since the arbiter was made.
    pub uptime_ms: u64,
    /// Whether it has been asked to end.
    pub ending: bool,
    /// Its pools, by name.
    pub pools: Vec<PoolStatus>,
    /// Its actors in the order in which they were spawned: at most ten thousand.
    pub actors: Vec<ActorStatus>,
    /// How many more actors there are.
    pub omitted: u64,
}

impl TreeInfo {
    /// Without what only operators may see.
    pub(crate) fn redacted(mut self) -> Self {
        for actor in &mut self.actors {
            actor.last_failure = None;
        }
        self
    }
}
