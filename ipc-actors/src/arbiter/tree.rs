//! What the arbiter supervises: the table of actors, and what becomes of each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipc_dispatch::{AlarmId, Context, Next};

use super::drain::Drain;
use super::handle::Shared;
use super::node::Node;
use super::pool::PoolNode;
use super::process::Process;
use super::shelter::Meetings;
use super::slot::{AnySlot, Health};
use super::watch::{Down, DownResolver};
use crate::cell::Turn;
use crate::deferred::Resolver;
use crate::id::IdMap;
use crate::link::Link;
use crate::{
    ActorId, ChildKey, Event, ExitReason, LastFailure, PoolEvent, Restart, Shutdown, SpawnError,
    Strategy, SupervisorOptions, WorkerKey,
};

/// What became of an incarnation.
#[derive(Debug)]
pub(crate) enum Told {
    Started,
    Failed(ExitReason),
    Ended(ExitReason),
}

/// Names a supervisor or a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(pub(super) u64);

impl NodeId {
    /// One that was not given out before by this process.
    pub(crate) fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only the number matters.
        Self(COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

pub(super) const ROOT: NodeId = NodeId(0);

pub(super) type GoneResolver = Resolver<Option<ExitReason>, SpawnError>;

/// Who decides whether an actor is started again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Child(NodeId, ChildKey),
    Pool(NodeId, WorkerKey),
    /// Nobody: it is temporary and has no part in any order. There may be very many of these.
    Nobody,
}

/// An actor in the table. There may be very many: what few of them have takes no room in the others.
pub(super) struct Entry {
    pub(super) owner: Owner,
    pub(super) slot: Box<dyn AnySlot>,
    is_up: bool,
    rare: Option<Box<Rare>>,
}

/// What is not so of most actors.
#[derive(Default)]
pub(super) struct Rare {
    /// Why the incarnation before this one ended.
    last: Option<ExitReason>,
    /// The last end that was no clean one.
    pub(super) failure: Option<LastFailure>,
    /// Why its first start failed.
    pub(super) rejected: Option<ExitReason>,
    /// Those who wait for it to be gone for good.
    gone: Vec<GoneResolver>,
    pub(super) watchers: Vec<DownResolver>,
    /// Whose present incarnation ends with its own.
    pub(super) links: BTreeSet<ActorId>,
}

impl Entry {
    pub(super) fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What there is to change of it, if there is anything.
    pub(super) fn rare_if_any(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }
}

/// The state of the arbiter's loop.
pub(crate) struct Tree {
    pub(crate) shared: Arc<Shared>,
    pub(super) actors: IdMap<ActorId, Entry>,
    pub(super) nodes: IdMap<NodeId, Node>,
    pub(super) pools: IdMap<NodeId, PoolNode>,
    /// How many actors belong to nobody.
    free: usize,
    alarm: Option<(AlarmId, Instant)>,
    ready: Vec<ActorId>,
    /// The exit status, once somebody has asked for the end.
    pub(super) status: Option<i32>,
    pub(super) root_ended: Option<ExitReason>,
    pub(super) drain: Option<Drain>,
    /// Processes that have lost their arbiter.
    pub(super) meetings: Meetings,
    /// Whoever wants to know of every end.
    pub(super) on_end: Option<EndHook>,
    /// What hangs on HUP besides pools; answers whether these are to be replaced.
    pub(super) on_hup: Option<Box<dyn FnMut() -> bool>>,
    /// What hangs on a change of the settings.
    pub(super) on_configured: Option<Box<dyn FnMut()>>,
}

pub(super) type EndHook = Box<dyn FnMut(&Down) + Send>;

impl Tree {
    pub(super) fn new(shared: Arc<Shared>, options: SupervisorOptions) -> Self {
        let mut root = Node::new(options, None);
        root.machine.handle(Event::Boot, shared.clock.now());
        let mut nodes = IdMap::default();
        nodes.insert(ROOT, root);
        Self {
            shared,
            actors: IdMap::default(),
            nodes,
            pools: IdMap::default(),
            free: 0,
            alarm: None,
            ready: Vec::new(),
            status: None,
            root_ended: None,
            drain: None,
            meetings: Meetings::default(),
            on_end: None,
            on_hup: None,
            on_configured: None,
        }
    }

    /// Why the arbiter has ended, when nothing is left.
    pub(super) fn ended(&self) -> Option<&ExitReason> {
        self.root_ended.as_ref().filter(|_| self.free == 0)
    }

