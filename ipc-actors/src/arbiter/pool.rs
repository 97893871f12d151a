//! Pools in the tree.

use std::time::{Duration, Instant};

use ipc_dispatch::{Context, Next};

use super::node::{Member, Start};
use super::slot::AnySlot;
use super::tree::{NodeId, Owner, ROOT, Told, Tree};
use crate::deferred::Resolver;
use crate::id::IdMap;
use crate::monitor_spec::Wear;
use crate::{
    ActorId, Arbiter, ChildKey, ChildPolicy, Event, ExitReason, Pool, PoolAction, PoolEvent,
    PoolOptions, PoolStatus, SpawnError, WorkerKey,
};

/// What makes the workers of a pool and gives them work.
pub(crate) trait Crew {
    /// A new worker.
    fn plant(&mut self, key: WorkerKey, arbiter: &Arbiter) -> Box<dyn AnySlot>;
    /// The worker is up and can be given work.
    fn up(&mut self, key: WorkerKey);
    /// The worker gets no more work.
    fn down(&mut self, key: WorkerKey);
    /// There will be no workers any more.
    fn close(&mut self);
    fn name(&self) -> &str;
    /// How many messages wait for a worker.
    fn waiting(&self) -> usize;
}

/// A pool in the tree.
pub(super) struct PoolNode {
    machine: Pool,
    options: PoolOptions,
    crew: Box<dyn Crew>,
    workers: IdMap<WorkerKey, Hand>,
    parent: (NodeId, ChildKey),
    wear: Wear,
    /// Whether it is looked how worn the workers are.
    watched: bool,
    random: u64,
}

/// A worker.
struct Hand {
    actor: ActorId,
    born: Instant,
    /// Which part of the jitter it lives longer, as a share of all there is.
    luck: f64,
}

impl Hand {
    /// Whether it is old enough to be replaced.
    fn is_aged(&self, wear: Wear, now: Instant) -> bool {
        wear.age.is_some_and(|(age, jitter)| {
            now.saturating_duration_since(self.born) >= age + jitter.mul_f64(self.luck)
        })
    }
}

/// How a pool is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolInfo {
    /// How many workers there shall be.
    pub size: usize,
    /// How many are up and stay.
    pub up: usize,
    /// How many exist in any form.
    pub total: usize,
}

impl PoolNode {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    pub(super) fn name(&self) -> &str {
        self.crew.name()
    }

    pub(super) fn describe(&self) -> PoolStatus {
        PoolStatus {
            name: self.crew.name().to_owned(),
            size: self.machine.size() as u64,
            up: self.machine.up() as u64,
            total: self.machine.len() as u64,
            waiting: self.crew.waiting() as u64,
        }
    }
}

impl Tree {
    /// Starts a pool under the root.
    pub(crate) fn monitor(
        ctx: &mut Context<'_, Self>,
        id: NodeId,
        name: &str,
        options: PoolOptions,
        mut crew: Box<dyn Crew>,
        resolver: Resolver<(), SpawnError>,
    ) {
        let now = ctx.now();
        let ending = ctx.state.is_ending();
        let policy = ChildPolicy {
            shutdown: crate::Shutdown::Unlimited,
            start_timeout: None,
            ..ChildPolicy::default()
        };
        let added = match ctx.state.nodes.get_mut(&ROOT).filter(|_| !ending) {
            Some(root) => root
                .machine
                .add(&format!("monitor/{name}"), policy, now)
                .map_err(SpawnError::from)
                .inspect(|&key| {
                    let start = Start::default();
                    root.adopt_member(key, Member::Pool { id, start });
                }),
            None => Err(SpawnError::Disconnected),
        };
        match added {
            Ok(key) => {
                let machine = Pool::new(options, std::process::id());
                let workers = IdMap::default();
                let pool = PoolNode {
                    machine,
                    options,
                    crew,
                    workers,
                    parent: (ROOT, key),
                    wear: Wear::default(),
                    watched: false,
                    random: u64::from(std::process::id()) << 16 | 1,
                };
                ctx.state.pools.insert(id, pool);
                ctx.state.wait_for_start(ROOT, key, resolver);
                Self::pump(ctx, ROOT);
            }
            Err(error) => {
                crew.close();
                resolver.resolve(Err(error));
            }
        }
    }

