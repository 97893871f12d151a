//! What a worker's process does instead of the rest of `main`.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::{AnyChannel, inherited};
use ipc_marshal::Duct;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, getpid};

use crate::launch::{CONTROL, EXTRA, VARIABLE, build_id, control_options, set_default_arguments};
use crate::registry::guarded;
use crate::sys::{Page, die_with_parent};
use crate::wire::{Finished, FromWorker, Hello, PROTOCOL, Role, Run, ToWorker};
use crate::{Registry, TaskId};

/// The exit code of a worker whose parent has died.
pub(crate) const EXIT_ORPHAN: i32 = 121;

/// The exit code of a worker that refused to work.
pub(crate) const EXIT_REFUSED: i32 = 122;

/// How long a program has to end by itself after its parent has died: its own channel told it.
const PROGRAM_GRACE: Duration = Duration::from_millis(300);

/// Makes this program able to have workers, and be one.
///
/// To be called first thing in `main`. In a process that an exchange has started it runs the tasks
/// it is sent and **never returns**; in any other it records the registry and returns at once.
///
/// Under `cargo test` either give the test binary a `main` (`harness = false`), or see
/// [`init_in_test`].
///
/// # Examples
///
/// ```
/// use ipc_exchange::{Exchange, init, registry};
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init(registry![square]);
///     let exchange = Exchange::new(2)?;
///     let handle = exchange.submit(square, 7)?;
///     assert_eq!(handle.wait()?, 49);
///     Ok(())
/// }
/// ```
///
/// # Panics
///
/// When called again with another registry.
pub fn init(registry: Registry) {
    let registry = registry.install();
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    // A process that a task started inherits the variable and not the descriptors.
    let (Ok(control), Ok(extra)) = (inherited(CONTROL), inherited(EXTRA)) else {
        return;
    };
    let code = match AnyChannel::from_fd(control) {
        Ok(channel) => serve(registry, channel, extra),
        Err(_) => EXIT_REFUSED,
    };
    std::process::exit(code);
}

/// [`init`] for tests under the standard harness, whose `main` cannot be changed.
///
/// Write one test that only calls this, and give its full name as `hook`; call it with the same
/// arguments at the start of every test that has workers. A worker is then the test binary, told to
/// run that one test.
///
/// ```no_run
/// # fn square(x: u64) -> u64 { x * x }
/// fn set_up() {
///     ipc_exchange::init_in_test("worker_hook", ipc_exchange::registry![square]);
/// }
///
/// # const _: &str = stringify! {
/// #[test]
/// # };
/// fn worker_hook() {
///     set_up();
/// }
/// ```
///
/// The task runs on one of the harness's threads and the harness prints a line to the worker's
/// standard output before it; a worker that must be alone in its process needs `harness = false`.
pub fn init_in_test(hook: &str, registry: Registry) {
    let arguments = [hook, "--exact", "--nocapture", "--test-threads=1"];
    set_default_arguments(arguments.iter().map(Into::into).collect());
    init(registry);
}

/// Whether the parent was seen to be gone.
static ORPHANED: AtomicBool = AtomicBool::new(false);
/// Whether a task or program runs.
static BUSY: AtomicBool = AtomicBool::new(false);

fn serve(registry: &'static Registry, channel: AnyChannel, extra: std::os::fd::OwnedFd) -> i32 {
    let mut control: Duct<FromWorker, ToWorker> = control_options().from_channel(channel);
    let hello = match control.recv() {
        Ok(ToWorker::Hello(hello)) => hello,
        // The parent is gone already, or is no parent.
        _ => return EXIT_ORPHAN,
    };
    if let Err(reason) = check(&hello, registry) {
        // If it cannot be told, the exit code tells it.
        let _ = control.send(FromWorker::Refused(reason));
        return EXIT_REFUSED;
    }
    record_panics();
    match hello.role {
        Role::Worker { initializer } => {
            if die_with_parent(hello.parent).is_err() {
                return EXIT_REFUSED;
            }
            run_tasks(registry, control, extra, initializer)
        }
        Role::Program { task, argument } => {
            run_program(registry, control, extra, task, &argument.0)
        }
    }
}

