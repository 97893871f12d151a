//! What a connection sees of an actor.

use std::any::Any;
use std::sync::Arc;

use crate::command::CommandId;
use crate::link::Answered;
use crate::{
    Access, Actor, ActorId, AskError, Commands, Deferred, ExitReason, Info, Placement, Proxy,
};

/// An actor as a remote caller sees it, without its type.
pub(crate) trait Erased: Send {
    /// Opens it for a caller, who may use only the messages of the list if there is one.
    fn open(&self, allowed: Option<Arc<[String]>>) -> Arc<dyn Opened>;
    fn as_any(&self) -> &dyn Any;
}

/// An actor that a connection has found.
pub(crate) trait Opened: Send + Sync {
    fn id(&self) -> ActorId;
    fn kind(&self) -> &'static str;
    fn placement(&self) -> Placement;
    fn incarnation(&self) -> u32;
    /// The name of a command that it knows.
    fn name_of(&self, command: CommandId) -> Option<&'static str>;
    /// Whether a caller of this level may send a message of this length.
    fn check(&self, command: CommandId, len: usize, access: Access) -> Result<(), AskError>;
    /// Has a message delivered, whoever it is from, or answers why not. Never waits.
    fn call(&self, command: CommandId, body: &Arc<[u8]>, answered: Answered);
    fn ping(&self) -> Deferred<(), AskError>;
    fn info(&self) -> Deferred<Info, AskError>;
    fn stop(&self);
    /// Has it take no more messages; answers when those that it has are handled. What is no single
    /// actor takes them as before.
    fn drain(&self) -> Deferred<(), AskError> {
        Deferred::ready(Ok(()))
    }
    /// The registered messages that a caller of this level may use.
    fn commands(&self, access: Access) -> Vec<String>;
}

struct Door<A: Actor> {
    proxy: Proxy<A>,
    commands: Arc<Commands<A>>,
    allowed: Option<Arc<[String]>>,
}

impl<A: Actor> Door<A> {
    fn allows(&self, name: &str) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|names| names.iter().any(|allowed| allowed == name))
    }
}

impl<A: Actor> Erased for Proxy<A> {
    fn open(&self, allowed: Option<Arc<[String]>>) -> Arc<dyn Opened> {
        Arc::new(Door {
            proxy: self.clone(),
            commands: Commands::shared(),
            allowed,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<A: Actor> Opened for Door<A> {
    fn id(&self) -> ActorId {
        self.proxy.id()
    }

    fn kind(&self) -> &'static str {
        A::NAME
    }

    fn placement(&self) -> Placement {
        self.proxy.placement()
    }

    fn incarnation(&self) -> u32 {
        self.proxy.incarnation()
    }

    fn name_of(&self, command: CommandId) -> Option<&'static str> {
        self.commands.find(command).map(|command| command.name)
    }

    fn check(&self, command: CommandId, len: usize, access: Access) -> Result<(), AskError> {
        self.commands
            .check(command, len, access, |name| self.allows(name))
    }

    fn call(&self, command: CommandId, body: &Arc<[u8]>, answered: Answered) {
        self.proxy.call(&self.commands, command, body, answered);
    }

    fn ping(&self) -> Deferred<(), AskError> {
        self.proxy.ping()
    }

    fn info(&self) -> Deferred<Info, AskError> {
        self.proxy.info()
    }

    fn stop(&self) {
        self.proxy.stop(ExitReason::Shutdown);
    }

    fn drain(&self) -> Deferred<(), AskError> {
        self.proxy.drain()
    }

    fn commands(&self, access: Access) -> Vec<String> {
        let names = self.commands.names_for(access).into_iter();
        let allowed = names.filter(|name| self.allows(name));
        allowed.map(str::to_owned).collect()
    }
}
