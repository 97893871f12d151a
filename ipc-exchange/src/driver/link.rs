//! One worker's process, as the exchange sees it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_dispatch::{Control as Keep, Descriptor, Key, Registry, SourceId};
use ipc_marshal::TrySendError;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::output::Output;
use super::state::Driver;
use crate::cgroup::Memory;
use crate::launch::{Control, Launch, Launched};
use crate::payload::Payload;
use crate::plan::WorkerKey;
use crate::sys::Page;
use crate::wire::{Role, Run, ToWorker};
use crate::zygote::Zygote;
use crate::{Exit, TaskId};

/// How often a worker's memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(50);

/// How many bytes of arguments share a frame: one that fits into the channel is written there at
/// once, without a copy.
const FRAME_LEN: usize = 64 * 1024;

/// A worker's process as long as it is not reaped and read to its end.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) key: Key<Control>,
    pub(super) pid: u32,
    pub(super) child: Option<SourceId>,
    pub(super) page: Page,
    /// Jobs to be sent with the next frame, and the bytes of their arguments.
    batch: Vec<Run>,
    batch_len: usize,
    /// Frames to be written, and whether a handler waits for room for them.
    unsent: VecDeque<ToWorker>,
    waits_for_room: bool,
    /// The last sequence numbers that were answered and sent.
    pub(super) answered: u64,
    pub(super) sent: u64,
    /// The keys of the jobs sent and not answered.
    window: VecDeque<usize>,
    pub(super) exit: Option<Exit>,
    output: Option<(Output, Key<Descriptor<File>>)>,
    memory_seen: Instant,
    /// How many processes the kernel had killed for want of memory when this one was started.
    pub(super) kills_before: u64,
}

/// How an exchange's workers are started.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) launch: Launch,
    pub(super) initializer: Option<(TaskId, Payload)>,
    pub(super) capture: bool,
    /// Whether workers are forked from a zygote, which is started with the first of them.
    pub(super) forks: bool,
    pub(super) zygote: Option<Zygote>,
    pub(super) memory: Memory,
}

impl Starting {
    /// Starts a worker's process and registers its channel, its output and its end.
    pub(super) fn start(
        &mut self,
        key: WorkerKey,
        registry: &mut Registry<Driver>,
    ) -> io::Result<Link> {
        let page = Page::new()?;
        let extra = page.as_fd().try_clone_to_owned()?;
        let (output, pipe) = match self.capture {
            true => (Some(Output::new()), Some(crate::pipe::open()?)),
            false => (None, None),
        };
        let role = Role::Worker {
            initializer: self.initializer.clone(),
            marker: output.as_ref().map(Output::marker),
        };
        let (reader, writer): (Option<File>, Option<OwnedFd>) = pipe.unzip();
        let kills_before = self.memory.kills();
        let mut launched = self.launch(role, extra, writer, registry)?;
        let pid = launched.child.id();
        if let Err(error) = self.memory.admit(pid) {
            launched.child.kill()?;
            launched.child.wait()?;
            return Err(error);
        }
        let child = registry.on_child(pid, move |status, ctx| {
            let exit = status.map_or(Exit::Unknown, Exit::from);
            ctx.state.exited(key, exit, ctx.registry);
        });
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                launched.child.kill()?;
                launched.child.wait()?;
                return Err(error);
            }
        };
        let source = registry.add(launched.control);
        let output = match output.zip(reader) {
            Some((output, reader)) => Some((output, add_output(key, reader, registry)?)),
            None => None,
        };
        registry.on_message(source, move |_: &mut Control, message, ctx| {
            ctx.state.message(key, message);
            ctx.state.pump_later(ctx.registry);
        })?;
        Ok(Link {
            key: source,
            pid,
            child: Some(child),
            page,
            batch: Vec::new(),
            batch_len: 0,
            unsent: VecDeque::new(),
            waits_for_room: false,
            answered: 0,
            sent: 0,
            window: VecDeque::new(),
            exit: None,
            output,
            memory_seen: Instant::now(),
            kills_before,
        })
    }
}

impl Starting {
    fn launch(
        &mut self,
        role: Role,
        extra: OwnedFd,
        output: Option<OwnedFd>,
        registry: &mut Registry<Driver>,
    ) -> io::Result<Launched> {
        if !self.forks {
            return self.launch.start(role, extra, output);
        }
        let Self { launch, zygote, .. } = self;
        let fork = |fds: &[OwnedFd]| {
            if let Some(zygote) = zygote {
                let forked = zygote.fork(fds);
                if forked.is_ok() {
                    return forked;
                }
            }
            // There is none, or it was killed or is stuck, which costs no task its start. What the
            // old one may have forked goes with it.
            drop(zygote.take());
            let fresh = Zygote::start(launch)?;
            let pid = fresh.id();
            registry.on_child(pid, move |_, ctx| {
                ctx.state.zygote_exited(pid, ctx.registry);
            })?;
            zygote.insert(fresh).fork(fds)
        };
        launch.fork(fork, role, extra, output)
    }
}

fn add_output(
    key: WorkerKey,
    reader: File,
    registry: &mut Registry<Driver>,
) -> io::Result<Key<Descriptor<File>>> {
    let source = registry.add(Descriptor(reader));
    registry.on_readable(source, move |pipe: &mut Descriptor<File>, ctx| {
        match ctx.state.link(key).and_then(|link| link.output.as_mut()) {
            Some((output, known)) if known.id() == source.id() => {
                if output.read(&pipe.0) {
                    Keep::Keep
                } else {
                    Keep::Drop
                }
            }
            _ => Keep::Close,
        }
    })?;
    Ok(source)
}

