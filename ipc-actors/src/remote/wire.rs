//! What travels between an arbiter and programs that are not its own.

use serde::{Deserialize, Serialize};

use crate::wire::Block;
use crate::{Access, AskError, Info, Placement, TreeInfo};

/// Changes when the frames below do; peers with another one are refused by the hand-shake.
pub(super) const SCHEMA: u64 = 0x6970_632d_6163_7435;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The actor of this name. Only what a connection has found can it use.
    Find {
        request: u64,
        name: String,
    },
    /// A registered message; no answer is wanted if `request` is zero.
    Call {
        request: u64,
        actor: u64,
        command: u32,
        body: Block,
    },
    Ping {
        request: u64,
        actor: u64,
    },
    Echo {
        request: u64,
        actor: u64,
        body: Block,
    },
    Info {
        request: u64,
        actor: u64,
    },
    Stop {
        actor: u64,
    },
    /// More rights for the connection: the proof of another key. What follows is sealed under that.
    Auth {
        request: u64,
        mac: [u8; 32],
    },
    /// The caller goes.
    Quit,
    /// A command to the arbiter itself.
    Manage {
        request: u64,
        order: Manage,
    },
}

/// What the arbiter itself is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Manage {
    Tree,
    /// End the arbiter and with it the program.
    Shutdown,
    /// Replace the workers of all pools.
    Reload,
    StopActor(u64),
    KillActor(u64),
    ConfigList,
    ConfigGet(String),
    ConfigSet(String, String),
    /// Spawn what was offered under this name.
    Spawn(String),
    /// Run what was offered under this name, with this text.
    Run(String, String),
    /// Stop it when it has handled what it has, or after so many milliseconds.
    DrainActor(u64, u64),
}

/// What the arbiter answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Managed {
    Done,
    Tree(Box<TreeInfo>),
    /// Whether there was such an actor.
    Found(bool),
    Settings(Vec<(String, String)>),
    Setting(Option<String>),
    Text(Result<String, String>),
    Id(u64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) kind: String,
    pub(super) placement: Placement,
    /// The registered commands that this caller may use.
    pub(super) commands: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Found {
        request: u64,
        found: Option<Found>,
    },
    Answer {
        request: u64,
        answer: Result<Block, AskError>,
    },
    Info {
        request: u64,
        info: Result<Box<Info>, AskError>,
    },
    Managed {
        request: u64,
        answer: Result<Managed, AskError>,
    },
    /// What the connection may do now, and the listener's proof. What follows is sealed under the key.
    Auth {
        request: u64,
        answer: Result<(Access, [u8; 32]), AskError>,
    },
}

impl Response {
    /// About how many bytes it holds while it waits to be written.
    pub(super) fn weight(&self) -> usize {
        let more = match self {
            Self::Answer {
                answer: Ok(Block(bytes)),
                ..
            } => bytes.len(),
            Self::Managed {
                answer: Ok(Managed::Tree(tree)),
                ..
            } => 256 * (tree.actors.len() + tree.pools.len()),
            _ => 256,
        };
        size_of::<Self>() + more
    }
}
