//! What a panic of a task says, kept for its owner.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use crate::wire::Finished;
use crate::{Registry, TaskId};

/// Runs a task; its panic is a result like others.
pub(super) fn run_guarded(
    registry: &Registry,
    task: TaskId,
    argument: &[u8],
    chunk: Option<usize>,
) -> Finished {
    recorded(|| registry.run(task, argument, chunk)).unwrap_or_else(|panicked| panicked)
}

/// Runs `work` and keeps what its panic says.
pub(crate) fn recorded<T>(work: impl FnOnce() -> T) -> Result<T, Finished> {
    let before = PANIC.with_borrow_mut(|panic| std::mem::replace(panic, Recording::Armed));
    let result = guarded(work);
    let recorded = PANIC.with_borrow_mut(|panic| std::mem::replace(panic, before));
    result.map_err(|message| match recorded {
        Recording::Done(panicked) => panicked,
        // One that did not go through the hook: `resume_unwind` takes a payload and is silent.
        Recording::Off | Recording::Armed => Finished::Panicked {
            message,
            location: None,
            backtrace: None,
        },
    })
}

/// Runs `work`; of a panic, which the hook has seen unless it was resumed, its message is left.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = message(&*payload);
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // Whoever throws values that panic when they are dropped would do so without end.
            std::mem::forget(again);
        }
        message
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => "a value that is not a string".into(),
    }
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
pub(super) fn record_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = message(info.payload());
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
