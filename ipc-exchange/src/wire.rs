//! What an exchange and its workers say to each other.
//!
//! The messages travel through a [`Duct`](ipc_marshal::Duct) with the default codec; arguments and
//! results are already encoded when they get here.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::TaskId;
use crate::budget::Limits;
use crate::chunk::Part;
use crate::payload::Payload;

/// Changes whenever the messages or the control page do.
pub(crate) const PROTOCOL: u32 = 5;

/// How many items a streaming task may be ahead of its owner.
pub(crate) const CREDIT: u32 = 64;

/// From an exchange to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The first message.
    Hello(Hello),
    /// Jobs for a worker of an exchange, in the order of `seq`.
    Run(Vec<Run>),
    /// The running task may yield this many items more.
    Credit { seq: u64, count: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) protocol: u32,
    /// Identifies the parent's executable file; 0 when the worker is another program on purpose.
    pub(crate) build: u64,
    /// The hash of the parent's registry.
    pub(crate) registry: u64,
    /// The parent's process id.
    pub(crate) parent: u32,
    pub(crate) role: Role,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Runs tasks one after another; the initializer, if any, first. Writes the marker and a job's
    /// sequence number to standard output after each.
    Worker {
        initializer: Option<(TaskId, Payload)>,
        marker: Option<String>,
    },
    /// Forks workers on request.
    Zygote,
    /// Runs a background task whose results wait at an address, and outlives the parent.
    Detached {
        task: TaskId,
        argument: Payload,
        address: String,
    },
    /// Runs one program with this argument, on a channel of its own, within these limits.
    Program {
        task: TaskId,
        argument: Payload,
        limits: Limits,
        /// For how long it may live without a parent.
        outlives: Duration,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) seq: u64,
    pub(crate) task: TaskId,
    /// The job's number within its exchange.
    pub(crate) job: u64,
    pub(crate) attempt: u32,
    /// For a chunk, whose argument is a list of arguments: how many of them, from the first, an
    /// earlier attempt has answered.
    pub(crate) chunk: Option<usize>,
    /// Shared with the exchange's own record of the job, which is kept until it has ended.
    pub(crate) argument: Arc<Payload>,
}

/// From a worker to its exchange.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The hand-shake is complete; jobs sent ahead will be begun now.
    Ready,
    /// The worker will not work, and why. It ends after this.
    Refused(String),
    /// The running job has yielded an item.
    Item { seq: u64, value: Payload },
    /// What came of some of a chunk's arguments.
    Part { seq: u64, part: Part },
    /// What came of a job; of a chunk, when all its parts were sent.
    Done {
        seq: u64,
        /// How long the function ran.
        ran_ns: u64,
        result: Finished,
    },
    /// A job was passed over because it had been recalled.
    Skipped { seq: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Finished {
    /// The function returned this; `failed` if it is the `Err` of a `Result`.
    Returned { value: Payload, failed: bool },
    /// The function panicked.
    Panicked {
        message: String,
        location: Option<String>,
        backtrace: Option<String>,
    },
    /// The argument could not be decoded.
    BadArgument(String),
    /// The result could not be encoded.
    BadResult(String),
    /// The worker has no task with this id.
    Unknown,
}
