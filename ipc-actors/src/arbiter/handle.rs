//! The arbiter as others see it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use ipc_dispatch::Poster;

use super::config::Offers;
use super::groups::Groups;
use super::shelter::Shelter;
use super::slot::Seed;
use super::time::Clock;
use super::tree::Tree;
use super::wishes::{Midwife, midwife};
use crate::audit::Auditors;
use crate::deferred::{Resolver, deferred};
use crate::id::IdMap;
use crate::local::LoopShared;
use crate::remote::{Erased, Opened};
use crate::{Actor, ActorId, Deferred, ExitReason, Proxy, SpawnError, Spec, SupervisorSpec};

/// Reaches an arbiter from any thread of its process. Cheap to clone; does not keep it running.
#[derive(Clone)]
pub struct Arbiter {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) poster: Poster<Tree>,
    pub(crate) home: Arc<LoopShared>,
    pub(crate) clock: Clock,
    pub(crate) offers: Offers,
    pub(crate) auditors: Auditors,
    names: Mutex<Names>,
    groups: Mutex<Groups>,
    /// Who makes the actors that processes may spawn, by kind.
    midwives: Mutex<HashMap<&'static str, Midwife>>,
    /// Where processes wait that outlive their arbiter, if they do, until this one ends.
    shelter: Mutex<Option<Arc<Shelter>>>,
}

/// The arbiters of this process, for proxies that come in messages.
static HERE: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// The actor of this name and number, of whichever arbiter of this process.
pub(crate) fn find_here<A: Actor>(name: &str, id: u64) -> Option<Proxy<A>> {
    let arbiters = HERE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut arbiters = arbiters.iter().filter_map(Weak::upgrade);
    arbiters.find_map(|shared| {
        let proxy = Arbiter::new(shared).get_actor::<A>(name)?;
        (proxy.id().to_u64() == id).then_some(proxy)
    })
}

/// What can be found, by name and by id.
#[derive(Default)]
struct Names {
    ids: HashMap<Arc<str>, ActorId>,
    named: IdMap<ActorId, Named>,
}

impl Names {
    fn get(&self, name: &str) -> Option<&Named> {
        self.named.get(self.ids.get(name)?)
    }
}

struct Named {
    /// A `Proxy<A>` for the actor's type.
    proxy: Box<dyn Erased>,
    /// What remote callers may use; everything that their level allows if there is no list.
    allowed: Option<Arc<[String]>>,
}

pub(super) type SpawnResolver<A> = Resolver<Proxy<A>, SpawnError>;

/// An actor that is being spawned: its id is known, its proxy comes when it has started.
#[must_use = "the actor may fail to start"]
pub struct Spawning<A: Actor> {
    id: ActorId,
    proxy: Deferred<Proxy<A>, SpawnError>,
}

impl Shared {
    pub(super) fn new(poster: Poster<Tree>, clock: Clock, shelter: Option<Arc<Shelter>>) -> Self {
        let home = Arc::new(LoopShared::new(poster.clone()));
        Self {
            poster,
            home,
            clock,
            offers: Offers::default(),
            auditors: Auditors::default(),
            names: Mutex::default(),
            groups: Mutex::default(),
            midwives: Mutex::default(),
            shelter: Mutex::new(shelter),
        }
    }

