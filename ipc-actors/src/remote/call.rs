//! What a caller may ask, and how it is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use super::door::Opened;
use super::wire::{Found, Manage, Managed, Request, Response};
use crate::command::CommandId;
use crate::wire::Block;
use crate::{Access, ActorId, Arbiter, AskError, Info};

/// One of those that are counted.
pub(super) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(super) fn one_more(counter: &Arc<AtomicUsize>) -> Self {
        // Relaxed everywhere: a counter that orders nothing else.
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The actors that a connection has found, by id.
pub(super) type Known = HashMap<u64, Arc<dyn Opened>>;

/// What is needed to answer.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) arbiter: Arbiter,
    pub(super) access: Access,
    pub(super) answers: SyncSender<Response>,
    pub(super) in_flight: Arc<AtomicUsize>,
    pub(super) in_flight_max: usize,
    pub(super) cut: Arc<AtomicBool>,
}

impl Call {
    /// Never waits: a caller that does not read its answers is cut off.
    fn respond(&self, response: Response) {
        if self.answers.try_send(response).is_err() {
            self.cut.store(true, Ordering::Relaxed);
        }
    }

    fn answer(&self, request: u64, answer: Result<Block, AskError>) {
        if request != 0 {
            self.respond(Response::Answer { request, answer });
        }
    }

    fn info(&self, request: u64, info: Result<Info, AskError>) {
        let info = info.map(Box::new);
        self.respond(Response::Info { request, info });
    }

    /// Takes one request. What is not answered at once counts as under way until it is.
    pub(super) fn take(&self, request: Request, known: &mut Known) {
        let full = self.in_flight.load(Ordering::Relaxed) >= self.in_flight_max;
        let stranger = AskError::NotStarted;
        match request {
            Request::Find { request, name } => self.find(request, &name, known),
            Request::Call { request, .. } | Request::Ping { request, .. } if full => {
                self.answer(request, Err(AskError::Full));
            }
            Request::Info { request, .. } if full => self.info(request, Err(AskError::Full)),
            Request::Manage { request, .. } if full => {
                self.managed(request, Err(AskError::Full));
            }
            Request::Call {
                request,
                actor,
                command,
                body,
            } => match known.get(&actor) {
                Some(opened) => self.call(request, &**opened, command, body),
                None => self.answer(request, Err(stranger)),
            },
            Request::Ping { request, actor } => match known.get(&actor) {
                Some(opened) => {
                    let (call, counted) = (self.clone(), Count::one_more(&self.in_flight));
                    opened.ping().then(move |pong| {
                        drop(counted);
                        call.answer(request, pong.map(|()| Block::default()));
                    });
                }
                None => self.answer(request, Err(stranger)),
            },
            Request::Echo { request, body, .. } => self.answer(request, Ok(body)),
            Request::Info { request, actor } => match known.get(&actor) {
                Some(_) if self.access < Access::Authenticated => {
                    self.info(request, Err(AskError::Forbidden("info".to_owned())));
                }
                Some(opened) => {
                    let (call, counted) = (self.clone(), Count::one_more(&self.in_flight));
                    opened.info().then(move |info| {
                        drop(counted);
                        call.info(request, info);
                    });
                }
                None => self.info(request, Err(stranger)),
            },
            Request::Stop { actor } => {
                if let Some(opened) = known.get(&actor).filter(|_| self.access >= Access::Peer) {
                    opened.stop();
                }
            }
            Request::Manage { request, order } => self.manage(request, &order),
        }
    }

    fn find(&self, request: u64, name: &str, known: &mut Known) {
        let found = self.arbiter.shared.find(name).map(|opened| {
            let found = Found {
                id: opened.id().to_u64(),
                kind: opened.kind().to_owned(),
                placement: opened.placement(),
                commands: opened.commands(self.access),
            };
            known.insert(found.id, opened);
            found
        });
        self.respond(Response::Found { request, found });
    }

    fn call(&self, request: u64, opened: &dyn Opened, command: u32, body: Block) {
        let (call, counted) = (self.clone(), Count::one_more(&self.in_flight));
        let body: Arc<[u8]> = body.0.into();
        let answered = Box::new(move |answer: Result<&[u8], AskError>| {
            drop(counted);
            call.answer(request, answer.map(|bytes| Block(bytes.to_vec())));
        });
        opened.call(CommandId(command), &body, self.access, answered);
    }

    fn managed(&self, request: u64, answer: Result<Managed, AskError>) {
        self.respond(Response::Managed { request, answer });
    }

    fn manage(&self, request: u64, order: &Manage) {
        let (needed, name) = order.required();
        if self.access < needed {
            return self.managed(request, Err(AskError::Forbidden(name.to_owned())));
        }
        let (call, counted) = (self.clone(), Count::one_more(&self.in_flight));
        let answered = move |answer: Result<Managed, AskError>| {
            drop(counted);
            call.managed(request, answer);
        };
        match *order {
            Manage::Tree => self.arbiter.tree().then(move |tree| {
                let tree = tree.map_err(|_| AskError::NotStarted);
                answered(tree.map(|tree| Managed::Tree(Box::new(tree))));
            }),
            Manage::Shutdown => {
                answered(Ok(Managed::Done));
                self.arbiter.stop();
            }
            Manage::Reload => {
                self.arbiter.reload();
                answered(Ok(Managed::Done));
            }
            Manage::StopActor(id) => {
                let gone = self.arbiter.stop_actor(ActorId(id));
                gone.then(move |gone| {
                    let gone = gone.map_err(|_| AskError::NotStarted);
                    answered(gone.map(|reason| Managed::Found(reason.is_some())));
                });
            }
            Manage::KillActor(id) => {
                self.arbiter.kill_actor(ActorId(id));
                answered(Ok(Managed::Done));
            }
        }
    }
}

impl Manage {
    /// Who may ask this, and what it is called.
    fn required(&self) -> (Access, &'static str) {
        match self {
            Self::Tree => (Access::Authenticated, "tree"),
            Self::Shutdown => (Access::Peer, "shutdown"),
            Self::Reload => (Access::Peer, "reload"),
            Self::StopActor(_) => (Access::Peer, "stop"),
            Self::KillActor(_) => (Access::Peer, "kill"),
        }
    }
}
