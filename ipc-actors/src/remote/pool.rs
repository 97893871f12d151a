//! A pool as remote callers see it.

use std::any::Any;
use std::sync::Arc;

use super::door::{Erased, Opened};
use crate::command::CommandId;
use crate::link::Answered;
use crate::{
    Access, Actor, ActorId, AskError, Commands, Deferred, Info, Monitor, Placement, SpawnError,
};

impl<A: Actor> Monitor<A> {
    /// Lets remote callers find the pool by this name, as if it were one actor of the workers' kind:
    /// what they call is done by one of the workers, waits in the pool's queue and counts as one of
    /// the worker's requests. It answers a ping as long as there is a worker, knows no `info`, and is
    /// not stopped by one of them. The id by which it is found is that of no actor.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NameTaken`].
    pub fn publish(&self, name: &str) -> Result<(), SpawnError> {
        let door = PoolDoor {
            id: ActorId::next(),
            pool: Arc::new(self.downgrade()),
        };
        let shared = &self.arbiter.shared;
        shared.register_any(&name.into(), door.id, Box::new(door))
    }
}

struct PoolDoor<A: Actor> {
    id: ActorId,
    /// Finds it as long as it is there; it must not live longer because of its name.
    pool: Arc<dyn Fn() -> Option<Monitor<A>> + Send + Sync>,
}

impl<A: Actor> Clone for PoolDoor<A> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            pool: Arc::clone(&self.pool),
        }
    }
}

impl<A: Actor> Erased for PoolDoor<A> {
    fn open(&self, _: Option<Arc<[String]>>) -> Arc<dyn Opened> {
        Arc::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<A: Actor> Opened for PoolDoor<A> {
    fn id(&self) -> ActorId {
        self.id
    }

    fn kind(&self) -> &'static str {
        A::NAME
    }

    fn placement(&self) -> Placement {
        Placement::Local
    }

    fn call(&self, command: CommandId, body: &Arc<[u8]>, access: Access, answered: Answered) {
        match Commands::<A>::of_actor().required(command) {
            Some((_, needed)) if needed <= access => match (self.pool)() {
                Some(pool) => pool.call(command, Arc::clone(body), answered),
                None => answered(Err(AskError::NotStarted)),
            },
            Some((name, _)) => answered(Err(AskError::Forbidden(name.to_owned()))),
            None => answered(Err(AskError::UnknownCommand(format!("{:08x}", command.0)))),
        }
    }

    fn ping(&self) -> Deferred<(), AskError> {
        let workers = (self.pool)().map(|pool| pool.workers());
        match workers.unwrap_or_default().first() {
            Some(worker) => worker.ping(),
            None => Deferred::ready(Err(AskError::NotStarted)),
        }
    }

    fn info(&self) -> Deferred<Info, AskError> {
        Deferred::ready(Err(AskError::UnknownCommand("info".to_owned())))
    }

    fn stop(&self) {}

    fn commands(&self, access: Access) -> Vec<String> {
        let names = Commands::<A>::of_actor().names_for(access);
        names.into_iter().map(str::to_owned).collect()
    }
}