    /// The exit status, when all is over.
    pub(super) fn exit_status(&self) -> Option<i32> {
        self.ended()?;
        Some(self.status.unwrap_or(1))
    }

    pub(super) fn is_ending(&self) -> bool {
        self.status.is_some() || self.root_ended.is_some()
    }

    /// Puts an actor into the table.
    pub(super) fn insert(&mut self, owner: Owner, slot: Box<dyn AnySlot>) {
        if let Owner::Nobody = owner {
            self.free += 1;
        }
        let id = slot.id();
        let entry = Entry {
            owner,
            slot,
            is_up: false,
            rare: None,
        };
        self.actors.insert(id, entry);
    }

    /// Spawns an actor under the root.
    pub(super) fn add(ctx: &mut Context<'_, Self>, mut slot: Box<dyn AnySlot>) {
        let now = ctx.now();
        let tree = &mut *ctx.state;
        let (id, policy) = (slot.id(), slot.policy());
        let ending = tree.is_ending();
        let refused = match tree.nodes.get_mut(&ROOT) {
            Some(_) if ending => SpawnError::Disconnected,
            Some(root)
                if policy.restart == Restart::Temporary
                    && !policy.significant
                    && root.strategy == Strategy::OneForOne =>
            {
                tree.insert(Owner::Nobody, slot);
                Self::start_free(ctx, id);
                return;
            }
            // The name a user gives is unique among the living; the supervisor's is the id.
            Some(root) => match root.machine.add(&id.to_string(), policy, now) {
                Ok(key) => {
                    root.adopt(key, id);
                    tree.insert(Owner::Child(ROOT, key), slot);
                    Self::pump(ctx, ROOT);
                    return;
                }
                Err(error) => error.into(),
            },
            None => SpawnError::Disconnected,
        };
        slot.close();
        slot.spawned(Err(refused));
    }

    fn start_free(ctx: &mut Context<'_, Self>, id: ActorId) {
        let told = Self::start_actor(ctx, id);
        let Some(entry) = ctx.state.actors.get(&id) else {
            return;
        };
        let (incarnation, limit) = (entry.slot.incarnation(), entry.slot.policy().start_timeout);
        match told {
            Some(told) => Self::told(ctx, id, incarnation, told),
            None => {
                let Some(limit) = limit else { return };
                ctx.alarm(limit, move |ctx| {
                    if let Some(entry) = ctx.state.actors.get(&id)
                        && !entry.is_up
                    {
                        Self::kill(ctx, id, ExitReason::StartTimeout);
                    }
                });
            }
        }
    }

    /// Begins the next incarnation of an actor.
    pub(super) fn start_actor(ctx: &mut Context<'_, Self>, id: ActorId) -> Option<Told> {
        // The slot leaves the table meanwhile: starting a process needs the loop.
        let mut entry = ctx.state.actors.remove(&id)?;
        let told = entry.slot.start(ctx);
        ctx.state.actors.insert(id, entry);
        told
    }

    pub(super) fn stop_actor(ctx: &mut Context<'_, Self>, id: ActorId, gone: GoneResolver) {
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return gone.resolve(Ok(None));
        };
        entry.rare_mut().gone.push(gone);
        match entry.owner {
            Owner::Child(node, key) => {
                let now = ctx.now();
                if let Some(node) = ctx.state.nodes.get_mut(&node) {
                    // The key is from the table, so the supervisor knows it.
                    let _ = node.machine.terminate(key, now);
                }
                Self::pump(ctx, node);
                Self::forget_if_down(ctx, id);
            }
            Owner::Pool(pool, key) => Self::feed_pool(ctx, pool, PoolEvent::Recycle(key)),
            Owner::Nobody => Self::stop_free(ctx, id),
        }
    }

