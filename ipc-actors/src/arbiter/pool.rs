//! Pools in the tree.

use std::time::{Duration, Instant};

use ipc_dispatch::{Context, Next};

use super::node::{Member, Start};
use super::slot::AnySlot;
use super::tree::{NodeId, Owner, ROOT, Told, Tree};
use crate::deferred::Resolver;
use crate::id::IdMap;
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
    workers: IdMap<WorkerKey, ActorId>,
    parent: (NodeId, ChildKey),
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

    /// Looks at the memory of a pool's workers as long as there is the pool.
    pub(crate) fn watch_memory(ctx: &mut Context<'_, Self>, id: NodeId, bytes: u64) {
        let look = Duration::from_secs(1);
        ctx.alarm(look, move |ctx: &mut Context<'_, Self>| {
            let Some(pool) = ctx.state.pools.get(&id) else {
                return Next::Done;
            };
            let heavy = |actor: &ActorId| {
                let entry = ctx.state.actors.get(actor);
                let system = entry.and_then(|entry| entry.slot.describe().system);
                system.is_some_and(|system| system.memory > bytes)
            };
            let workers = pool.workers.iter().filter(|(_, actor)| heavy(actor));
            let keys: Vec<_> = workers.map(|(&key, _)| key).collect();
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
        let Some(node) = ctx.state.pools.get_mut(&pool) else {
            return;
        };
        let slot = node.crew.plant(key, &arbiter);
        let id = slot.id();
        node.workers.insert(key, id);
        ctx.state.insert(Owner::Pool(pool, key), slot);
        if let Some(told) = Self::start_actor(ctx, id) {
            Self::told(ctx, id, 0, told);
        }
    }

    fn end_worker(ctx: &mut Context<'_, Self>, pool: NodeId, key: WorkerKey, kill: bool) {
        let Some(node) = ctx.state.pools.get(&pool) else {
            return;
        };
        let Some(&id) = node.workers.get(&key) else {
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
