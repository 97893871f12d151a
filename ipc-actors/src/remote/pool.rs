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
            commands: Commands::shared(),
            pool: Arc::new(self.downgrade()),
        };
        let shared = &self.arbiter.shared;
        shared.register_any(&name.into(), door.id, Box::new(door))
    }
}

struct PoolDoor<A: Actor> {
    id: ActorId,
    commands: Arc<Commands<A>>,
    /// Finds it as long as it is there; it must not live longer because of its name.
    pool: Arc<dyn Fn() -> Option<Monitor<A>> + Send + Sync>,
}

impl<A: Actor> Clone for PoolDoor<A> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            commands: Arc::clone(&self.commands),
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

    fn incarnation(&self) -> u32 {
        0
    }

    fn name_of(&self, command: CommandId) -> Option<&'static str> {
        self.commands.find(command).map(|command| command.name)
    }

    fn check(&self, command: CommandId, len: usize, access: Access) -> Result<(), AskError> {
        self.commands.check(command, len, access, |_| true)
    }

    fn call(&self, command: CommandId, body: &Arc<[u8]>, answered: Answered) {
        match (self.pool)() {
            Some(pool) => pool.call(command, Arc::clone(body), answered),
            None => answered(Err(AskError::NotStarted)),
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
        let names = self.commands.names_for(access);
        names.into_iter().map(str::to_owned).collect()
    }
}
