//! Pools of equal actors and the queue of their work.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ipc_core::Deadline;

use crate::arbiter::{AnySlot, Crew, NodeId, Seed, Tree};
use crate::command::{CommandId, decode, encode};
use crate::deferred::deferred;
use crate::link::{Answered, Refused};
use crate::local::Bringer;
use crate::monitor_spec::Terms;
use crate::{
    Actor, Arbiter, AskError, Commands, Deferred, Message, MonitorSpec, Placement, PoolEvent,
    PoolInfo, Proxy, Receive, Restart, SendError, SpawnError, Spec, WorkerKey,
};

/// Reaches a pool: what it is told or asked is done by one of its workers. Cheap to clone.
pub struct Monitor<A: Actor> {
    id: NodeId,
    pub(crate) arbiter: Arbiter,
    jobs: Arc<Jobs<A>>,
}

/// A message that waits for a worker, or for a worker's answer.
struct Job {
    command: CommandId,
    body: Arc<[u8]>,
    answered: Answered,
    deliveries: u32,
}

struct Worker<A: Actor> {
    key: WorkerKey,
    proxy: Proxy<A>,
    at_hand: usize,
    served: u64,
    limit: u64,
    /// It gets nothing more: it is spent, dying or about to be stopped.
    closed: bool,
}

struct Queue<A: Actor> {
    waiting: VecDeque<Job>,
    /// Those that are up.
    workers: Vec<Worker<A>>,
    crowd: bool,
    closed: bool,
    random: u64,
    terms: Terms,
    /// Who brings answers.
    bringer: Bringer,
}

/// What workers are made from, which may change.
type Mold<A> = Arc<Mutex<Spec<A>>>;

/// The work of a pool: each message is with one worker at a time until it is answered.
struct Jobs<A: Actor> {
    queue: Mutex<Queue<A>>,
    room: Condvar,
    commands: Arc<Commands<A>>,
    mold: Mold<A>,
    /// For having spent workers replaced.
    id: NodeId,
    arbiter: Arbiter,
}