    fn stop_free(ctx: &mut Context<'_, Self>, id: ActorId) {
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return;
        };
        let incarnation = entry.slot.incarnation();
        let limit = match entry.slot.policy().shutdown {
            Shutdown::Kill => return Self::kill(ctx, id, ExitReason::Killed),
            Shutdown::After(limit) => Some(limit),
            Shutdown::Unlimited => None,
        };
        if let Some(reason) = entry.slot.stop(ExitReason::Shutdown) {
            return Self::told(ctx, id, incarnation, Told::Ended(reason));
        }
        if let Some(limit) = limit {
            ctx.alarm(limit, move |ctx| Self::kill(ctx, id, ExitReason::Killed));
        }
    }

    /// Forgets a child that was stopped by hand, once it is down.
    fn forget_if_down(ctx: &mut Context<'_, Self>, id: ActorId) {
        let now = ctx.now();
        let tree = &mut *ctx.state;
        let Some(entry) = tree.actors.get(&id) else {
            return;
        };
        let Owner::Child(id, key) = entry.owner else {
            return;
        };
        if entry.rare().is_some_and(|rare| !rare.gone.is_empty())
            && let Some(node) = tree.nodes.get_mut(&id)
            && node.machine.delete(key, now).is_ok()
        {
            Self::pump(ctx, id);
        }
    }

    /// Ends the present incarnation without asking.
    pub(super) fn kill(ctx: &mut Context<'_, Self>, id: ActorId, reason: ExitReason) {
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return;
        };
        if let Some(reason) = entry.slot.kill(reason) {
            let incarnation = entry.slot.incarnation();
            Self::told(ctx, id, incarnation, Told::Ended(reason));
        }
    }

    /// Begins the end; a second call does not wait any more.
    pub(super) fn stop(ctx: &mut Context<'_, Self>, status: i32) {
        if Self::drains_first(ctx, status) {
            return;
        }
        let again = ctx.state.status.is_some();
        ctx.state.status.get_or_insert(status);
        let free = |entry: &Entry| matches!(entry.owner, Owner::Nobody);
        let free: Vec<_> = ctx
            .state
            .actors
            .iter()
            .filter(|(_, entry)| free(entry))
            .map(|(&id, _)| id)
            .collect();
        for id in free {
            if again {
                Self::kill(ctx, id, ExitReason::Killed);
            } else {
                Self::stop_free(ctx, id);
            }
        }
        let reason = ExitReason::Shutdown;
        let event = if again {
            Event::Kill(reason)
        } else {
            Event::Stop(reason)
        };
        Self::feed(ctx, ROOT, event);
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
        let owner = entry.owner;
        match told {
            Told::Started => {
                entry.is_up = true;
                entry.slot.started();
                entry.slot.spawned(Ok(()));
                match owner {
                    Owner::Child(node, key) => Self::feed(ctx, node, Event::Started(key)),
                    Owner::Pool(pool, key) => Self::worker_up(ctx, pool, key),
                    Owner::Nobody => {}
                }
            }
            Told::Failed(reason) | Told::Ended(reason) => {
                let was_up = std::mem::take(&mut entry.is_up);
                let remains = entry.slot.ended();
                entry.rare_mut().last = Some(reason.clone());
                let mut down = Down {
                    id,
                    name: entry.slot.name().to_owned(),
                    incarnation,
                    reason: reason.clone(),
                    lost: remains.lost,
                    at_hand: None,
                    output: String::new(),
                };
                if !reason.is_clean() {
                    down.at_hand = remains.at_hand.map(str::to_owned);
                    down.output = remains.output;
                    entry.rare_mut().failure = Some(LastFailure::of(&down));
                }
                Self::tell_of_end(ctx, &down);
                match owner {
                    Owner::Child(node, key) => {
                        Self::feed(ctx, node, Event::Exited(key, reason));
                        Self::forget_if_down(ctx, id);
                    }
                    Owner::Pool(pool, key) => Self::worker_gone(ctx, pool, key, id, reason),
                    Owner::Nobody => {
                        if !was_up && let Some(entry) = ctx.state.actors.get_mut(&id) {
                            entry.rare_mut().rejected = Some(reason);
                        }
                        ctx.state.remove_actor(id);
                    }
                }
            }
        }
    }

    /// Forgets an actor that is down.
    pub(super) fn remove_actor(&mut self, id: ActorId) {
        let Some(mut entry) = self.actors.remove(&id) else {
            return;
        };
        if let Owner::Nobody = entry.owner {
            self.free -= 1;
            if self.root_ended.is_some() {
                // The loop shall look whether that was the last and not sleep.
                self.shared.home.wake_loop();
            }
        }
        let lost = entry.slot.close();
        let rare = entry.rare.take().unwrap_or_default();
        for watcher in rare.watchers {
            // Nobody told of an end: it never came up again.
            let reason = rare.last.clone().unwrap_or(ExitReason::Shutdown);
            let incarnation = entry.slot.incarnation();
            watcher.resolve(Ok(Down {
                id,
                name: entry.slot.name().to_owned(),
                incarnation,
                reason,
                lost,
                at_hand: None,
                output: String::new(),
            }));
        }
        let error = rare
            .rejected
            .map_or(SpawnError::Disconnected, SpawnError::Start);
        entry.slot.spawned(Err(error));
        for gone in rare.gone {
            gone.resolve(Ok(rare.last.clone()));
        }
    }

    /// Wakes the loop when a supervisor or pool has something to do.
    pub(super) fn set_alarm(ctx: &mut Context<'_, Self>) {
        let nodes = ctx
            .state
            .nodes
            .values()
            .filter_map(|node| node.machine.poll_timeout());
        let pools = ctx.state.pools.values().filter_map(PoolNode::poll_timeout);
        let due = nodes.chain(pools).min();
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
                let nodes: Vec<_> = ctx.state.nodes.keys().copied().collect();
                for node in nodes {
                    Self::feed(ctx, node, Event::Tick);
                }
                let pools: Vec<_> = ctx.state.pools.keys().copied().collect();
                for pool in pools {
                    Self::feed_pool(ctx, pool, PoolEvent::Tick);
                }
            });
            ctx.state.alarm = Some((id, due));
        }
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
            Some(Health::Bad(reason)) => {
                // One that is stuck can tell where, by a core file; one that is stopped does nothing more.
                let grace = entry.slot.abort_grace();
                let aborts = reason == ExitReason::Stuck && !grace.is_zero();
                if aborts
                    && let Some(process) = entry.slot.process()
                    && process.abort(reason.clone())
                {
                    ctx.alarm(grace, move |ctx| {
                        if Self::process(ctx, id, incarnation).is_some() {
                            Self::kill(ctx, id, ExitReason::Stuck);
                        }
                    });
                    return Next::Done;
                }
                // Its exit is reported as that of any process.
                entry.slot.kill(reason);
                Next::Done
            }
            None => Next::Done,
        }
    }

    /// Takes the mail of the actors on the loop out of their mailboxes. Answers whether any has some.
    pub(super) fn take_ready(&mut self) -> bool {
        self.shared.home.take(&mut self.ready);
        for id in &self.ready {
            if let Some(entry) = self.actors.get_mut(id) {
                entry.slot.fetch();
            }
        }
        !self.ready.is_empty()
    }

    /// Gives those whose mail was taken a turn each. Answers whether there is more to do.
    pub(super) fn run_ready(ctx: &mut Context<'_, Self>) -> bool {
        let mut ready = std::mem::take(&mut ctx.state.ready);
        for id in ready.drain(..) {
            let Some(entry) = ctx.state.actors.get_mut(&id) else {
                continue;
            };
            let turn = entry.slot.turn();
            let alarm = entry.slot.next_alarm();
            if let Some(due) = alarm {
                ctx.alarm_at(due, move |ctx| ctx.state.shared.home.push(id));
            }
            let Some(entry) = ctx.state.actors.get_mut(&id) else {
                continue;
            };
            match turn {
                Turn::Idle => {}
                Turn::More => ctx.state.shared.home.push(id),
                Turn::Ended(reason) => {
                    let incarnation = entry.slot.incarnation();
                    Self::told(ctx, id, incarnation, Told::Ended(reason));
                }
            }
        }
        ctx.state.ready = ready;
        !ctx.state.shared.home.is_empty()
    }

    /// Writes what waits for a process as soon as there is room.
    pub(crate) fn flush_when_writable(ctx: &mut Context<'_, Self>, link: &Arc<Link>, epoch: u64) {
        let Some(sender) = link.sender() else { return };
        let writer = Arc::clone(link);
        let key = ctx.add(sender);
        let registered = ctx.on_writable(key, move |_, _: &mut Context<'_, Self>| {
            if writer.flush_now(epoch) {
                ipc_dispatch::Control::Close
            } else {
                ipc_dispatch::Control::Keep
            }
        });
        if registered.is_err() {
            // No descriptor can be watched just now: what is left must not wait for ever.
            ctx.close(key);
            let link = Arc::clone(link);
            ctx.alarm(WRITE_AGAIN, move |ctx| {
                if !link.flush_now(epoch) {
                    Self::flush_when_writable(ctx, &link, epoch);
                }
            });
        }
    }
}

/// When to try again to write to a process whose channel cannot be watched.
const WRITE_AGAIN: Duration = Duration::from_millis(10);
