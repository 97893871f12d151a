//! Where an actor is in its life.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an actor is in its life; it only ever moves forward, and begins again with the next
/// incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum State {
    /// It is known and nothing was done yet.
    Initial,
    /// Its place is being made, or its `init` and `start` run.
    Starting,
    /// It handles messages.
    Running,
    /// It was asked to stop.
    Stopping,
    /// It has ended by itself.
    Closed,
    /// It was ended from outside.
    Terminated,
}

impl State {
    /// Whether it has come up, whatever became of it.
    #[must_use]
    pub fn is_started(self) -> bool {
        self >= Self::Running
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        self >= Self::Closed
    }

    pub(crate) fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Initial,
            1 => Self::Starting,
            2 => Self::Running,
            3 => Self::Stopping,
            4 => Self::Closed,
            _ => Self::Terminated,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initial => "initial",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Closed => "closed",
            Self::Terminated => "terminated",
        })
    }
}