fn check(hello: &Hello, registry: &Registry) -> Result<(), String> {
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "the parent speaks protocol {}, this worker {PROTOCOL}",
            hello.protocol
        ));
    }
    if hello.build != 0 && hello.build != build_id() {
        return Err("the worker is not the parent's executable file".into());
    }
    if hello.registry != registry.hash() {
        return Err("the worker's registry is not the parent's".into());
    }
    Ok(())
}

fn run_tasks(
    registry: &'static Registry,
    mut control: Duct<FromWorker, ToWorker>,
    extra: std::os::fd::OwnedFd,
    initializer: Option<(TaskId, crate::wire::Payload)>,
) -> i32 {
    let Ok(page) = Page::open(extra) else {
        return EXIT_REFUSED;
    };
    let page = CURRENT.get_or_init(|| Current::new(page)).page();
    if watch(&control, Duration::ZERO).is_err() {
        return EXIT_REFUSED;
    }
    if let Some((task, argument)) = initializer {
        let result = run_guarded(registry, task, &argument.0);
        if !matches!(result, Finished::Returned { failed: false, .. }) {
            let reason = format!("the initializer failed: {result:?}");
            let _ = control.send(FromWorker::Refused(reason));
            return EXIT_REFUSED;
        }
    }
    if control.send(FromWorker::Ready).is_err() {
        return EXIT_ORPHAN;
    }
    loop {
        let runs = match control.recv() {
            Ok(ToWorker::Run(runs)) => runs,
            Ok(ToWorker::Hello(_)) => return EXIT_REFUSED,
            // Dismissed, or the parent is gone: nothing is in hand either way.
            Err(_) => return 0,
        };
        for run in runs {
            let answer = match page.begin(run.seq) {
                true => run_one(registry, &run),
                false => FromWorker::Skipped { seq: run.seq },
            };
            if control.send(answer).is_err() {
                return EXIT_ORPHAN;
            }
        }
    }
}

fn run_one(registry: &Registry, run: &Run) -> FromWorker {
    let current = CURRENT.get().expect("set before the first task");
    // Relaxed: read by the task's own threads, which are started after this.
    current.seq.store(run.seq, Ordering::Relaxed);
    current.job.store(run.job, Ordering::Relaxed);
    current.attempt.store(run.attempt, Ordering::Relaxed);
    enter();
    let started = Instant::now();
    let result = run_guarded(registry, run.task, &run.argument.0);
    let ran = started.elapsed();
    leave();
    current.seq.store(0, Ordering::Relaxed);
    FromWorker::Done {
        seq: run.seq,
        ran_ns: u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX),
        result,
    }
}

fn run_guarded(registry: &Registry, task: TaskId, argument: &[u8]) -> Finished {
    PANIC.with_borrow_mut(|panic| *panic = Recording::Armed);
    let result = guarded(|| registry.run(task, argument));
    let recorded = PANIC.with_borrow_mut(std::mem::take);
    match (result, recorded) {
        (Ok(finished), _) => finished,
        (Err(()), Recording::Done(panicked)) => panicked,
        (Err(()), _) => Finished::Panicked {
            message: "unknown".into(),
            location: None,
            backtrace: None,
        },
    }
}

fn run_program(
    registry: &'static Registry,
    mut control: Duct<FromWorker, ToWorker>,
    extra: std::os::fd::OwnedFd,
    task: TaskId,
    argument: &[u8],
) -> i32 {
    let Ok(channel) = AnyChannel::from_fd(extra) else {
        return EXIT_REFUSED;
    };
    if watch(&control, PROGRAM_GRACE).is_err() || control.send(FromWorker::Ready).is_err() {
        return EXIT_REFUSED;
    }
    enter();
    match guarded(|| registry.run_program(task, channel, argument)) {
        Ok(Ok(())) => 0,
        Ok(Err(reason)) => {
            let _ = control.send(FromWorker::Refused(reason));
            EXIT_REFUSED
        }
        // As a panic in `main`.
        Err(()) => 101,
    }
}

