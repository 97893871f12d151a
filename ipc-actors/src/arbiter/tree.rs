//! What the arbiter supervises, and how it carries out what the supervisors decide.

use std::sync::Arc;
use std::time::Instant;

use ipc_dispatch::{AlarmId, Context, Next};

use super::handle::Shared;
use super::process::Process;
use super::slot::{AnySlot, Health};
use crate::cell::Turn;
use crate::deferred::Resolver;
use crate::id::IdMap;
use crate::link::Link;
use crate::{
    Action, ActorId, ChildKey, Event, ExitReason, SpawnError, Supervisor, SupervisorOptions,
};

/// What became of an incarnation.
#[derive(Debug)]
pub(super) enum Told {
    Started,
    Failed(ExitReason),
    Ended(ExitReason),
}

type GoneResolver = Resolver<Option<ExitReason>, SpawnError>;

struct Entry {
    key: ChildKey,
    slot: Box<dyn AnySlot>,
    last: Option<ExitReason>,
    /// Why its first start failed.
    rejected: Option<ExitReason>,
    /// Those who wait for its end.
    gone: Vec<GoneResolver>,
}

/// The state of the arbiter's loop.
pub(crate) struct Tree {
    pub(super) shared: Arc<Shared>,
    supervisor: Supervisor,
    actors: IdMap<ActorId, Entry>,
    keys: IdMap<ChildKey, ActorId>,
    alarm: Option<(AlarmId, Instant)>,
    ready: Vec<ActorId>,
    /// The exit status, once somebody has asked for the end.
    status: Option<i32>,
    pub(super) ended: Option<ExitReason>,
}

impl Tree {
    pub(super) fn new(shared: Arc<Shared>, options: SupervisorOptions) -> Self {
        let seed = std::process::id();
        let mut supervisor = Supervisor::new(options, seed);
        supervisor.handle(Event::Boot, Instant::now());
        Self {
            shared,
            supervisor,
            actors: IdMap::default(),
            keys: IdMap::default(),
            alarm: None,
            ready: Vec::new(),
            status: None,
            ended: None,
        }
    }

    /// The exit status, when all is over.
    pub(super) fn exit_status(&self) -> Option<i32> {
        self.ended.as_ref()?;
        Some(self.status.unwrap_or(1))
    }

    pub(super) fn add(ctx: &mut Context<'_, Self>, mut slot: Box<dyn AnySlot>) {
        let now = ctx.now();
        let tree = &mut *ctx.state;
        let id = slot.id();
        // Unique among the children, where the name a user sees is unique among the living.
        let child = id.to_string();
        match tree.supervisor.add(&child, slot.policy(), now) {
            Ok(key) => {
                tree.keys.insert(key, id);
                tree.actors.insert(
                    id,
                    Entry {
                        key,
                        slot,
                        last: None,
                        rejected: None,
                        gone: Vec::new(),
                    },
                );
                Self::pump(ctx);
            }
            Err(error) => {
                slot.close();
                let ending = tree.supervisor.is_ending();
                let error = if ending {
                    SpawnError::Disconnected
                } else {
                    error.into()
                };
                slot.spawned(Err(error));
            }
        }
    }

    pub(super) fn stop_actor(ctx: &mut Context<'_, Self>, id: ActorId, gone: GoneResolver) {
        let now = ctx.now();
        let tree = &mut *ctx.state;
        let Some(entry) = tree.actors.get_mut(&id) else {
            return gone.resolve(Ok(None));
        };
        entry.gone.push(gone);
        let key = entry.key;
        // The key is from the table, so the supervisor knows it.
        let _ = tree.supervisor.terminate(key, now);
        Self::pump(ctx);
        Self::forget_if_down(ctx, id);
    }

    /// Forgets a child that was stopped by hand, once it is down.
    fn forget_if_down(ctx: &mut Context<'_, Self>, id: ActorId) {
        let now = ctx.now();
        let tree = &mut *ctx.state;
        let Some(entry) = tree.actors.get(&id) else {
            return;
        };
        if !entry.gone.is_empty() && tree.supervisor.delete(entry.key, now).is_ok() {
            Self::pump(ctx);
        }
    }

