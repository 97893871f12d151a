//! The way from an actor's own process to its arbiter and, through that, to other actors.

use std::any::Any;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ipc_core::Deadline;
use ipc_marshal::{SendError as DuctError, Sender, TrySendError};
use serde::{Deserialize, Serialize};

use crate::command::CommandId;
use crate::deferred::{Resolver, deferred};
use crate::direct::Direct;
use crate::link::{Answered, Pending, Refused};
use crate::mailbox::Mailbox;
use crate::proxy::Route;
use crate::remote::{Manage, Managed, Ordered};
use crate::spec::Variables;
use crate::status::Status;
use crate::wire::{Block, FromActor, Report};
use crate::{
    Actor, ActorId, AskError, ChildPolicy, Deferred, Info, Placement, Proxy, SpawnError, Spec,
    State,
};

/// What an actor in its own process wants of its arbiter.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    Find {
        request: u64,
        name: String,
    },
    /// No answer is wanted if `request` is zero.
    Call {
        request: u64,
        actor: u64,
        command: u32,
        body: Block,
    },
    Ping {
        request: u64,
        actor: u64,
    },
    Info {
        request: u64,
        actor: u64,
    },
    Stop {
        actor: u64,
    },
    /// A way to the actor that does not lead through the arbiter.
    Lane {
        request: u64,
        actor: u64,
    },
    Spawn {
        request: u64,
        offspring: Box<Offspring>,
    },
    /// Something that the arbiter itself shall do or tell.
    Manage {
        request: u64,
        order: Manage,
    },
}

/// How the arbiter grants a wish.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Grant {
    Found(u64, Option<Whereabouts>),
    Spawned(u64, Result<Whereabouts, String>),
    Answer(u64, Result<Block, AskError>),
    Info(u64, Result<Box<Info>, AskError>),
    Lane(u64, Result<(), AskError>),
    /// A message that was only told to this actor found no room or no actor.
    Lost(u64),
    Managed(u64, Result<Managed, AskError>),
}

/// Which actor it is, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whereabouts {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) placement: Placement,
}

/// An actor to be spawned, by the name of its kind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Offspring {
    pub(crate) kind: String,
    name: Option<String>,
    placement: Placement,
    policy: ChildPolicy,
    capacity: u64,
    requests_max: u64,
    cpu_bound: bool,
    timeout: Option<std::time::Duration>,
    allowed: Option<Vec<String>>,
    output_kept: u64,
    budget: ipc_exchange::Budget,
    abort_grace: std::time::Duration,
    variables: Variables,
    params: Block,
}

impl Offspring {
    fn of<A: Actor>(spec: &Spec<A>) -> Result<Self, AskError> {
        let mut params = Vec::new();
        crate::command::encode(&spec.params, &mut params)?;
        Ok(Self {
            kind: A::NAME.to_owned(),
            name: spec.name.as_deref().map(str::to_owned),
            placement: spec.placement,
            policy: spec.policy,
            capacity: spec.capacity as u64,
            requests_max: spec.requests_max,
            cpu_bound: spec.own.cpu_bound,
            timeout: spec.own.timeout,
            allowed: spec.own.allowed.as_ref().map(|names| names.to_vec()),
            output_kept: spec.own.output_kept as u64,
            budget: spec.own.budget.clone(),
            abort_grace: spec.own.abort_grace,
            variables: spec.own.variables.clone(),
            params: Block(params),
        })
    }

    /// The specification, if the parameters are those of this kind.
    pub(crate) fn into_spec<A: Actor>(self) -> Result<Spec<A>, AskError> {
        let mut spec = Spec::<A>::new(crate::command::decode(&self.params.0)?);
        spec.name = self.name.map(Into::into);
        spec.placement = self.placement;
        spec.policy = self.policy;
        spec.requests_max = self.requests_max;
        spec.own.cpu_bound = self.cpu_bound;
        spec.own.timeout = self.timeout;
        spec.own.allowed = self.allowed.map(Into::into);
        spec.own.output_kept = usize::try_from(self.output_kept).unwrap_or(usize::MAX);
        spec.own.budget = self.budget;
        spec.own.abort_grace = self.abort_grace;
        spec.own.variables = self.variables;
        Ok(spec.capacity(usize::try_from(self.capacity).unwrap_or(usize::MAX)))
    }
}

