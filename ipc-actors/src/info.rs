//! What an actor tells about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ActorId, Placement, State};

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
    /// What the actor's own hook added.
    pub extra: BTreeMap<String, String>,
}