fn enter() {
    // SeqCst: pairs with the watcher, which sets ORPHANED and then reads BUSY. One of the two sees
    // the other's.
    BUSY.store(true, Ordering::SeqCst);
    if ORPHANED.load(Ordering::SeqCst) {
        std::process::exit(EXIT_ORPHAN);
    }
}

fn leave() {
    BUSY.store(false, Ordering::SeqCst);
}

/// Starts the thread that ends this process, and what it has started, when the parent is gone: a
/// task that computes does not look at its channel.
fn watch(control: &Duct<FromWorker, ToWorker>, grace: Duration) -> std::io::Result<()> {
    let lifeline = control.inbound().try_clone_to_owned()?;
    let watcher = move || {
        loop {
            // No event is asked for: only the hang-up, which is always told, ends the wait.
            let mut fds = [PollFd::new(lifeline.as_fd(), PollFlags::empty())];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
        }
        ORPHANED.store(true, Ordering::SeqCst);
        if !BUSY.load(Ordering::SeqCst) {
            // The main thread reads the end of its channel and ends in order.
            return;
        }
        let until = Instant::now() + grace;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
        if getpgrp() == getpid() {
            // The group is this worker's own: what the task has started goes with it.
            let _ = kill(Pid::from_raw(0), Signal::SIGKILL);
        }
        std::process::exit(EXIT_ORPHAN);
    };
    thread::Builder::new()
        .name("ipc-lifeline".into())
        .stack_size(64 * 1024)
        .spawn(watcher)
        .map(drop)
}

/// What the panic hook has seen on the thread that runs the task.
#[derive(Default)]
enum Recording {
    /// No task runs on this thread: panics are printed as usual.
    #[default]
    Off,
    Armed,
    Done(Finished),
}

thread_local! {
    static PANIC: RefCell<Recording> = const { RefCell::new(Recording::Off) };
}

/// Keeps what a panic of a task says for its owner instead of printing it.
fn record_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let message = match (
            payload.downcast_ref::<&str>(),
            payload.downcast_ref::<String>(),
        ) {
            (Some(message), _) => (*message).to_owned(),
            (_, Some(message)) => message.clone(),
            _ => "a value that is not a string".into(),
        };
        let recorded = PANIC.with(|panic| {
            let Ok(mut panic) = panic.try_borrow_mut() else {
                return false;
            };
            if matches!(*panic, Recording::Off) {
                return false;
            }
            let backtrace = std::backtrace::Backtrace::capture();
            let captured = backtrace.status() == std::backtrace::BacktraceStatus::Captured;
            *panic = Recording::Done(Finished::Panicked {
                message,
                location: info.location().map(ToString::to_string),
                backtrace: captured.then(|| backtrace.to_string()),
            });
            true
        });
        if !recorded {
            print(info);
        }
    }));
}

/// What a running task can know about itself.
#[derive(Debug)]
pub struct Current {
    page: Arc<Page>,
    seq: AtomicU64,
    job: AtomicU64,
    attempt: AtomicU32,
}

static CURRENT: OnceLock<Current> = OnceLock::new();

/// The task that runs in this process, or `None` where none does: outside workers, and in programs.
pub fn current() -> Option<&'static Current> {
    CURRENT
        .get()
        .filter(|current| current.seq.load(Ordering::Relaxed) != 0)
}

impl Current {
    fn new(page: Page) -> Self {
        Self {
            page: Arc::new(page),
            seq: AtomicU64::new(0),
            job: AtomicU64::new(0),
            attempt: AtomicU32::new(0),
        }
    }

    fn page(&self) -> Arc<Page> {
        Arc::clone(&self.page)
    }

    /// Whether the task's owner wants it to end: a task that runs long looks now and then and
    /// returns. See [`ExchangeOptions::cancel_grace`](crate::ExchangeOptions::cancel_grace).
    pub fn is_cancelled(&self) -> bool {
        self.page.is_asked(self.seq.load(Ordering::Relaxed))
    }

    /// The number of the submission within its exchange, from 1.
    pub fn job(&self) -> u64 {
        self.job.load(Ordering::Relaxed)
    }

    /// How often the task was begun, this time included.
    pub fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }
}