enum Waiting {
    Found(Resolver<Option<Whereabouts>, AskError>),
    Spawned(Resolver<Whereabouts, SpawnError>),
    Lane(Resolver<Arc<Direct>, AskError>),
    Pending(Pending),
    Managed(Ordered),
}

impl Waiting {
    fn fail(self, error: AskError) {
        match self {
            Self::Found(resolver) => resolver.resolve(Err(error)),
            Self::Lane(resolver) => resolver.resolve(Err(error)),
            Self::Spawned(resolver) => resolver.resolve(Err(SpawnError::Disconnected)),
            Self::Pending(pending) => pending.fail(error),
            Self::Managed(ordered) => ordered(Err(error)),
        }
    }
}

/// The way of this process, if it is an actor's own.
static UPWARD: OnceLock<Arc<Upward>> = OnceLock::new();

pub(crate) struct Upward {
    reports: Mutex<Sender<FromActor>>,
    /// `None` when the arbiter is gone.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    lost: Mutex<HashMap<u64, u64>>,
    next: AtomicU64,
    /// The mailbox of the actor of this process.
    own: (ActorId, Box<dyn Any + Send + Sync>),
}

impl Upward {
    /// Makes the way of this process.
    pub(crate) fn open<A: Actor>(
        reports: Sender<FromActor>,
        mailbox: &Arc<Mailbox<A>>,
    ) -> Arc<Self> {
        let made = || {
            Arc::new(Self {
                reports: Mutex::new(reports),
                waiting: Mutex::new(Some(HashMap::new())),
                lost: Mutex::default(),
                next: AtomicU64::new(1),
                own: (mailbox.id, Box::new(Arc::clone(mailbox))),
            })
        };
        Arc::clone(UPWARD.get_or_init(made))
    }

    /// The way of this process, if it is an actor's own.
    pub(crate) fn here() -> Option<Arc<Self>> {
        UPWARD.get().cloned()
    }

