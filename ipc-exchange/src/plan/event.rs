//! What happens to a plan and what it asks for.

use std::time::{Duration, Instant};

/// Names a job inside one plan; reused after the job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobKey(pub(crate) usize);

/// Names a worker inside one plan; reused after its process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerKey(pub(crate) usize);

/// How one job is to be treated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spec {
    /// How often it may be started again after the worker running it died.
    pub(crate) retries: u32,
    /// How long one attempt may run.
    pub(crate) timeout: Option<Duration>,
    /// When it must have ended, waiting included.
    pub(crate) deadline: Option<Instant>,
    /// Jobs with a higher priority are placed first.
    pub(crate) priority: i8,
    /// How many bytes its argument has.
    pub(crate) len: usize,
}

/// How a worker answered for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The function returned; for a function that returns a `Result`, `Ok`.
    Ok,
    /// The function returned its own `Err`.
    Err,
    /// The function panicked, or its result could not be carried back.
    Panicked,
}

/// What happens to a plan.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A job was submitted under a key that is not in use.
    Submitted { job: JobKey, spec: Spec },
    /// Its owner wants a job to end.
    Cancel { job: JobKey },
    /// A worker's hand-shake is complete.
    Ready { worker: WorkerKey },
    /// A worker answered for the oldest job in its window. `ran` is as the worker measured it.
    Replied {
        worker: WorkerKey,
        seq: u64,
        reply: Reply,
        ran: Duration,
    },
    /// A worker passed over a job that had been recalled.
    Skipped { worker: WorkerKey, seq: u64 },
    /// The answer to [`Action::Recall`]: whether the worker had not begun the job.
    Recalled {
        worker: WorkerKey,
        seq: u64,
        recalled: bool,
    },
    /// A worker's process has ended, or could not be started. `begun` is the sequence number up to
    /// which it had begun jobs.
    Exited { worker: WorkerKey, begun: u64 },
    /// A worker has grown too large: it is to be replaced after its job.
    Worn { worker: WorkerKey },
    /// A worker answered what it was not asked: nothing it says can be used.
    Broken { worker: WorkerKey },
    /// The number of workers wanted at most.
    Limit { limit: usize },
    /// Nothing more will be submitted: workers end when the last job has.
    Close,
    /// Every job that has not ended is to be cancelled.
    CancelAll,
}

/// How hard a worker is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// Sets the flag that a co-operating task looks at.
    Ask,
    /// SIGTERM to its process group.
    Terminate,
    /// SIGKILL to its process group.
    Kill,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The worker's last reply holds what came of it.
    Replied,
    /// The worker running it died; how is known to whoever saw the process end.
    Lost { worker: WorkerKey },
    /// No worker could be started to run it.
    NoWorker,
    /// It ran longer than its timeout (`running`), or its deadline passed.
    TimedOut { running: bool },
    /// Its owner, or the policy on failures, ended it.
    Cancelled,
}

/// What a plan asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a process for this worker.
    Spawn { worker: WorkerKey },
    /// Send a job; jobs reach a worker in the order of `seq`, which begins at 1 and has no gaps.
    Send {
        worker: WorkerKey,
        job: JobKey,
        seq: u64,
        attempt: u32,
    },
    /// Take a job back if the worker has not begun it; answered by [`Event::Recalled`].
    Recall { worker: WorkerKey, seq: u64 },
    /// Make a worker end.
    Stop { worker: WorkerKey, force: Force },
    /// Let a worker without jobs end by itself.
    Retire { worker: WorkerKey },
    /// The job has ended; its key is free.
    End { job: JobKey, ending: Ending },
}
