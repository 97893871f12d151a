//! Why sending, asking and spawning fail.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ExitReason;

/// Why a message was not taken. Every variant gives it back.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError<M> {
    /// The actor has ended and will not come back.
    #[error("the actor has ended")]
    Disconnected(M),
    /// The actor finishes what it has and then ends: it takes nothing more.
    #[error("the actor finishes what it has and takes nothing more")]
    Draining(M),
    /// The mailbox has no room, and waiting is not allowed: the call does not wait, or it was made on
    /// the thread that would have to make room.
    #[error("the mailbox is full")]
    Full(M),
    /// The mailbox had no room in time.
    #[error("the mailbox had no room in time")]
    Timeout(M),
    /// The message does not fit in a frame or cannot be encoded.
    #[error("the message cannot be encoded")]
    Encode(M),
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_inner(self) -> M {
        match self {
            Self::Disconnected(message)
            | Self::Draining(message)
            | Self::Full(message)
            | Self::Timeout(message)
            | Self::Encode(message) => message,
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected(_) => "Disconnected(..)",
            Self::Draining(_) => "Draining(..)",
            Self::Full(_) => "Full(..)",
            Self::Timeout(_) => "Timeout(..)",
            Self::Encode(_) => "Encode(..)",
        })
    }
}

/// Why an ask has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The actor ended before it began with the message: asking again does no harm.
    #[error("the actor ended before it began with the message")]
    NotStarted,
    /// The actor ended while it worked on the message, or may have: its effects may have happened.
    #[error("the actor ended while it worked on the message")]
    Started,
    /// The actor dropped the [place for the answer](crate::Reply), or the way to it was lost: the message's
    /// effects may have happened.
    #[error("the answer was lost")]
    Lost,
    /// The actor finishes what it has and then ends: it has not taken this.
    #[error("the actor finishes what it has and takes nothing more")]
    Draining,
    /// The mailbox has no room.
    #[error("the mailbox is full")]
    Full,
    /// There was no answer in time; a late one is dropped.
    #[error("no answer in time")]
    Timeout,
    /// The message or its answer cannot be encoded or decoded.
    #[error("the message cannot be coded: {0}")]
    Codec(String),
    /// The actor does not know the command.
    #[error("the actor does not know the command {0}")]
    UnknownCommand(String),
    /// The caller may not use the command.
    #[error("the caller may not use the command {0}")]
    Forbidden(String),
    /// Waiting here would wait for ever: the thread that would wait is the one that would bring the answer,
    /// being the actor's own or the arbiter's loop.
    #[error("the thread that would wait is the one that would bring the answer")]
    Deadlock,
}

/// Why an actor was not spawned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is an actor with this name.
    #[error("there is an actor named {0}")]
    NameTaken(String),
    /// Its start failed, or took too long.
    #[error("the actor did not start: {0}")]
    Start(ExitReason),
    /// Its policy contradicts itself or that of its supervisor.
    #[error(transparent)]
    Policy(#[from] crate::SuperviseError),
    /// The arbiter has refused what an actor in its own process wanted, or its spawn failed.
    #[error("the arbiter refuses: {0}")]
    Refused(String),
    /// Waiting here would wait for ever: the thread that would wait is the arbiter's loop itself.
    #[error("the arbiter's loop would wait for itself")]
    Deadlock,
    /// The arbiter has ended or is ending.
    #[error("the arbiter is ending")]
    Disconnected,
}