    pub(super) fn shelter(&self) -> Option<Arc<Shelter>> {
        let shelter = self.shelter.lock();
        shelter.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn leave_shelter(&self) {
        let mut shelter = self.shelter.lock().unwrap_or_else(PoisonError::into_inner);
        *shelter = None;
    }

    /// Puts it where proxies that come in messages look.
    pub(super) fn be_found(self: &Arc<Self>) {
        let mut here = HERE.lock().unwrap_or_else(PoisonError::into_inner);
        here.retain(|shared| shared.strong_count() > 0);
        here.push(Arc::downgrade(self));
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register<A: Actor>(
        &self,
        name: &Arc<str>,
        id: ActorId,
        proxy: Proxy<A>,
        allowed: Option<Arc<[String]>>,
    ) -> Result<(), SpawnError> {
        let proxy = Box::new(proxy);
        self.insert(name, id, Named { proxy, allowed })
    }

    /// Registers what is no single actor.
    pub(crate) fn register_any(
        &self,
        name: &Arc<str>,
        id: ActorId,
        proxy: Box<dyn Erased>,
    ) -> Result<(), SpawnError> {
        let allowed = None;
        self.insert(name, id, Named { proxy, allowed })
    }

    fn insert(&self, name: &Arc<str>, id: ActorId, named: Named) -> Result<(), SpawnError> {
        let mut names = self.names();
        if names.ids.contains_key(name) {
            return Err(SpawnError::NameTaken(name.to_string()));
        }
        names.ids.insert(Arc::clone(name), id);
        names.named.insert(id, named);
        Ok(())
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The actor of this name, for a remote caller.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Opened>> {
        let names = self.names();
        let named = names.get(name)?;
        Some(named.proxy.open(named.allowed.clone()))
    }

    /// The actor of this number, for another actor of this arbiter.
    pub(super) fn find_id(&self, id: ActorId) -> Option<Arc<dyn Opened>> {
        Some(self.names().named.get(&id)?.proxy.open(None))
    }

    pub(super) fn midwife(&self, kind: &str) -> Option<Midwife> {
        let midwives = self.midwives.lock();
        let midwives = midwives.unwrap_or_else(PoisonError::into_inner);
        midwives.get(kind).copied()
    }

    pub(super) fn forget(&self, name: &str, id: ActorId) {
        let mut names = self.names();
        if names.ids.get(name) == Some(&id) {
            names.ids.remove(name);
        }
        let named = names.named.remove(&id);
        drop(names);
        drop(named);
        self.groups().forget(id);
    }
}

impl Arbiter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Spawns an actor under the arbiter, which restarts it as its policy says. The id is known at
    /// once; the proxy comes when `init` and `start` are done, and until the actor is forgotten its
    /// name is taken.
    pub fn spawn<A: Actor>(&self, spec: Spec<A>) -> Spawning<A> {
        let seed = match Seed::named(spec, self) {
            Ok(seed) => seed,
            Err(error) => {
                return Spawning {
                    id: ActorId::next(),
                    proxy: Deferred::ready(Err(error)),
                };
            }
        };
        let (id, own) = (seed.id(), seed.proxy());
        let (resolver, proxy) = deferred();
        let proxy = proxy.brought_by(self.shared.home.bringer());
        let posted = self
            .shared
            .poster
            .post(move |ctx| Tree::add(ctx, seed.plant(resolver)));
        if posted.is_err() {
            self.shared.forget(own.name(), id);
            return Spawning {
                id,
                proxy: Deferred::ready(Err(SpawnError::Disconnected)),
            };
        }
        Spawning { id, proxy }
    }

    /// Starts a supervisor and its children under the arbiter, in their order. The result comes when
    /// all have started, or when one has failed and those before it are stopped again.
    pub fn supervise(&self, spec: SupervisorSpec) -> Deferred<(), SpawnError> {
        let (resolver, started) = deferred();
        let posted = self
            .shared
            .poster
            .post(move |ctx| Tree::supervise(ctx, spec, resolver));
        match posted {
            Ok(()) => started.brought_by(self.shared.home.bringer()),
            Err(_) => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }

    /// Lets actors in their own processes spawn actors of this kind under this arbiter
    /// ([`Context::spawn`](crate::Context::spawn)). Nothing that a process sends can name another.
    pub fn allow_spawn<A: Actor>(&self) {
        let midwives = self.shared.midwives.lock();
        let mut midwives = midwives.unwrap_or_else(PoisonError::into_inner);
        midwives.insert(A::NAME, midwife::<A>);
    }

    /// The actor of this name, if there is one and it is of this type.
    #[must_use]
    pub fn get_actor<A: Actor>(&self, name: &str) -> Option<Proxy<A>> {
        self.shared
            .names()
            .get(name)?
            .proxy
            .as_any()
            .downcast_ref::<Proxy<A>>()
            .cloned()
    }

    /// Makes an actor a member of a group, once. It leaves when it is gone for good.
    pub fn join<A: Actor>(&self, group: &str, proxy: &Proxy<A>) {
        let mut groups = self.shared.groups();
        groups.join(group, proxy.id(), || Box::new(proxy.clone()));
    }

    /// Ends an actor's membership.
    pub fn leave(&self, group: &str, id: ActorId) {
        self.shared.groups().leave(group, id);
    }

    /// The members of a group that are of this type, in the order in which they joined.
    #[must_use]
    pub fn members<A: Actor>(&self, group: &str) -> Vec<Proxy<A>> {
        let groups = self.shared.groups();
        let members = groups.members(group);
        members
            .filter_map(|member| member.as_any().downcast_ref().cloned())
            .collect()
    }

    /// The names of all actors, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .shared
            .names()
            .ids
            .keys()
            .map(|name| name.to_string())
            .collect();
        names.sort_unstable();
        names
    }

    /// Ends an actor for good, as its policy says: it is asked, and killed when it takes too long.
    /// Answers, when it is gone, why it ended; `None` if there is no such actor.
    pub fn stop_actor(&self, id: ActorId) -> Deferred<Option<ExitReason>, SpawnError> {
        let (resolver, gone) = deferred();
        let posted = self
            .shared
            .poster
            .post(move |ctx| Tree::stop_actor(ctx, id, resolver));
        match posted {
            Ok(()) => gone.brought_by(self.shared.home.bringer()),
            Err(_) => Deferred::ready(Err(SpawnError::Disconnected)),
        }
    }

    /// Kills the present incarnation of an actor, which its supervisor treats as a failure. A process
    /// is killed; a thread is abandoned: it goes on until its handler returns, and nothing it does
    /// counts any more.
    pub fn kill_actor(&self, id: ActorId) {
        // An arbiter that is gone has taken its actors along.
        let _ = self
            .shared
            .poster
            .post(move |ctx| Tree::kill(ctx, id, ExitReason::Killed));
    }

    /// Ends the arbiter: all actors are asked to stop, in reverse order. A second call kills them.
    pub fn stop(&self) {
        let _ = self.shared.poster.post(|ctx| Tree::stop(ctx, 0));
    }
}

impl fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arbiter")
            .field("names", &self.names())
            .finish()
    }
}