impl Link {
    /// Queues the batch as a frame and writes what there is room for; when there is none, the
    /// selector writes later.
    pub(super) fn send_batch(
        &mut self,
        key: WorkerKey,
        registry: &mut Registry<Driver>,
    ) -> io::Result<()> {
        self.end_frame();
        self.flush(key, registry)
    }

    /// Queues a frame and writes what there is room for.
    pub(super) fn send(
        &mut self,
        frame: ToWorker,
        key: WorkerKey,
        registry: &mut Registry<Driver>,
    ) -> io::Result<()> {
        self.unsent.push_back(frame);
        self.flush(key, registry)
    }

    fn end_frame(&mut self) {
        if !self.batch.is_empty() {
            self.batch_len = 0;
            let frame = ToWorker::Run(std::mem::take(&mut self.batch));
            self.unsent.push_back(frame);
        }
    }

    fn flush(&mut self, key: WorkerKey, registry: &mut Registry<Driver>) -> io::Result<()> {
        if self.unsent.is_empty() || self.waits_for_room {
            return Ok(());
        }
        let source = self.key;
        let Some(duct) = registry.get_mut(source) else {
            return Ok(());
        };
        if self.write(duct) {
            return Ok(());
        }
        self.waits_for_room = true;
        registry.on_writable(source, move |duct: &mut Control, ctx| {
            let link = ctx.state.link(key);
            match link.filter(|link| link.key.id() == source.id()) {
                Some(link) => {
                    link.waits_for_room = !link.write(duct);
                    match link.waits_for_room {
                        true => Keep::Keep,
                        false => Keep::Drop,
                    }
                }
                None => Keep::Drop,
            }
        })
    }

    /// Writes frames while there is room; answers whether all are written.
    fn write(&mut self, duct: &mut Control) -> bool {
        while let Some(frame) = self.unsent.pop_front() {
            match duct.try_send(frame) {
                Ok(()) => {}
                Err(TrySendError::Full(frame)) => {
                    self.unsent.push_front(frame);
                    return false;
                }
                // The worker is gone or will be; its end tells what became of its jobs.
                Err(_) => self.signal(Signal::SIGKILL),
            }
        }
        true
    }

    /// Signals the worker and what it has started. It has not been reaped, so its number is its own.
    pub(super) fn signal(&self, signal: Signal) {
        if self.exit.is_none()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // An error means that it has just ended.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }

    /// Kills what a worker that has just died has started. A process group's number is given to no
    /// new process while the group has members, and to none so soon after it had.
    pub(super) fn kill_group(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// A job is on its way to the worker.
    pub(super) fn push(&mut self, job: usize, run: Run) {
        self.page.publish(run.seq);
        self.sent = run.seq;
        self.window.push_back(job);
        let len = run.argument.bytes().len();
        if self.batch_len + len > FRAME_LEN {
            self.end_frame();
        }
        self.batch_len += len;
        self.batch.push(run);
    }

    /// The worker has answered for a job.
    pub(super) fn answered(&mut self, seq: u64) {
        while self.answered < seq && self.window.pop_front().is_some() {
            self.answered += 1;
        }
    }

    /// The key of a job that was sent and not answered.
    pub(super) fn job(&self, seq: u64) -> Option<usize> {
        let index = seq.checked_sub(self.answered + 1)?;
        self.window.get(usize::try_from(index).ok()?).copied()
    }

    /// What the job that has just been answered wrote.
    pub(super) fn output_of(&mut self, seq: u64, registry: &mut Registry<Driver>) -> String {
        match self.drain_output(registry) {
            Some(output) => output.take(seq),
            None => String::new(),
        }
    }

    /// What the job that was running wrote before the worker died.
    pub(super) fn last_output(&mut self, registry: &mut Registry<Driver>) -> String {
        match self.drain_output(registry) {
            Some(output) => output.rest(),
            None => String::new(),
        }
    }

    fn drain_output(&mut self, registry: &mut Registry<Driver>) -> Option<&mut Output> {
        let (output, key) = self.output.as_mut()?;
        if let Some(pipe) = registry.get_mut(*key) {
            output.read(&pipe.0);
        }
        Some(output)
    }

    /// Takes the worker's sources out of the selector.
    pub(super) fn close(&self, registry: &mut Registry<Driver>) {
        registry.close(self.key);
        if let Some((_, key)) = &self.output {
            registry.close(*key);
        }
    }

    /// Whether the worker has more memory resident than this. Looked at now and then.
    pub(super) fn exceeds(&mut self, memory_max: u64, now: Instant) -> bool {
        if now < self.memory_seen + MEMORY_EVERY {
            return false;
        }
        self.memory_seen = now;
        resident(self.pid).is_some_and(|bytes| bytes > memory_max)
    }

    /// The last job that the worker has begun.
    pub(super) fn begun(&self) -> u64 {
        let mut window = (self.answered + 1..=self.sent).rev();
        window
            .find(|seq| self.page.is_begun(*seq))
            .unwrap_or(self.answered)
    }
}

/// How much memory a process has resident, in bytes, where the system tells.
pub(super) fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