    /// Has a pool treat its workers in another way.
    pub(crate) fn change_pool(
        ctx: &mut Context<'_, Self>,
        id: NodeId,
        options: PoolOptions,
        wear: Wear,
    ) {
        let Some(pool) = ctx.state.pools.get_mut(&id) else {
            return;
        };
        let now = pool.options;
        pool.machine.change(options);
        pool.options = PoolOptions {
            size: now.size,
            intensity: now.intensity,
            period: now.period,
            ..options
        };
        pool.wear = wear;
        if wear != Wear::default() && !std::mem::replace(&mut pool.watched, true) {
            Self::watch_wear(ctx, id);
        }
    }

    /// Looks how worn a pool's workers are, as long as there is the pool and anything to look for.
    fn watch_wear(ctx: &mut Context<'_, Self>, id: NodeId) {
        let look = Duration::from_secs(1);
        ctx.alarm(look, move |ctx: &mut Context<'_, Self>| {
            let now = ctx.now();
            let Some(pool) = ctx.state.pools.get_mut(&id) else {
                return Next::Done;
            };
            let wear = pool.wear;
            if wear == Wear::default() {
                pool.watched = false;
                return Next::Done;
            }
            let actors = &ctx.state.actors;
            let is_heavy = |hand: &Hand, bytes: u64| {
                let entry = actors.get(&hand.actor);
                let system = entry.and_then(|entry| entry.slot.describe().system);
                system.is_some_and(|system| system.memory > bytes)
            };
            let is_worn = |hand: &Hand| {
                hand.is_aged(wear, now) || wear.memory.is_some_and(|bytes| is_heavy(hand, bytes))
            };
            let worn = pool.workers.iter().filter(|(_, hand)| is_worn(hand));
            let keys: Vec<_> = worn.map(|(&key, _)| key).collect();
            for key in keys {
                Self::feed_pool(ctx, id, PoolEvent::Recycle(key));
            }
            Next::After(look)
        });
    }

    pub(super) fn start_pool(ctx: &mut Context<'_, Self>, id: NodeId) {
        if let Some(pool) = ctx.state.pools.get_mut(&id) {
            pool.machine = Pool::new(pool.options, std::process::id());
        }
        Self::feed_pool(ctx, id, PoolEvent::Boot);
    }

    pub(super) fn remove_pool(&mut self, id: NodeId) {
        if let Some(mut pool) = self.pools.remove(&id) {
            pool.crew.close();
        }
    }

    pub(crate) fn pool_info(&self, id: NodeId) -> Option<PoolInfo> {
        let machine = &self.pools.get(&id)?.machine;
        Some(PoolInfo {
            size: machine.size(),
            up: machine.up(),
            total: machine.len(),
        })
    }

    /// Whether every pool has just what it shall have.
    fn is_settled(&self) -> bool {
        self.pools.values().all(|pool| {
            pool.machine.up() == pool.machine.size() && pool.machine.len() == pool.machine.size()
        })
    }

    /// Calls `hook` once all pools have just the workers that they shall have.
    pub(super) fn when_settled(ctx: &mut Context<'_, Self>, mut hook: impl FnMut() + 'static) {
        let look = Duration::from_millis(20);
        ctx.alarm(look, move |ctx: &mut Context<'_, Self>| {
            if ctx.state.is_settled() {
                hook();
                Next::Done
            } else {
                Next::After(look)
            }
        });
    }

    pub(crate) fn resize_pool(ctx: &mut Context<'_, Self>, id: NodeId, size: usize) {
        if let Some(pool) = ctx.state.pools.get_mut(&id) {
            pool.options.size = size;
        }
        Self::feed_pool(ctx, id, PoolEvent::Resize(size));
    }

    /// Changes the size of every pool by a signal's one.
    pub(super) fn resize_all(ctx: &mut Context<'_, Self>, change: isize) {
        let pools: Vec<_> = ctx
            .state
            .pools
            .iter()
            .map(|(&id, pool)| (id, pool.options.size))
            .collect();
        for (id, size) in pools {
            Self::resize_pool(ctx, id, size.saturating_add_signed(change));
        }
    }

    /// HUP has come: what hangs on it goes first, and may refuse.
    pub(super) fn hang_up(ctx: &mut Context<'_, Self>) {
        let mut hook = ctx.state.on_hup.take();
        let goes_on = hook.as_mut().is_none_or(|hook| hook());
        ctx.state.on_hup = hook;
        if goes_on {
            Self::reload_all(ctx);
        }
    }

    /// The settings have changed.
    pub(crate) fn configured(ctx: &mut Context<'_, Self>) {
        let mut hook = ctx.state.on_configured.take();
        if let Some(hook) = &mut hook {
            hook();
        }
        ctx.state.on_configured = hook;
    }

    /// Replaces the workers of every pool.
    pub(super) fn reload_all(ctx: &mut Context<'_, Self>) {
        let pools: Vec<_> = ctx.state.pools.keys().copied().collect();
        for id in pools {
            Self::feed_pool(ctx, id, PoolEvent::Reload);
        }
    }

    /// Tells a pool what happened and carries out what it decides.
    pub(crate) fn feed_pool(ctx: &mut Context<'_, Self>, id: NodeId, event: PoolEvent) {
        let now = ctx.now();
        if let Some(pool) = ctx.state.pools.get_mut(&id) {
            pool.machine.handle(event, now);
        }
        while let Some(pool) = ctx.state.pools.get_mut(&id) {
            let parent = pool.parent;
            let Some(action) = pool.machine.poll_action() else {
                break;
            };
            match action {
                PoolAction::Start(key) => Self::start_worker(ctx, id, key),
                PoolAction::Retire(key) => pool.crew.down(key),
                PoolAction::Stop(key) => Self::end_worker(ctx, id, key, false),
                PoolAction::Kill(key) => Self::end_worker(ctx, id, key, true),
                PoolAction::Ready => {
                    ctx.state.started(parent.0, parent.1);
                    Self::feed(ctx, parent.0, Event::Started(parent.1));
                }
                PoolAction::GaveUp => {}
                PoolAction::Ended(reason) => {
                    Self::feed(ctx, parent.0, Event::Exited(parent.1, reason));
                }
            }
        }
        Self::set_alarm(ctx);
    }

    fn start_worker(ctx: &mut Context<'_, Self>, pool: NodeId, key: WorkerKey) {
        let arbiter = Arbiter::new(std::sync::Arc::clone(&ctx.state.shared));
        let born = ctx.now();
        let Some(node) = ctx.state.pools.get_mut(&pool) else {
            return;
        };
        let slot = node.crew.plant(key, &arbiter);
        let id = slot.id();
        node.random ^= node.random << 13;
        node.random ^= node.random >> 7;
        node.random ^= node.random << 17;
        let hand = Hand {
            actor: id,
            born,
            luck: f64::from(node.random as u32) / f64::from(u32::MAX),
        };
        node.workers.insert(key, hand);
        ctx.state.insert(Owner::Pool(pool, key), slot);
        if let Some(told) = Self::start_actor(ctx, id) {
            Self::told(ctx, id, 0, told);
        }
    }

    fn end_worker(ctx: &mut Context<'_, Self>, pool: NodeId, key: WorkerKey, kill: bool) {
        let Some(node) = ctx.state.pools.get(&pool) else {
            return;
        };
        let Some(id) = node.workers.get(&key).map(|hand| hand.actor) else {
            return;
        };
        let Some(entry) = ctx.state.actors.get_mut(&id) else {
            return;
        };
        let ended = match kill {
            true => entry.slot.kill(ExitReason::Killed),
            false => entry.slot.stop(ExitReason::Shutdown),
        };
        if let Some(reason) = ended {
            let incarnation = entry.slot.incarnation();
            Self::told(ctx, id, incarnation, Told::Ended(reason));
        }
    }

    pub(super) fn worker_up(ctx: &mut Context<'_, Self>, pool: NodeId, key: WorkerKey) {
        if let Some(node) = ctx.state.pools.get_mut(&pool) {
            node.crew.up(key);
        }
        Self::feed_pool(ctx, pool, PoolEvent::Started(key));
    }

    pub(super) fn worker_gone(
        ctx: &mut Context<'_, Self>,
        pool: NodeId,
        key: WorkerKey,
        id: ActorId,
        reason: ExitReason,
    ) {
        if let Some(node) = ctx.state.pools.get_mut(&pool) {
            node.crew.down(key);
            node.workers.remove(&key);
        }
        ctx.state.remove_actor(id);
        Self::feed_pool(ctx, pool, PoolEvent::Exited(key, reason));
    }
}
