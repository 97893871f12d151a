//! Commands to the arbiter itself, from another program.

use std::time::Duration;

use ipc_core::Deadline;

use super::client::{RemoteArbiter, Waiting};
use super::wire::{Manage, Managed, Request};
use crate::deferred::deferred;
use crate::{ActorId, AskError, Deferred, TreeInfo};

impl RemoteArbiter {
    /// What the arbiter has below it: [`Arbiter::tree`](crate::Arbiter::tree). Needs
    /// [`Access::Authenticated`](crate::Access::Authenticated); how actors have failed is told with
    /// [`Access::Peer`](crate::Access::Peer) only.
    pub fn tree(&self) -> Deferred<TreeInfo, AskError> {
        self.order(Manage::Tree, Managed::tree)
    }

    /// Ends the arbiter, and with it an application, as [`Arbiter::stop`](crate::Arbiter::stop) does.
    /// The answer comes when that has begun; that the connection is lost meanwhile is as good an answer.
    /// Needs [`Access::Peer`](crate::Access::Peer).
    pub fn shutdown(&self) -> Deferred<(), AskError> {
        let (resolver, answer) = deferred();
        self.order(Manage::Shutdown, Managed::done)
            .then(move |ended| {
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
        self.order(Manage::Reload, Managed::done)
    }

    /// Ends an actor for good: [`Arbiter::stop_actor`](crate::Arbiter::stop_actor). Answers, when it is
    /// gone, whether there was one. Needs [`Access::Peer`](crate::Access::Peer).
    pub fn stop_actor(&self, id: ActorId) -> Deferred<bool, AskError> {
        self.order(Manage::StopActor(id.to_u64()), Managed::found)
    }

    /// Ends an actor when it has handled what it has, at the latest after `limit`:
    /// [`Arbiter::drain_actor`](crate::Arbiter::drain_actor). Answers, when it is gone, whether there was
    /// one. Needs [`Access::Peer`](crate::Access::Peer).
    pub fn drain_actor(&self, id: ActorId, limit: Duration) -> Deferred<bool, AskError> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.order(Manage::DrainActor(id.to_u64(), limit_ms), Managed::found)
    }

    /// Kills the present incarnation of an actor: [`Arbiter::kill_actor`](crate::Arbiter::kill_actor).
    /// Needs [`Access::Peer`](crate::Access::Peer).
    pub fn kill_actor(&self, id: ActorId) -> Deferred<(), AskError> {
        self.order(Manage::KillActor(id.to_u64()), Managed::done)
    }

    /// The settings of the program and their values; those of secrets are `***`. Needs
    /// [`Access::Authenticated`](crate::Access::Authenticated), and a program that is an
    /// [`Application`](crate::Application), as the next two.
    pub fn config(&self) -> Deferred<Vec<(String, String)>, AskError> {
        self.order(Manage::ConfigList, |managed| match managed {
            Managed::Settings(settings) => Some(settings),
            _ => None,
        })
    }

    /// The command `config get`: a setting's value, `None` if there is no such setting. Needs
    /// [`Access::Authenticated`](crate::Access::Authenticated).
    pub fn config_get(&self, name: &str) -> Deferred<Option<String>, AskError> {
        self.order(
            Manage::ConfigGet(name.to_owned()),
            |managed| match managed {
                Managed::Setting(value) => Some(value),
                _ => None,
            },
        )
    }

    /// The command `config set`: [`Running::config_set`](crate::Running::config_set). Answers in its own
    /// words what is wrong with the name or value. Needs [`Access::Peer`](crate::Access::Peer).
    pub fn config_set(&self, name: &str, value: &str) -> Deferred<Result<(), String>, AskError> {
        let order = Manage::ConfigSet(name.to_owned(), value.to_owned());
        self.order(order, |managed| match managed {
            Managed::Text(set) => Some(set.map(drop)),
            _ => None,
        })
    }

    /// The command `spawn`: what was [offered](crate::Arbiter::offer_spawn) under this name. Answers the
    /// new actor's id when it has started; [`Full`](AskError::Full) if that was done often enough. Needs
    /// [`Access::Peer`](crate::Access::Peer).
    pub fn spawn(&self, offer: &str) -> Deferred<ActorId, AskError> {
        self.order(Manage::Spawn(offer.to_owned()), |managed| match managed {
            Managed::Id(id) => Some(ActorId(id)),
            _ => None,
        })
    }

    /// The command `run`: the function that was [offered](crate::Arbiter::offer_run) under this name;
    /// nothing else can be run. Answers what it answers. Needs [`Access::Peer`](crate::Access::Peer).
    pub fn run(&self, offer: &str, text: &str) -> Deferred<Result<String, String>, AskError> {
        let order = Manage::Run(offer.to_owned(), text.to_owned());
        self.order(order, |managed| match managed {
            Managed::Text(text) => Some(text),
            _ => None,
        })
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
