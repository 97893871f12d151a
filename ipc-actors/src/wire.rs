//! What travels between the arbiter and an actor in its own process.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::command::CommandId;
use crate::orphan::Rest;
use crate::upward::{Grant, Wish};
use crate::{AskError, ExitReason, Info};

/// Bytes that travel as a block and not one by one.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Block(pub(crate) Vec<u8>);

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Block;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Block, E> {
                Ok(Block(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Block, E> {
                Ok(Block(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// A frame to an actor in its own process. Opaque: it is public only because the function that
/// hosts the actor is registered by its type.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToActor(pub(crate) Order);

/// A frame from an actor in its own process. Opaque, as [`ToActor`].
#[derive(Debug, Serialize, Deserialize)]
pub struct FromActor(pub(crate) Report);

/// What the process is started with. Opaque, as [`ToActor`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot<P> {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) incarnation: u32,
    pub(crate) params: P,
    pub(crate) capacity: u32,
    pub(crate) requests_max: u64,
    pub(crate) cpu_bound: bool,
    pub(crate) beat_ms: u64,
    /// For how long it may work on a message without progress.
    pub(crate) timeout_ms: u64,
    /// What to do when the arbiter dies, if not to end.
    pub(crate) rest: Option<Rest>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The first of all: with it comes the lane on which all orders but batches travel.
    Control,
    /// This arbiter takes the process over: with it come the lanes for messages and for orders. The
    /// milliseconds between two signs of life, and in which a message must make progress.
    Adopted(u64, u64),
    /// Messages, one [`Record`] after the other.
    Batch(Block),
    Ping(u64),
    Echo(u64, Block),
    Info(u64),
    Stop(ExitReason),
    /// One that it was linked to has ended.
    Exit(u64, ExitReason),
    /// Another actor in its own process has a lane to it, whose end comes with this, and may use these
    /// commands.
    Lane(Vec<String>),
    /// What it wished for. With a lane comes its end.
    Grant(Grant),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// `init` and `start` are done.
    Ready,
    /// They failed.
    Failed(ExitReason),
    Answer(u64, Result<Block, AskError>),
    /// The handler of this request has returned and will answer later; the next message may begin.
    Later(u64),
    Info(u64, Box<Info>),
    /// A sign of life, with what the arbiter may want to know about progress.
    Beat {
        handled: u64,
        waiting: u64,
        /// For how long it has made no step.
        busy_us: Option<u64>,
    },
    /// It wants something of the arbiter or of other actors.
    Wish(Wish),
    /// The last: the actor ended by itself or because it was asked to, after so many messages.
    Ended(ExitReason, u64),
}

/// One message in a batch: a header of sixteen bytes, then the body.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) command: CommandId,
    /// What the answer is to carry; zero when none is wanted.
    pub(crate) request: u64,
    pub(crate) body: &'a [u8],
}

const HEADER_LEN: usize = 16;

impl<'a> Record<'a> {
    /// Appends a record whose body `encode` writes. `out` is as before when that fails.
    pub(crate) fn append<E>(
        out: &mut Vec<u8>,
        command: CommandId,
        request: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = out.len();
        out.extend_from_slice(&command.0.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&request.to_le_bytes());
        if let Err(error) = encode(out) {
            out.truncate(start);
            return Err(error);
        }
        let body_len = u32::try_from(out.len() - start - HEADER_LEN).unwrap_or(u32::MAX);
        out[start + 4..start + 8].copy_from_slice(&body_len.to_le_bytes());
        Ok(())
    }

    /// Takes the first record off `bytes`; `None` when they are used up or malformed.
    pub(crate) fn split(bytes: &mut &'a [u8]) -> Option<Self> {
        let (command, rest) = bytes.split_first_chunk::<4>()?;
        let (body_len, rest) = rest.split_first_chunk::<4>()?;
        let (request, rest) = rest.split_first_chunk::<8>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*body_len) as usize)?;
        *bytes = rest;
        let command = CommandId(u32::from_le_bytes(*command));
        Some(Self {
            command,
            request: u64::from_le_bytes(*request),
            body,
        })
    }
}
