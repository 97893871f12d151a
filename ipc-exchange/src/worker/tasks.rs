//! Running one task after another.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::current::{CURRENT, Current};
use super::lifeline::{enter, rest, watch};
use super::recording::run_guarded;
use super::serve::Control;
use super::{EXIT_ORPHAN, EXIT_REFUSED};
use crate::chunk::Part;
use crate::outcome::lock;
use crate::payload::Payload;
use crate::sys::Page;
use crate::wire::{CREDIT, Finished, FromWorker, Run, ToWorker};
use crate::{Registry, TaskId};

/// The channel to the exchange. The main thread has it between tasks, the task's
/// [`Yield`](crate::Yield) while one runs.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) control: Control,
    /// Jobs that came and were not begun.
    pub(super) queued: VecDeque<Run>,
    /// How many items the running task may yield before it has to wait.
    pub(super) credit: u32,
}

pub(super) static LINK: OnceLock<Mutex<Link>> = OnceLock::new();

pub(super) fn run_tasks(
    registry: &'static Registry,
    mut control: Control,
    extra: OwnedFd,
    initializer: Option<(TaskId, Payload)>,
    marker: Option<String>,
) -> i32 {
    let Ok(page) = Page::open(extra) else {
        return EXIT_REFUSED;
    };
    let current = CURRENT.get_or_init(|| Current::new(page));
    if watch(&control, Duration::ZERO).is_err() {
        return EXIT_REFUSED;
    }
    if let Some((task, argument)) = initializer {
        let result = run_guarded(registry, task, argument.bytes(), None);
        if !matches!(result, Finished::Returned { failed: false, .. }) {
            let reason = format!("the initializer failed: {result:?}");
            let _ = control.send(FromWorker::Refused(reason));
            return EXIT_REFUSED;
        }
    }
    mark(marker.as_deref(), 0);
    if control.send(FromWorker::Ready).is_err() {
        return EXIT_ORPHAN;
    }
    let link = LINK.get_or_init(|| {
        Mutex::new(Link {
            control,
            queued: VecDeque::new(),
            credit: 0,
        })
    });
    loop {
        let run = match lock(link).next() {
            Ok(run) => run,
            Err(code) => return code,
        };
        let answer = if current.page().begin(run.seq) {
            let answer = run_one(registry, current, &run);
            mark(marker.as_deref(), run.seq);
            answer
        } else {
            FromWorker::Skipped { seq: run.seq }
        };
        if lock(link).control.send(answer).is_err() {
            return EXIT_ORPHAN;
        }
    }
}

impl Link {
    /// The next job, or the code to exit with.
    fn next(&mut self) -> Result<Run, i32> {
        self.credit = CREDIT;
        loop {
            if let Some(run) = self.queued.pop_front() {
                return Ok(run);
            }
            match self.control.recv() {
                Ok(ToWorker::Run(runs)) => self.queued.extend(runs),
                // For a task that has ended.
                Ok(ToWorker::Credit { .. }) => {}
                Ok(ToWorker::Hello(_)) => return Err(EXIT_REFUSED),
                // Dismissed, or the parent is gone: nothing is in hand either way.
                Err(_) => return Err(0),
            }
        }
    }
}

fn run_one(registry: &Registry, current: &Current, run: &Run) -> FromWorker {
    current.set(run);
    enter();
    let started = Instant::now();
    let result = run_guarded(registry, run.task, run.argument.bytes(), run.chunk);
    let ran = started.elapsed();
    rest();
    current.clear();
    FromWorker::Done {
        seq: run.seq,
        ran_ns: u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX),
        result,
    }
}

/// Tells the exchange what came of some arguments of the chunk that runs.
pub(crate) fn tell_part(part: Part) {
    if let (Some(link), Some(current)) = (LINK.get(), CURRENT.get()) {
        let seq = current.seq();
        // An exchange that is gone is noticed elsewhere.
        let _ = lock(link).control.send(FromWorker::Part { seq, part });
    }
}

/// Separates in the captured output what one task wrote from what the next will.
fn mark(marker: Option<&str>, seq: u64) {
    if let Some(marker) = marker {
        let mut out = std::io::stdout().lock();
        // A task that has closed its standard output has no output to separate.
        let _ = writeln!(out, "{marker}{seq}").and_then(|()| out.flush());
    }
}
