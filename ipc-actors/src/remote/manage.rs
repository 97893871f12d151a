//! Commands to the arbiter itself, from another program.

use ipc_core::Deadline;

use super::client::{RemoteArbiter, Waiting};
use super::wire::{Manage, Managed, Request};
use crate::deferred::deferred;
use crate::{ActorId, AskError, Deferred, TreeInfo};

impl RemoteArbiter {
    /// What the arbiter has below it: [`Arbiter::tree`](crate::Arbiter::tree). Needs
    /// [`Access::Authenticated`](crate::Access::Authenticated).
    pub fn tree(&self) -> Deferred<TreeInfo, AskError> {
        self.order(Manage::Tree, |managed| match managed {
            Managed::Tree(tree) => Some(*tree),
            _ => None,
        })
    }

    /// Ends the arbiter, and with it an application, as [`Arbiter::stop`](crate::Arbiter::stop) does.
    /// The answer comes when that has begun; that the connection is lost meanwhile is as good an answer.
    /// Needs [`Access::Peer`](crate::Access::Peer).
    pub fn shutdown(&self) -> Deferred<(), AskError> {
        let (resolver, answer) = deferred();
        self.order(Manage::Shutdown, done).then(move |ended| {
            resolver.resolve(match ended {
                Err(AskError::Lost) => Ok(()),
                ended => ended,
            });
        });
        answer
    }

    /// Replaces the workers of all pools: [`Arbiter::reload`](crate::Arbiter::reload). The answer comes
    /// when that has begun. Needs [`Access::Peer`](crate::Access::Peer).
    pub fn reload(&self) -> Deferred<(), AskError> {
        self.order(Manage::Reload, done)
    }

    /// Ends an actor for good: [`Arbiter::stop_actor`](crate::Arbiter::stop_actor). Answers, when it is
    /// gone, whether there was one. Needs [`Access::Peer`](crate::Access::Peer).
    pub fn stop_actor(&self, id: ActorId) -> Deferred<bool, AskError> {
        self.order(Manage::StopActor(id.to_u64()), |managed| match managed {
            Managed::Found(found) => Some(found),
            _ => None,
        })
    }

    /// Kills the present incarnation of an actor: [`Arbiter::kill_actor`](crate::Arbiter::kill_actor).
    /// Needs [`Access::Peer`](crate::Access::Peer).
    pub fn kill_actor(&self, id: ActorId) -> Deferred<(), AskError> {
        self.order(Manage::KillActor(id.to_u64()), done)
    }

    fn order<T: Send + 'static>(
        &self,
        order: Manage,
        expected: fn(Managed) -> Option<T>,
    ) -> Deferred<T, AskError> {
        let (resolver, answer) = deferred();
        let managed = move |managed: Result<Managed, AskError>| {
            let answer = managed.and_then(|managed| expected(managed).ok_or(AskError::Lost));
            resolver.resolve(answer);
        };
        let waiting = Waiting::Managed(Box::new(managed));
        self.connection
            .ask(waiting, Deadline::Never, |request| Request::Manage {
                request,
                order,
            });
        answer
    }
}

fn done(managed: Managed) -> Option<()> {
    matches!(managed, Managed::Done).then_some(())
}