    fn table(&self) -> MutexGuard<'_, Option<HashMap<u64, Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, wish: Wish, deadline: Deadline) -> Result<(), Refused> {
        let report = FromActor(Report::Wish(wish));
        match deadline {
            Deadline::Now => self
                .reports()
                .try_send(report)
                .map_err(|error| match error {
                    TrySendError::Full(_) => Refused::Full,
                    TrySendError::TooLarge { .. } => Refused::Encode,
                    _ => Refused::Disconnected,
                }),
            Deadline::At(at) => self.reports().send_deadline(report, at).map_err(refused),
            Deadline::Never => self.reports().send(report).map_err(refused),
        }
    }

    fn ask(&self, waiting: Waiting, deadline: Deadline, wish: impl FnOnce(u64) -> Wish) {
        // Relaxed: only the number matters.
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        match &mut *self.table() {
            Some(table) => drop(table.insert(request, waiting)),
            None => return waiting.fail(AskError::NotStarted),
        }
        if let Err(refused) = self.send(wish(request), deadline) {
            let waiting = self
                .table()
                .as_mut()
                .and_then(|table| table.remove(&request));
            if let Some(waiting) = waiting {
                waiting.fail(unasked(refused));
            }
        }
    }

    /// Takes in what the arbiter grants.
    pub(crate) fn granted(&self, grant: Grant, mut descriptors: Vec<OwnedFd>) {
        let request = match &grant {
            Grant::Lost(actor) => {
                *self.lost().entry(*actor).or_default() += 1;
                return;
            }
            Grant::Managed(request, _)
            | Grant::Found(request, _)
            | Grant::Spawned(request, _)
            | Grant::Answer(request, _)
            | Grant::Info(request, _)
            | Grant::Lane(request, _) => *request,
        };
        let waiting = self
            .table()
            .as_mut()
            .and_then(|table| table.remove(&request));
        match (waiting, grant) {
            (Some(Waiting::Found(resolver)), Grant::Found(_, found)) => resolver.resolve(Ok(found)),
            (Some(Waiting::Spawned(resolver)), Grant::Spawned(_, spawned)) => {
                resolver.resolve(spawned.map_err(SpawnError::Refused));
            }
            (Some(Waiting::Pending(Pending::Bytes(answered))), Grant::Answer(_, answer)) => {
                let answer = answer.as_ref().map(|block| &block.0[..]);
                answered(answer.map_err(AskError::clone));
            }
            (Some(Waiting::Pending(Pending::Info(resolver))), Grant::Info(_, info)) => {
                resolver.resolve(info.map(|info| *info));
            }
            (Some(Waiting::Lane(resolver)), Grant::Lane(_, lane)) => {
                let end = lane.and_then(|()| descriptors.pop().ok_or(AskError::Lost));
                resolver.resolve(end.and_then(|end| Direct::make(end).map_err(|_| AskError::Lost)));
            }
            (Some(Waiting::Managed(ordered)), Grant::Managed(_, managed)) => ordered(managed),
            (Some(waiting), _) => waiting.fail(AskError::Lost),
            // Nobody waits any more.
            (None, _) => {}
        }
    }

    /// Has the arbiter do or tell something.
    pub(crate) fn manage(&self, order: Manage, ordered: Ordered) {
        let waiting = Waiting::Managed(ordered);
        self.ask(waiting, Deadline::Never, |request| Wish::Manage {
            request,
            order,
        });
    }

    fn reports(&self) -> Sender<FromActor> {
        let reports = self.reports.lock();
        reports.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is another arbiter.
    pub(crate) fn reopen(&self, reports: Sender<FromActor>) {
        let mut known = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        *known = reports;
        self.table().get_or_insert_default();
    }

    /// The arbiter is gone.
    pub(crate) fn close(&self) {
        let waiting = self.table().take();
        for (_, waiting) in waiting.into_iter().flatten() {
            waiting.fail(AskError::Lost);
        }
    }

    pub(crate) fn find<A: Actor>(
        self: &Arc<Self>,
        name: &str,
    ) -> Deferred<Option<Proxy<A>>, AskError> {
        let (resolver, found) = deferred();
        let name = name.to_owned();
        self.ask(Waiting::Found(resolver), Deadline::Never, |request| {
            Wish::Find { request, name }
        });
        let (resolver, proxy) = deferred();
        let up = Arc::clone(self);
        found.then(move |found: Result<Option<Whereabouts>, _>| {
            let proxy = |found: Whereabouts| up.proxy::<A>(found).ok();
            resolver.resolve(found.map(|found| found.and_then(proxy)));
        });
        proxy
    }

    pub(crate) fn spawn<A: Actor>(
        self: &Arc<Self>,
        spec: &Spec<A>,
    ) -> Deferred<Proxy<A>, SpawnError> {
        let offspring = match Offspring::of(spec) {
            Ok(offspring) => Box::new(offspring),
            Err(error) => return Deferred::ready(Err(SpawnError::Refused(error.to_string()))),
        };
        let (resolver, spawned) = deferred();
        self.ask(Waiting::Spawned(resolver), Deadline::Never, |request| {
            Wish::Spawn { request, offspring }
        });
        let (resolver, proxy) = deferred();
        let up = Arc::clone(self);
        spawned.then(move |spawned: Result<Whereabouts, _>| {
            resolver
                .resolve(spawned.and_then(|found| up.proxy(found).map_err(SpawnError::Refused)));
        });
        proxy
    }

    /// The same way without the arbiter on it.
    pub(crate) fn lane(route: &Arc<UpRoute>) -> Deferred<Arc<UpRoute>, AskError> {
        let (resolver, made) = deferred();
        let actor = route.id.to_u64();
        route
            .up
            .ask(Waiting::Lane(resolver), Deadline::Never, |request| {
                Wish::Lane { request, actor }
            });
        let (resolver, lane) = deferred();
        let route = Arc::clone(route);
        made.then(move |made: Result<_, _>| {
            resolver.resolve(made.map(|direct| {
                let status = Status::new();
                status.set_state(State::Running);
                Arc::new(UpRoute {
                    up: Arc::clone(&route.up),
                    id: route.id,
                    name: route.name.clone(),
                    placement: route.placement,
                    status,
                    direct: Some(direct),
                })
            }));
        });
        lane
    }

    /// The proxy of an actor, if it is of this kind.
    pub(crate) fn proxy<A: Actor>(
        self: &Arc<Self>,
        found: Whereabouts,
    ) -> Result<Proxy<A>, String> {
        if found.kind != A::NAME {
            return Err(format!(
                "the actor named {} is a {}",
                found.name, found.kind
            ));
        }
        if found.id == self.own.0.to_u64()
            && let Some(mailbox) = self.own.1.downcast_ref::<Arc<Mailbox<A>>>()
        {
            return Ok(Proxy::new(Route::Here(Arc::clone(mailbox))));
        }
        let status = Status::new();
        status.set_state(State::Running);
        Ok(Proxy::new(Route::Up(Arc::new(UpRoute {
            up: Arc::clone(self),
            id: ActorId(found.id),
            name: found.name,
            placement: found.placement,
            status,
            direct: None,
        }))))
    }
}

