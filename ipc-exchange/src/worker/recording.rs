//! What a panic of a task says, kept for its owner.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

use crate::wire::Finished;
use crate::{Registry, TaskId};

/// Runs a task; its panic is a result like others.
pub(super) fn run_guarded(registry: &Registry, task: TaskId, argument: &[u8]) -> Finished {
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

/// Runs `work`; a panic was seen by the hook.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, ()> {
    catch_unwind(AssertUnwindSafe(work)).map_err(drop)
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