    pub(super) fn kill_actor(ctx: &mut Context<'_, Self>, id: ActorId) {
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return;
        };
        let key = entry.key;
        if let Some(reason) = entry.slot.kill(ExitReason::Killed) {
            Self::ended(ctx, key, reason);
        }
    }

    /// Begins the end; a second call does not wait any more.
    pub(super) fn stop(ctx: &mut Context<'_, Self>, status: i32) {
        let now = ctx.now();
        let tree = &mut *ctx.state;
        let event = match tree.status {
            None => Event::Stop(ExitReason::Shutdown),
            Some(_) => Event::Kill(ExitReason::Shutdown),
        };
        tree.status.get_or_insert(status);
        tree.supervisor.handle(event, now);
        Self::pump(ctx);
    }

    /// An incarnation has something to tell.
    pub(super) fn told(ctx: &mut Context<'_, Self>, id: ActorId, incarnation: u32, told: Told) {
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return;
        };
        if entry.slot.incarnation() != incarnation {
            // It was given up; its successor has the place.
            return;
        }
        let key = entry.key;
        match told {
            Told::Started => Self::started(ctx, key),
            Told::Failed(reason) => {
                let now = ctx.now();
                ctx.state.down(key, &reason);
                ctx.state
                    .supervisor
                    .handle(Event::StartFailed(key, reason), now);
                Self::pump(ctx);
            }
            Told::Ended(reason) => Self::ended(ctx, key, reason),
        }
    }

    fn started(ctx: &mut Context<'_, Self>, key: ChildKey) {
        let now = ctx.now();
        if let Some(entry) = ctx.state.entry(key) {
            entry.slot.started();
            entry.slot.spawned(Ok(()));
        }
        ctx.state.supervisor.handle(Event::Started(key), now);
        Self::pump(ctx);
    }

    fn ended(ctx: &mut Context<'_, Self>, key: ChildKey, reason: ExitReason) {
        let now = ctx.now();
        ctx.state.down(key, &reason);
        ctx.state.supervisor.handle(Event::Exited(key, reason), now);
        Self::pump(ctx);
        if let Some(&id) = ctx.state.keys.get(&key) {
            Self::forget_if_down(ctx, id);
        }
    }

    fn down(&mut self, key: ChildKey, reason: &ExitReason) {
        if let Some(entry) = self.entry(key) {
            entry.slot.ended();
            entry.last = Some(reason.clone());
        }
    }

    fn entry(&mut self, key: ChildKey) -> Option<&mut Entry> {
        let id = self.keys.get(&key)?;
        self.actors.get_mut(id)
    }

    /// Carries out what the supervisor has decided, until it has nothing more to say.
    fn pump(ctx: &mut Context<'_, Self>) {
        while let Some(action) = ctx.state.supervisor.poll_action() {
            match action {
                Action::Start(key) => Self::start(ctx, key),
                Action::Stop(key) => {
                    let entry = ctx.state.entry(key);
                    let ended = entry.and_then(|entry| entry.slot.stop(ExitReason::Shutdown));
                    Self::after_end(ctx, key, ended);
                }
                Action::Kill(key) => {
                    let entry = ctx.state.entry(key);
                    let ended = entry.and_then(|entry| entry.slot.kill(ExitReason::Killed));
                    Self::after_end(ctx, key, ended);
                }
                Action::Rejected(key, reason) => {
                    // Told when it is removed, so that its name is free by then.
                    if let Some(entry) = ctx.state.entry(key) {
                        entry.rejected = Some(reason);
                    }
                }
                Action::Removed(key) => ctx.state.remove(key),
                Action::GaveUp(_) => {
                    ctx.state.status.get_or_insert(1);
                }
                Action::Ended(reason) => {
                    let keys: Vec<_> = ctx.state.keys.keys().copied().collect();
                    for key in keys {
                        ctx.state.remove(key);
                    }
                    ctx.state.ended = Some(reason);
                    // The loop shall look at that and not sleep.
                    ctx.state.shared.home.wake_loop();
                }
                Action::Ready => {}
            }
        }
        Self::set_alarm(ctx);
    }

    fn after_end(ctx: &mut Context<'_, Self>, key: ChildKey, ended: Option<ExitReason>) {
        if let Some(reason) = ended {
            let now = ctx.now();
            ctx.state.down(key, &reason);
            ctx.state.supervisor.handle(Event::Exited(key, reason), now);
        }
    }

    fn start(ctx: &mut Context<'_, Self>, key: ChildKey) {
        // The slot leaves the table meanwhile: starting a process needs the loop.
        let Some(&id) = ctx.state.keys.get(&key) else {
            return;
        };
        let Some(mut entry) = ctx.state.actors.remove(&id) else {
            return;
        };
        let told = entry.slot.start(ctx);
        ctx.state.actors.insert(id, entry);
        let now = ctx.now();
        match told {
            None => {}
            Some(Told::Started) => {
                if let Some(entry) = ctx.state.entry(key) {
                    entry.slot.started();
                    entry.slot.spawned(Ok(()));
                }
                ctx.state.supervisor.handle(Event::Started(key), now);
            }
            Some(Told::Failed(reason) | Told::Ended(reason)) => {
                ctx.state.down(key, &reason);
                ctx.state
                    .supervisor
                    .handle(Event::StartFailed(key, reason), now);
            }
        }
    }

    fn remove(&mut self, key: ChildKey) {
        let Some(id) = self.keys.remove(&key) else {
            return;
        };
        let Some(mut entry) = self.actors.remove(&id) else {
            return;
        };
        entry.slot.close();
        let error = entry
            .rejected
            .map_or(SpawnError::Disconnected, SpawnError::Start);
        entry.slot.spawned(Err(error));
        for gone in entry.gone {
            gone.resolve(Ok(entry.last.clone()));
        }
    }

    /// Wakes the loop when the supervisor has something to do.
    fn set_alarm(ctx: &mut Context<'_, Self>) {
        let due = ctx.state.supervisor.poll_timeout();
        match (ctx.state.alarm, due) {
            (Some((_, at)), Some(due)) if at == due => return,
            (Some((id, _)), _) => {
                ctx.cancel(id);
                ctx.state.alarm = None;
            }
            (None, _) => {}
        }
        if let Some(due) = due {
            let id = ctx.alarm_at(due, |ctx| {
                ctx.state.alarm = None;
                Self::tick(ctx);
            });
            ctx.state.alarm = Some((id, due));
        }
    }

    fn tick(ctx: &mut Context<'_, Self>) {
        let now = ctx.now();
        ctx.state.supervisor.handle(Event::Tick, now);
        Self::pump(ctx);
    }

    /// The process of an incarnation, while it is the present one.
    pub(super) fn process<'a>(
        ctx: &'a mut Context<'_, Self>,
        id: ActorId,
        incarnation: u32,
    ) -> Option<&'a mut Process> {
        let slot = &mut ctx.state.actors.get_mut(&id)?.slot;
        if slot.incarnation() == incarnation {
            slot.process()
        } else {
            None
        }
    }

    /// Kills an incarnation that is stuck. Answers when to look again.
    pub(super) fn check_health(ctx: &mut Context<'_, Self>, id: ActorId, incarnation: u32) -> Next {
        let now = ctx.now();
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return Next::Done;
        };
        if entry.slot.incarnation() != incarnation {
            return Next::Done;
        }
        match entry.slot.health(now) {
            Some(Health::Until(at)) => Next::At(at),
            Some(Health::Stuck) => {
                // Its exit is reported as that of any process.
                entry.slot.kill(ExitReason::Stuck);
                Next::Done
            }
            None => Next::Done,
        }
    }

    /// Gives every actor on the loop that has mail a turn. Answers whether there is more to do.
    pub(super) fn run_ready(ctx: &mut Context<'_, Self>) -> bool {
        let mut ready = std::mem::take(&mut ctx.state.ready);
        ctx.state.shared.home.take(&mut ready);
        for &id in &ready {
            let Some(entry) = ctx.state.actors.get_mut(&id) else {
                continue;
            };
            match entry.slot.turn() {
                Turn::Idle => {}
                Turn::More => ctx.state.shared.home.push(id),
                Turn::Ended(reason) => {
                    let key = entry.key;
                    Self::ended(ctx, key, reason);
                }
            }
        }
        ctx.state.ready = ready;
        !ctx.state.shared.home.is_empty()
    }

    /// Writes what waits for a process as soon as there is room.
    pub(crate) fn flush_when_writable(ctx: &mut Context<'_, Self>, link: &Arc<Link>) {
        let Some(sender) = link.sender() else { return };
        let link = Arc::clone(link);
        let key = ctx.add(sender);
        let registered = ctx.on_writable(key, move |_, _: &mut Context<'_, Self>| {
            if link.flush_now() {
                ipc_dispatch::Control::Close
            } else {
                ipc_dispatch::Control::Keep
            }
        });
        if registered.is_err() {
            // The next message tries again.
            ctx.close(key);
        }
    }
}
