//! What can go wrong, per operation.

use std::fmt;
use std::time::Duration;

use crate::TaskId;

/// How a worker's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// How is not known: it was waited for elsewhere.
    Unknown,
}

impl Exit {
    /// Whether it exited with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Signal { signal, .. } => Some(signal),
            _ => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal {
                signal,
                core_dumped: false,
            } => write!(f, "signal {signal}"),
            Self::Signal { signal, .. } => write!(f, "signal {signal}, core dumped"),
            Self::Unknown => f.write_str("unknown status"),
        }
    }
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal {
                signal,
                core_dumped: status.core_dumped(),
            },
            (None, None) => Self::Unknown,
        }
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The function panicked. The worker lives.
    Panicked {
        /// What the panic said; for a payload that is no string, that.
        message: String,
        /// File, line and column.
        location: Option<String>,
        /// The backtrace, if `RUST_BACKTRACE` asks for one.
        backtrace: Option<String>,
    },
    /// The worker's process ended while it ran the task.
    Lost {
        /// How it ended.
        exit: Exit,
        /// Whether the kernel killed it because memory ran out, as far as the workers' control group
        /// tells: see [`ExchangeOptions::worker_cgroup`](crate::ExchangeOptions::worker_cgroup).
        out_of_memory: bool,
    },
    /// No worker could be started.
    NoWorker {
        /// What failed.
        reason: String,
    },
    /// It ran longer than its time-out, or its deadline passed.
    TimedOut {
        /// Whether it had been begun.
        running: bool,
    },
    /// Its owner, the policy on failures, or the end of the exchange ended it.
    Cancelled,
    /// The worker could not read the argument.
    BadArgument {
        /// What the codec says.
        reason: String,
    },
    /// The result could not be written by the worker or not be read here.
    BadResult {
        /// What the codec says.
        reason: String,
    },
    /// The worker does not have the task: it is another program with another registry.
    Unknown,
}

/// A task that has no result: why, and where it ran.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("task {} ({}) {}", .0.task, .0.job, .0)]
pub struct TaskError(Box<Report>);

/// What is known about a task that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The function's full path.
    pub task: &'static str,
    /// The function's id.
    pub task_id: TaskId,
    /// The number of the submission within its exchange, from 1.
    pub job: u64,
    /// How often it was begun.
    pub attempt: u32,
    /// The process that ran it last.
    pub pid: Option<u32>,
    /// From submission to the last start.
    pub queued: Duration,
    /// From the last start to the end.
    pub ran: Duration,
    /// The end of what the worker wrote to standard output and error, if that is captured.
    pub output: String,
    /// Why it failed.
    pub cause: Cause,
}

impl TaskError {
    pub(crate) fn new(report: Report) -> Self {
        Self(Box::new(report))
    }

    /// Why there is no result.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// All that is known.
    pub fn report(&self) -> &Report {
        &self.0
    }

    /// Whether the worker's process ended while it ran the task.
    pub fn is_lost(&self) -> bool {
        matches!(self.0.cause, Cause::Lost { .. })
    }

    /// Whether the function panicked.
    pub fn is_panicked(&self) -> bool {
        matches!(self.0.cause, Cause::Panicked { .. })
    }

    /// Whether time ran out.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.0.cause, Cause::TimedOut { .. })
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.cause, Cause::Cancelled)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Panicked {
                message, location, ..
            } => {
                write!(f, "panicked: {message}")?;
                if let Some(location) = location {
                    write!(f, ", at {location}")?;
                }
            }
            Cause::Lost {
                exit,
                out_of_memory,
            } => {
                write!(f, "its worker died: {exit}")?;
                if *out_of_memory {
                    f.write_str(", out of memory")?;
                }
            }
            Cause::NoWorker { reason } => write!(f, "no worker could be started: {reason}")?,
            Cause::TimedOut { running: true } => f.write_str("ran longer than its time-out")?,
            Cause::TimedOut { running: false } => f.write_str("its deadline passed")?,
            Cause::Cancelled => f.write_str("cancelled")?,
            Cause::BadArgument { reason } => write!(f, "its argument cannot be read: {reason}")?,
            Cause::BadResult { reason } => write!(f, "its result cannot be carried: {reason}")?,
            Cause::Unknown => f.write_str("the worker does not have it")?,
        }
        if let Some(pid) = self.pid {
            write!(f, " (pid {pid}, attempt {})", self.attempt)?;
        }
        Ok(())
    }
}

/// Why a task was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitReason {
    /// As many tasks wait as the exchange's backlog allows.
    #[error("the backlog is full")]
    Full,
    /// The backlog stayed full for as long as the caller would wait.
    #[error("the backlog was full until the time ran out")]
    Timeout,
    /// The exchange was finished or dropped.
    #[error("the exchange is closed")]
    Closed,
    /// The function is not in the registry that was given to [`init`](crate::init).
    #[error("{name} is not in the registry")]
    Unregistered {
        /// The function's full path.
        name: &'static str,
    },
    /// The argument could not be encoded.
    #[error("the argument cannot be encoded: {reason}")]
    BadArgument {
        /// What the codec says.
        reason: String,
    },
}

/// An error returned from the [`submit`](crate::Exchange::submit) methods: the argument, and why it
/// was not taken.
#[derive(Clone, PartialEq, Eq)]
pub struct SubmitError<A> {
    argument: A,
    reason: SubmitReason,
}

impl<A> SubmitError<A> {
    pub(crate) fn new(argument: A, reason: SubmitReason) -> Self {
        Self { argument, reason }
    }

    /// Why.
    pub fn reason(&self) -> &SubmitReason {
        &self.reason
    }

    /// Gives the argument back.
    pub fn into_inner(self) -> A {
        self.argument
    }
}

impl<A> fmt::Debug for SubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubmitError").field(&self.reason).finish()
    }
}

impl<A> fmt::Display for SubmitError<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<A> std::error::Error for SubmitError<A> {}

/// An error returned from [`Registry::task`](crate::Registry::task).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No registered function has this name.
    #[error("no task is called {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// Several have.
    #[error("{name} may be any of {candidates}")]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// The full paths.
        candidates: String,
    },
    /// The function has other types.
    #[error("{name} is {registered}, not {asked}")]
    Types {
        /// The function's full path.
        name: &'static str,
        /// Its signature.
        registered: String,
        /// The signature asked for.
        asked: String,
    },
}