/// Why there will be no answer to a question that was refused.
fn unasked(refused: Refused) -> AskError {
    match refused {
        Refused::Draining => AskError::Draining,
        Refused::Full => AskError::Full,
        Refused::Timeout => AskError::Timeout,
        Refused::Encode => AskError::Codec("the message is too long".to_owned()),
        Refused::Disconnected => AskError::NotStarted,
    }
}

fn refused<M>(error: DuctError<M>) -> Refused {
    match error {
        DuctError::Timeout(_) => Refused::Timeout,
        DuctError::TooLarge { .. } => Refused::Encode,
        _ => Refused::Disconnected,
    }
}

/// The way to an actor that is reached through the arbiter of this process.
pub(crate) struct UpRoute {
    up: Arc<Upward>,
    pub(crate) id: ActorId,
    pub(crate) name: String,
    pub(crate) placement: Placement,
    pub(crate) status: Status,
    /// Messages take this instead, if it is there.
    direct: Option<Arc<Direct>>,
}

impl UpRoute {
    /// Whether messages do not pass through the arbiter.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    pub(crate) fn tell(
        &self,
        command: CommandId,
        body: Vec<u8>,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        if let Some(direct) = &self.direct {
            let pushed = direct.push(command, &body, None, deadline);
            return pushed.map_err(|(refused, _)| refused);
        }
        let wish = Wish::Call {
            request: 0,
            actor: self.id.to_u64(),
            command: command.0,
            body: Block(body),
        };
        self.up.send(wish, deadline)
    }

    pub(crate) fn ask(
        &self,
        command: CommandId,
        body: Vec<u8>,
        deadline: Deadline,
        answered: Answered,
    ) {
        if let Some(direct) = &self.direct {
            let pushed = direct.push(command, &body, Some(answered), deadline);
            if let Err((refused, Some(answered))) = pushed {
                answered(Err(unasked(refused)));
            }
            return;
        }
        let waiting = Waiting::Pending(Pending::Bytes(answered));
        let (actor, command, body) = (self.id.to_u64(), command.0, Block(body));
        self.up.ask(waiting, deadline, |request| Wish::Call {
            request,
            actor,
            command,
            body,
        });
    }

    pub(crate) fn ping(&self, answered: Answered) {
        let (waiting, actor) = (Waiting::Pending(Pending::Bytes(answered)), self.id.to_u64());
        self.up.ask(waiting, Deadline::Never, |request| Wish::Ping {
            request,
            actor,
        });
    }

    pub(crate) fn info(&self, resolver: Resolver<Info, AskError>) {
        let (waiting, actor) = (Waiting::Pending(Pending::Info(resolver)), self.id.to_u64());
        self.up.ask(waiting, Deadline::Never, |request| Wish::Info {
            request,
            actor,
        });
    }

    pub(crate) fn stop(&self) -> bool {
        let actor = self.id.to_u64();
        self.up.send(Wish::Stop { actor }, Deadline::Never).is_ok()
    }

    pub(crate) fn lost(&self) -> u64 {
        match &self.direct {
            Some(direct) => direct.lost(),
            None => self.up.lost().get(&self.id.to_u64()).copied().unwrap_or(0),
        }
    }
}
