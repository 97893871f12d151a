//! How an exchange is made, and how a task is to be treated.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::codec::encode;
use crate::launch::Launch;
use crate::payload::Payload;
use crate::plan::{Config, Halt};
use crate::{Exchange, IntoTask, TaskId};

/// Options of an [`Exchange`].
///
/// # Examples
///
/// ```no_run
/// use ipc_exchange::ExchangeOptions;
/// use std::time::Duration;
///
/// let exchange = ExchangeOptions::new()
///     .limit(4)
///     .retries(1)
///     .timeout(Duration::from_secs(30))
///     .open()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExchangeOptions {
    pub(crate) config: Config,
    pub(crate) launch: Launch,
    pub(crate) backlog: usize,
    pub(crate) task: TaskOptions,
    pub(crate) initializer: Option<(TaskId, Payload)>,
    pub(crate) capture: bool,
    pub(crate) memory_max: Option<u64>,
    pub(crate) start: Start,
    pub(crate) cgroup: Option<PathBuf>,
    /// Why the initializer cannot be used, told by `open`.
    invalid: Option<String>,
}

impl Default for ExchangeOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ExchangeOptions {
    /// As many workers as this process may use processors, no retries, no time-outs, workers used
    /// again and again, and a backlog of 65,536 tasks.
    pub fn new() -> Self {
        let limit = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            config: Config {
                limit,
                tasks_max: None,
                age_max: None,
                prefetch: true,
                deaths_max: 3,
                backoff: Duration::ZERO,
                ask_grace: Duration::ZERO,
                terminate_grace: Duration::from_millis(50),
                halt: Halt::Never,
            },
            launch: Launch::default(),
            backlog: 65_536,
            task: TaskOptions::new(),
            initializer: None,
            capture: false,
            memory_max: None,
            start: Start::Spawn,
            cgroup: None,
            invalid: None,
        }
    }

    /// How many workers are alive at any time, at most; at least 1.
    pub fn limit(mut self, workers: usize) -> Self {
        self.config.limit = workers.max(1);
        self
    }

    /// Whether a worker runs one task after another (the default), or each task gets a new process.
    pub fn reuse(self, reuse: bool) -> Self {
        self.tasks_max(if reuse { u64::MAX } else { 1 })
    }

    /// How workers' processes come to be; [`Start::Spawn`] unless set.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Replaces a worker after this many tasks.
    pub fn tasks_max(mut self, tasks: u64) -> Self {
        self.config.tasks_max = (tasks < u64::MAX).then_some(tasks.max(1));
        self
    }

    /// Replaces a worker that is older than this when it has answered for a task.
    pub fn age_max(mut self, age: Duration) -> Self {
        self.config.age_max = Some(age);
        self
    }

    /// Replaces a worker that has more than this many bytes of memory resident, looked at now and
    /// then when it has answered for a task.
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.memory_max = Some(bytes);
        self
    }

    /// Captures what workers write to standard output and error; otherwise they share this process's.
    /// The last 64 KiB that a failed task wrote are in its [`Report`](crate::Report).
    pub fn capture(mut self, capture: bool) -> Self {
        self.capture = capture;
        self
    }

    /// Whether a worker is sent tasks before it has answered for the one it runs (the default). They
    /// are taken back when it dies, when they are cancelled, and when another worker is idle.
    pub fn prefetch(mut self, prefetch: bool) -> Self {
        self.config.prefetch = prefetch;
        self
    }

    /// How often a task is started again after the worker running it died; 0 unless set here or for
    /// the task. Only for tasks that may run twice.
    pub fn retries(mut self, retries: u32) -> Self {
        self.task.retries = retries;
        self
    }

    /// How many workers one task may cost, whatever its retries: 3 unless set here.
    pub fn deaths_max(mut self, deaths: u32) -> Self {
        self.config.deaths_max = deaths.max(1);
        self
    }

    /// How long before a lost task is started again; doubled with every attempt. Zero unless set.
    pub fn backoff(mut self, wait: Duration) -> Self {
        self.config.backoff = wait;
        self
    }

    /// How long a task may run before its worker is killed; without limit unless set here or for the
    /// task.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.task.timeout = Some(timeout);
        self
    }

    /// How long a running task that is cancelled or out of time may take to notice
    /// [`Current::is_cancelled`](crate::Current::is_cancelled) before its worker gets SIGTERM. Zero
    /// unless set: it gets SIGTERM at once.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.config.ask_grace = grace;
        self
    }

    /// How long after SIGTERM a worker gets SIGKILL; 50 ms unless set.
    pub fn kill_grace(mut self, grace: Duration) -> Self {
        self.config.terminate_grace = grace;
        self
    }

    /// When failures stop everything; never unless set. After that, everything submitted is
    /// cancelled.
    pub fn halt(mut self, halt: Halt) -> Self {
        self.config.halt = halt;
        self
    }

    /// How many tasks may be submitted and not ended; at least 1. Beyond that
    /// [`submit`](Exchange::submit) waits and [`try_submit`](Exchange::try_submit) fails.
    pub fn backlog(mut self, tasks: usize) -> Self {
        self.backlog = tasks.max(1);
        self
    }

    /// Runs a registered task in every worker before its first task. A worker whose initializer
    /// fails does not work; if no worker can be started, tasks end with
    /// [`Cause::NoWorker`](crate::Cause::NoWorker).
    pub fn initializer<A: Serialize, R>(mut self, task: impl IntoTask<A, R>, argument: &A) -> Self {
        match encode(argument) {
            Ok(payload) => self.initializer = Some((task.into_task().id(), payload)),
            Err(reason) => self.invalid = Some(reason),
        }
        self
    }

    /// Puts workers into this control group as soon as they are started: the folder of one that was
    /// made, and given its limits, before. When the kernel kills a worker for want of memory, its
    /// task's error says so; without this option the group of this process is asked. Linux only.
    pub fn worker_cgroup(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(folder.into());
        self
    }

    /// Another program for the workers, which calls [`init`](crate::init) with the same registry
    /// first thing in its `main`. Found along `PATH` if it has no slash.
    pub fn worker_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.launch.program = Some(program.into().into_os_string());
        self
    }

    /// An argument for the workers' command line, which is empty otherwise.
    pub fn worker_argument(mut self, argument: impl Into<OsString>) -> Self {
        self.launch.arguments.push(argument.into());
        self
    }

    /// A variable for the workers' environment, which is this process's otherwise.
    pub fn worker_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.launch.environment.push((name.into(), value.into()));
        self
    }

    /// Opens the exchange. Workers are started when there are tasks for them.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) when [`init`](crate::init) was not called;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when the initializer's argument cannot be
    /// encoded; else what the system says.
    pub fn open(mut self) -> io::Result<Exchange> {
        self.launch.is_brief = self.config.tasks_max.is_some_and(|tasks| tasks <= BRIEF);
        if let Some(reason) = self.invalid {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        Exchange::open(self)
    }
}

/// How workers' processes come to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// By starting the program again: the surest, in about a millisecond.
    #[default]
    Spawn,
    /// By a fork of a process that was started for that and has one thread: in a tenth of the time,
    /// whatever this process's size. For a process per task. Linux only, elsewhere as `Spawn`; and
    /// refused if the program starts threads before [`init`](crate::init).
    Zygote,
}

/// Workers that run at most this many tasks talk through sockets, which are made faster than rings.
const BRIEF: u64 = 16;

/// How one task is to be treated, where it differs from the exchange's [`ExchangeOptions`].
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    pub(crate) retries: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) priority: i8,
}

impl TaskOptions {
    /// No retries, no limits of time, priority 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// How often it is started again after the worker running it died.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// How long it may run before its worker is killed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// When it must have ended, waiting included.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Tasks with a higher priority are begun first; equal ones in the order of submission.
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }
}