impl<A: Actor> Spawning<A> {
    /// The id the actor will have.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// Waits until the actor has started. The start's own time-out ends the wait.
    ///
    /// # Errors
    ///
    /// Why it did not start.
    pub fn wait(self) -> Result<Proxy<A>, SpawnError> {
        self.proxy.wait()
    }

    /// Waits until the actor has started, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// What is being waited for, when time is up.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Result<Proxy<A>, SpawnError>, Self> {
        let id = self.id;
        self.proxy
            .wait_timeout(timeout)
            .map_err(|proxy| Self { id, proxy })
    }

    /// Waits until the actor has started, until `deadline`.
    ///
    /// # Errors
    ///
    /// What is being waited for, when time is up.
    pub fn wait_deadline(self, deadline: Instant) -> Result<Result<Proxy<A>, SpawnError>, Self> {
        let id = self.id;
        self.proxy
            .wait_deadline(deadline)
            .map_err(|proxy| Self { id, proxy })
    }

    /// The proxy to come, to be awaited or given a callback.
    pub fn into_deferred(self) -> Deferred<Proxy<A>, SpawnError> {
        self.proxy
    }
}

impl<A: Actor> fmt::Debug for Spawning<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawning")
            .field("id", &self.id)
            .field("proxy", &self.proxy)
            .finish()
    }
}
