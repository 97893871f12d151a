//! What remote operators reach besides actors: settings, and what was offered by name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::deferred::deferred;
use crate::{Actor, ActorId, Arbiter, Deferred, SpawnError, Spec};

/// The settings of a running program, by name.
pub(crate) trait Configure: Send + Sync {
    /// The names and values of all; those of secrets are not shown.
    fn list(&self) -> Vec<(String, String)>;
    fn get(&self, name: &str) -> Option<String>;
    /// Changes one; the text says why not.
    fn set(&self, name: &str, value: &str) -> Result<(), String>;
}

type Spawner = dyn Fn(&Arbiter) -> Deferred<ActorId, SpawnError> + Send + Sync;
type Runner = dyn Fn(&str) -> Result<String, String> + Send + Sync;

struct Offer {
    spawner: Arc<Spawner>,
    /// How many may still be spawned.
    left: usize,
}

/// What remote operators may have done, by name.
#[derive(Default)]
pub(crate) struct Offers {
    settings: Mutex<Option<Arc<dyn Configure>>>,
    spawners: Mutex<HashMap<String, Offer>>,
    runners: Mutex<HashMap<String, Arc<Runner>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Offers {
    pub(crate) fn settings(&self) -> Option<Arc<dyn Configure>> {
        lock(&self.settings).clone()
    }

    pub(crate) fn set_settings(&self, settings: Option<Arc<dyn Configure>>) {
        *lock(&self.settings) = settings;
    }

    pub(crate) fn runner(&self, name: &str) -> Option<Arc<Runner>> {
        lock(&self.runners).get(name).cloned()
    }

    /// Takes one of those that may be spawned under this name.
    pub(crate) fn spawner(&self, name: &str) -> Result<Arc<Spawner>, Exhausted> {
        let mut spawners = lock(&self.spawners);
        let offer = spawners.get_mut(name).ok_or(Exhausted::Unknown)?;
        offer.left = offer.left.checked_sub(1).ok_or(Exhausted::Spent)?;
        Ok(Arc::clone(&offer.spawner))
    }
}

/// Why nothing is spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Unknown,
    Spent,
}

impl fmt::Debug for Offers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offers").finish_non_exhaustive()
    }
}

impl Arbiter {
    /// Lets remote operators spawn actors of this kind: as `spec` says, under the name that is given
    /// here, and at most `count_max` in all. A caller chooses neither what they are made from nor where
    /// they run.
    pub fn offer_spawn<A: Actor>(&self, name: &str, spec: Spec<A>, count_max: usize)
    where
        A::Params: Sync,
    {
        let spawner = move |arbiter: &Self| {
            let (resolver, spawned) = deferred();
            let spawning = arbiter.spawn(spec.clone());
            spawning
                .into_deferred()
                .then(move |proxy| resolver.resolve(proxy.map(|proxy| proxy.id())));
            spawned
        };
        let offer = Offer {
            spawner: Arc::new(spawner),
            left: count_max,
        };
        lock(&self.shared.offers.spawners).insert(name.to_owned(), offer);
    }

    /// Lets remote operators run this function by its name: text in, text out. It runs on the thread of
    /// the caller's connection and holds up nobody else.
    pub fn offer_run(
        &self,
        name: &str,
        run: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static,
    ) {
        lock(&self.shared.offers.runners).insert(name.to_owned(), Arc::new(run));
    }
}