impl<A: Actor> Jobs<A> {
    fn lock(&self) -> MutexGuard<'_, Queue<A>> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, job: Job, deadline: Deadline) -> Result<(), (Refused, Job)> {
        let here = self.arbiter.shared.home.is_here();
        let mut queue = self.lock();
        while queue.waiting.len() >= queue.terms.queue_max && !queue.closed {
            if here || deadline == Deadline::Now {
                return Err((Refused::Full, job));
            }
            let left = deadline.remaining();
            if left == Some(Duration::ZERO) {
                return Err((Refused::Timeout, job));
            }
            queue.crowd = true;
            queue = match left {
                None => self
                    .room
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let woken = self.room.wait_timeout(queue, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        if queue.closed {
            return Err((Refused::Disconnected, job));
        }
        queue.waiting.push_back(job);
        drop(queue);
        self.pump();
        Ok(())
    }

    /// Gives waiting messages to workers that have room.
    fn pump(self: &Arc<Self>) {
        loop {
            let mut queue = self.lock();
            let backlog = queue.terms.backlog;
            let free = |worker: &&mut Worker<A>| !worker.closed && worker.at_hand < backlog;
            let Some(job) = queue.waiting.pop_front() else {
                return;
            };
            let worker = queue
                .workers
                .iter_mut()
                .filter(free)
                .min_by_key(|worker| worker.at_hand);
            let Some(worker) = worker else {
                queue.waiting.push_front(job);
                return;
            };
            worker.at_hand += 1;
            worker.served += 1;
            let (key, proxy) = (worker.key, worker.proxy.clone());
            let spent = worker.served >= worker.limit;
            worker.closed |= spent;
            let crowd = std::mem::take(&mut queue.crowd);
            drop(queue);
            if crowd {
                self.room.notify_all();
            }
            let (command, body) = (job.command, Arc::clone(&job.body));
            let jobs = Arc::clone(self);
            proxy.call(
                &self.commands,
                command,
                &body,
                Box::new(move |answer| jobs.answered(key, job, answer, spent)),
            );
        }
    }

    /// A worker has answered, or will not.
    fn answered(
        self: &Arc<Self>,
        key: WorkerKey,
        mut job: Job,
        answer: Result<&[u8], AskError>,
        spent: bool,
    ) {
        let mut queue = self.lock();
        let lost = matches!(answer, Err(AskError::Started | AskError::NotStarted));
        if let Some(worker) = queue.workers.iter_mut().find(|worker| worker.key == key) {
            worker.at_hand -= 1;
            worker.closed |= lost;
        }
        if !matches!(answer, Err(AskError::NotStarted)) {
            job.deliveries += 1;
        }
        if lost && job.deliveries < queue.terms.deliveries_max && !queue.closed {
            queue.waiting.push_front(job);
            drop(queue);
        } else {
            drop(queue);
            (job.answered)(answer);
        }
        if spent {
            let id = self.id;
            // Without a loop there is nobody to be replaced.
            let _ = self.arbiter.shared.poster.post(move |ctx| {
                Tree::feed_pool(ctx, id, PoolEvent::Recycle(key));
            });
        }
        self.pump();
    }

    /// Other terms hold from now on, for those who are up as well.
    fn change(self: &Arc<Self>, terms: Terms, bringer: Bringer) {
        let mut queue = self.lock();
        let is_other = (queue.terms.requests_max, queue.terms.requests_jitter)
            != (terms.requests_max, terms.requests_jitter);
        queue.terms = terms;
        queue.bringer = bringer;
        if is_other {
            for index in 0..queue.workers.len() {
                let limit = queue.limit();
                queue.workers[index].limit = limit;
            }
        }
        drop(queue);
        self.room.notify_all();
        self.pump();
    }
}

impl<A: Actor> Queue<A> {
    /// How many messages a worker may serve.
    fn limit(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter = self.random % self.terms.requests_jitter.saturating_add(1).max(1);
        self.terms.requests_max.saturating_add(jitter)
    }
}

/// What the tree sees of a pool.
struct Hands<A: Actor> {
    name: String,
    mold: Mold<A>,
    /// Workers that are not up yet.
    planted: Vec<(WorkerKey, Proxy<A>)>,
    jobs: Weak<Jobs<A>>,
}

impl<A: Actor> Crew for Hands<A> {
    fn plant(&mut self, key: WorkerKey, arbiter: &Arbiter) -> Box<dyn AnySlot> {
        // Keys are never used twice within a life of the pool; a restarted pool begins again, and
        // then the name may still be taken.
        // One of the pool of an arbiter that was killed comes first.
        let known = arbiter.orphaned_worker(&self.name, A::NAME);
        let name = known.unwrap_or_else(|| format!("{}-{}", self.name, key.0));
        let spec = cast(&self.mold);
        let seed = Seed::named(spec.clone().name(name), arbiter)
            .unwrap_or_else(|_| Seed::unnamed(spec, arbiter));
        self.planted.push((key, seed.proxy()));
        seed.plant_alone()
    }

    fn up(&mut self, key: WorkerKey) {
        let Some(index) = self.planted.iter().position(|planted| planted.0 == key) else {
            return;
        };
        let (key, proxy) = self.planted.swap_remove(index);
        let Some(jobs) = self.jobs.upgrade() else {
            return;
        };
        let mut queue = jobs.lock();
        let limit = queue.limit();
        queue.workers.push(Worker {
            key,
            proxy,
            at_hand: 0,
            served: 0,
            limit,
            closed: false,
        });
        drop(queue);
        jobs.pump();
    }

    fn down(&mut self, key: WorkerKey) {
        self.planted.retain(|planted| planted.0 != key);
        if let Some(jobs) = self.jobs.upgrade() {
            jobs.lock().workers.retain(|worker| worker.key != key);
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn waiting(&self) -> usize {
        let jobs = self.jobs.upgrade();
        jobs.map_or(0, |jobs| jobs.lock().waiting.len())
    }

    fn close(&mut self) {
        let Some(jobs) = self.jobs.upgrade() else {
            return;
        };
        let mut queue = jobs.lock();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        jobs.room.notify_all();
        for job in waiting {
            (job.answered)(Err(AskError::NotStarted));
        }
    }
}

impl Arbiter {
    /// Starts a pool under the arbiter. The result comes when all its workers are up, for the first
    /// time.
    pub fn monitor<A: Actor>(&self, spec: MonitorSpec<A>) -> Deferred<Monitor<A>, SpawnError> {
        let id = NodeId::next();
        let queue = Queue {
            waiting: VecDeque::new(),
            workers: Vec::new(),
            crowd: false,
            closed: false,
            random: u64::from(std::process::id()) << 20 | 1,
            terms: spec.terms,
            bringer: self.bringer_of(spec.worker.placement),
        };
        // Whether a worker comes back is for the pool to say.
        let worker = spec.worker.restart(Restart::Temporary);
        let mold = Arc::new(Mutex::new(worker));
        let jobs = Arc::new(Jobs {
            queue: Mutex::new(queue),
            room: Condvar::new(),
            commands: Commands::shared(),
            mold: Arc::clone(&mold),
            id,
            arbiter: self.clone(),
        });
        let hands = Arc::downgrade(&jobs);
        let monitor = Monitor {
            id,
            arbiter: self.clone(),
            jobs,
        };
        let (resolver, started) = deferred();
        let (name, options, wear) = (spec.name, spec.options, spec.wear);
        let posted = self.shared.poster.post(move |ctx| {
            let (label, planted) = (name.clone(), Vec::new());
            let crew = Hands {
                name: label,
                mold,
                planted,
                jobs: hands,
            };
            Tree::monitor(ctx, id, &name, options, Box::new(crew), resolver);
            Tree::change_pool(ctx, id, options, wear);
        });
        if posted.is_err() {
            return Deferred::ready(Err(SpawnError::Disconnected));
        }
        let (resolver, ready) = deferred();
        started.then(move |result| resolver.resolve(result.map(|()| monitor)));
        ready.brought_by(self.shared.home.bringer())
    }

    /// Who brings the answers of a pool's workers.
    fn bringer_of(&self, placement: Placement) -> Bringer {
        match placement {
            Placement::Thread => Bringer::Anybody,
            Placement::Local | Placement::Process => self.shared.home.bringer(),
        }
    }
}

/// A copy of what workers are made from.
fn cast<A: Actor>(mold: &Mold<A>) -> Spec<A> {
    mold.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl<A: Actor> Monitor<A> {
    /// Tells the pool something, for one of its workers. Blocks while the queue is full.
    ///
    /// # Errors
    ///
    /// The message, as [`Proxy::send`].
    pub fn send<M: Message>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Receive<M>,
    {
        self.submit(&message, Box::new(|_| ()), Deadline::Never)
            .map_err(|refused| refused.with(message))
    }

    /// Asks the pool something; one of its workers answers. Blocks while the queue is full.
    pub fn ask<M: Message>(&self, message: M) -> Deferred<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        self.ask_by(&message, Deadline::Never)
    }

    /// Asks the pool something; the answer is [`Full`](AskError::Full) if there is no room.
    pub fn try_ask<M: Message>(&self, message: M) -> Deferred<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        self.ask_by(&message, Deadline::Now)
    }

    /// Asks the pool something and waits for the answer for at most `timeout`.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn ask_timeout<M: Message>(
        &self,
        message: M,
        timeout: Duration,
    ) -> Result<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        let deadline = Deadline::after(timeout);
        let answer = self.ask_by(&message, deadline).wait_until(deadline);
        answer.unwrap_or(Err(AskError::Timeout))
    }

    /// Asks the pool something and waits for the answer until `deadline`.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub fn ask_deadline<M: Message>(
        &self,
        message: M,
        deadline: Instant,
    ) -> Result<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        let answer = self
            .ask_by(&message, Deadline::At(deadline))
            .wait_deadline(deadline);
        answer.unwrap_or(Err(AskError::Timeout))
    }

    fn ask_by<M: Message>(&self, message: &M, deadline: Deadline) -> Deferred<M::Reply, AskError>
    where
        A: Receive<M>,
    {
        let (resolver, answer) = deferred();
        let answered = move |answer: Result<&[u8], AskError>| {
            resolver.resolve(answer.and_then(decode));
        };
        match self.submit(message, Box::new(answered), deadline) {
            Ok(()) => answer.brought_by(self.jobs.lock().bringer),
            Err(Refused::Draining) => Deferred::ready(Err(AskError::Draining)),
            Err(Refused::Full) => Deferred::ready(Err(AskError::Full)),
            Err(Refused::Timeout) => Deferred::ready(Err(AskError::Timeout)),
            Err(Refused::Disconnected) => Deferred::ready(Err(AskError::NotStarted)),
            Err(Refused::Encode) => Deferred::ready(Err(AskError::Codec(M::NAME.to_owned()))),
        }
    }

    fn submit<M: Message>(
        &self,
        message: &M,
        answered: Answered,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let mut body = Vec::new();
        encode(message, &mut body).map_err(|_| Refused::Encode)?;
        let command = CommandId::of(M::NAME);
        self.place(command, body.into(), answered, deadline)
            .map_err(|(refused, _)| refused)
    }

    /// Has a worker called, without waiting for room.
    pub(crate) fn call(&self, command: CommandId, body: Arc<[u8]>, answered: Answered) {
        if let Err((refused, job)) = self.place(command, body, answered, Deadline::Now) {
            (job.answered)(Err(match refused {
                Refused::Disconnected => AskError::NotStarted,
                _ => AskError::Full,
            }));
        }
    }

    fn place(
        &self,
        command: CommandId,
        body: Arc<[u8]>,
        answered: Answered,
        deadline: Deadline,
    ) -> Result<(), (Refused, Job)> {
        let deliveries = 0;
        let job = Job {
            command,
            body,
            answered,
            deliveries,
        };
        self.jobs.submit(job, deadline)
    }

    /// Finds the pool again as long as it is there.
    pub(crate) fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + Sync + use<A> {
        let (id, jobs) = (self.id, Arc::downgrade(&self.jobs));
        move || {
            let jobs = jobs.upgrade()?;
            let arbiter = jobs.arbiter.clone();
            Some(Self { id, arbiter, jobs })
        }
    }

    /// How many messages wait for a worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.jobs.lock().waiting.len()
    }

    /// The workers that are up.
    #[must_use]
    pub fn workers(&self) -> Vec<Proxy<A>> {
        self.jobs
            .lock()
            .workers
            .iter()
            .map(|worker| worker.proxy.clone())
            .collect()
    }

    /// Changes how many workers there shall be. Of too many the oldest are stopped.
    pub fn resize(&self, size: usize) {
        let id = self.id;
        // A pool without an arbiter has no workers to change.
        let _ = self
            .arbiter
            .shared
            .poster
            .post(move |ctx| Tree::resize_pool(ctx, id, size));
    }

    /// Treats the pool as this says from now on; no message is lost. What concerns the queue, and when
    /// workers are replaced, counts at once. If workers are to be made in another way, all are replaced, as by
    /// [`reload`](Self::reload). The name, the [size](Self::resize) and how failures are counted stay.
    pub fn change(&self, spec: MonitorSpec<A>) {
        if self.adopt(spec) {
            self.reload();
        }
    }

    /// As [`change`](Self::change), for those that are started from now on. Answers whether they are made in
    /// another way.
    pub(crate) fn adopt(&self, spec: MonitorSpec<A>) -> bool {
        let worker = spec.worker.restart(Restart::Temporary);
        let bringer = self.arbiter.bringer_of(worker.placement);
        let mold = self.jobs.mold.lock();
        let mut mold = mold.unwrap_or_else(PoisonError::into_inner);
        let is_other = !mold.makes_the_same(&worker);
        *mold = worker;
        drop(mold);
        self.jobs.change(spec.terms, bringer);
        let (id, options, wear) = (self.id, spec.options, spec.wear);
        let poster = &self.arbiter.shared.poster;
        // A pool without an arbiter has no workers to change.
        let _ = poster.post(move |ctx| Tree::change_pool(ctx, id, options, wear));
        is_other
    }

    /// Replaces every worker, the oldest first, each by one that is up before it goes. What they have
    /// not begun is given to others.
    pub fn reload(&self) {
        let id = self.id;
        let _ = self.arbiter.shared.poster.post(move |ctx| {
            Tree::feed_pool(ctx, id, PoolEvent::Reload);
        });
    }

    /// How the pool is doing; `None` once it has ended.
    pub fn info(&self) -> Deferred<Option<PoolInfo>, SpawnError> {
        let id = self.id;
        let (resolver, info) = deferred();
        let posted = self
            .arbiter
            .shared
            .poster
            .post(move |ctx| resolver.resolve(Ok(ctx.state.pool_info(id))));
        match posted {
            Ok(()) => info.brought_by(self.arbiter.shared.home.bringer()),
            Err(_) => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }
}

impl<A: Actor> Clone for Monitor<A> {
    fn clone(&self) -> Self {
        let (arbiter, jobs) = (self.arbiter.clone(), Arc::clone(&self.jobs));
        Self {
            id: self.id,
            arbiter,
            jobs,
        }
    }
}

impl<A: Actor> fmt::Debug for Monitor<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.jobs.lock();
        f.debug_struct("Monitor")
            .field("workers", &queue.workers.len())
            .field("waiting", &queue.waiting.len())
            .finish_non_exhaustive()
    }
}
