//! What the arbiter does for those who may ask it: operators in other programs, and actors in processes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::wire::{Manage, Managed};
use crate::arbiter::Exhausted;
use crate::audit::brief;
use crate::{Access, ActorId, Arbiter, AskError, Deed};

/// Gets the answer to an order.
pub(crate) type Ordered = Box<dyn FnOnce(Result<Managed, AskError>) + Send>;

impl Arbiter {
    /// Obeys one who may, at this level.
    pub(crate) fn obey(
        &self,
        order: &Manage,
        access: Access,
        answered: impl FnOnce(Result<Managed, AskError>) + Send + 'static,
    ) {
        let is_operator = access >= Access::Peer;
        match *order {
            Manage::Tree => self.tree().then(move |tree| {
                let tree = tree.map_err(|_| AskError::NotStarted);
                let tree = tree.map(|tree| if is_operator { tree } else { tree.redacted() });
                answered(tree.map(|tree| Managed::Tree(Box::new(tree))));
            }),
            Manage::Shutdown => {
                answered(Ok(Managed::Done));
                self.stop();
            }
            Manage::Reload => {
                self.reload();
                answered(Ok(Managed::Done));
            }
            Manage::StopActor(id) => self.stop_actor(ActorId(id)).then(move |gone| {
                let gone = gone.map_err(|_| AskError::NotStarted);
                answered(gone.map(|reason| Managed::Found(reason.is_some())));
            }),
            Manage::DrainActor(id, limit_ms) => {
                let gone = self.drain_actor(ActorId(id), Duration::from_millis(limit_ms));
                gone.then(move |gone| {
                    let gone = gone.map_err(|_| AskError::NotStarted);
                    answered(gone.map(|reason| Managed::Found(reason.is_some())));
                });
            }
            Manage::KillActor(id) => {
                self.kill_actor(ActorId(id));
                answered(Ok(Managed::Done));
            }
            Manage::ConfigList | Manage::ConfigGet(_) | Manage::ConfigSet(..) => {
                answered(self.configure(order));
            }
            Manage::Spawn(ref name) => match self.shared.offers.spawner(name) {
                Ok(spawner) => spawner(self).then(move |id| {
                    let id = id.map_err(|error| AskError::Codec(error.to_string()));
                    answered(id.map(|id| Managed::Id(id.to_u64())));
                }),
                Err(Exhausted::Spent) => answered(Err(AskError::Full)),
                Err(Exhausted::Unknown) => {
                    answered(Err(AskError::UnknownCommand(name.clone())));
                }
            },
            Manage::Run(ref name, ref text) => {
                let runner = self.shared.offers.runner(name);
                let unknown = || AskError::UnknownCommand(name.clone());
                let done = runner.ok_or_else(unknown).and_then(|runner| {
                    let run = AssertUnwindSafe(|| runner(text));
                    catch_unwind(run).map_err(|_| AskError::Started)
                });
                answered(done.map(Managed::Text));
            }
        }
    }

    fn configure(&self, order: &Manage) -> Result<Managed, AskError> {
        let settings = self.shared.offers.settings();
        let unknown = || AskError::UnknownCommand("config".to_owned());
        let settings = settings.ok_or_else(unknown)?;
        Ok(match order {
            Manage::ConfigGet(name) => Managed::Setting(settings.get(name)),
            Manage::ConfigSet(name, value) => {
                let set = settings.set(name, value);
                Managed::Text(set.map(|()| String::new()))
            }
            _ => Managed::Settings(settings.list()),
        })
    }
}

impl Manage {
    /// Who may ask this, and what it is called.
    pub(crate) fn required(&self) -> (Access, &'static str) {
        match self {
            Self::Tree => (Access::Authenticated, "tree"),
            Self::Shutdown => (Access::Peer, "shutdown"),
            Self::Reload => (Access::Peer, "reload"),
            Self::StopActor(_) => (Access::Peer, "stop"),
            Self::DrainActor(..) => (Access::Peer, "drain"),
            Self::KillActor(_) => (Access::Peer, "kill"),
            Self::ConfigList | Self::ConfigGet(_) => (Access::Authenticated, "config get"),
            Self::ConfigSet(..) => (Access::Peer, "config set"),
            Self::Spawn(_) => (Access::Peer, "spawn"),
            Self::Run(..) => (Access::Peer, "run"),
        }
    }

    /// What an audit tells of it, if it changes anything.
    pub(crate) fn deed(&self) -> Option<Deed> {
        Some(match self {
            Self::Tree | Self::ConfigList | Self::ConfigGet(_) => return None,
            Self::Shutdown => Deed::Shutdown,
            Self::Reload => Deed::Reload,
            Self::StopActor(id) | Self::DrainActor(id, _) => Deed::Stop(ActorId(*id)),
            Self::KillActor(id) => Deed::Kill(ActorId(*id)),
            Self::ConfigSet(name, _) => Deed::Config(brief(name)),
            Self::Spawn(name) => Deed::Spawn(brief(name)),
            Self::Run(name, _) => Deed::Run(brief(name)),
        })
    }
}

impl Managed {
    pub(crate) fn done(self) -> Option<()> {
        matches!(self, Self::Done).then_some(())
    }

    pub(crate) fn found(self) -> Option<bool> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }

    pub(crate) fn tree(self) -> Option<crate::TreeInfo> {
        match self {
            Self::Tree(tree) => Some(*tree),
            _ => None,
        }
    }
}
