//! How an actor is to be spawned.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ipc_exchange::Budget;
use serde::{Deserialize, Serialize};

use crate::{Actor, ChildPolicy, Restart, Shutdown};

/// Where an actor runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Placement {
    /// On the arbiter's loop: the cheapest; a handler that takes long holds up the others there.
    Local,
    /// In a thread of its own. It can be abandoned but not killed.
    Thread,
    /// In a process of its own: it can be killed, and its crash touches nobody.
    #[default]
    Process,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Thread => "thread",
            Self::Process => "process",
        })
    }
}

/// How an actor is to be spawned: what it is made from, where it runs, and how it is supervised.
///
/// ```
/// # use ipc_actors::{Actor, Commands, Context, Failure, Spec};
/// # struct Counter;
/// # impl Actor for Counter {
/// #     type Params = u64;
/// #     const NAME: &'static str = "counter";
/// #     fn commands(_: &mut Commands<Self>) {}
/// #     fn init(_: u64, _: &mut Context<'_, Self>) -> Result<Self, Failure> { Ok(Self) }
/// # }
/// use ipc_actors::Restart;
/// use std::time::Duration;
///
/// let spec = Spec::<Counter>::new(7)
///     .name("front desk")
///     .thread()
///     .restart(Restart::Transient)
///     .start_timeout(Duration::from_secs(1));
/// ```
pub struct Spec<A: Actor> {
    pub(crate) params: A::Params,
    pub(crate) name: Option<Box<str>>,
    pub(crate) placement: Placement,
    pub(crate) policy: ChildPolicy,
    pub(crate) capacity: usize,
    pub(crate) requests_max: u64,
    pub(crate) traps_exits: bool,
    pub(crate) own: Own,
}

/// What matters for an actor in a process of its own, or is said of few. The others, of which there may be
/// very many, have no room for it.
#[derive(Clone, Default)]
pub(crate) struct Own(Option<Box<OwnProcess>>);

/// How the process of an actor is treated, and what few say.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OwnProcess {
    pub(crate) cpu_bound: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) output_kept: usize,
    pub(crate) budget: Budget,
    pub(crate) abort_grace: Duration,
    pub(crate) allowed: Option<Arc<[String]>>,
    pub(crate) variables: Variables,
}

/// Which variables of the arbiter's environment its process is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Variables {
    /// All, if there is no list.
    pub(crate) kept: Option<Vec<String>>,
    pub(crate) hidden: Vec<String>,
}

impl Default for OwnProcess {
    fn default() -> Self {
        Self {
            cpu_bound: false,
            timeout: Some(Duration::from_secs(30)),
            output_kept: OUTPUT_KEPT,
            budget: Budget::new(),
            abort_grace: Duration::from_secs(1),
            allowed: None,
            variables: Variables::default(),
        }
    }
}

impl Deref for Own {
    type Target = OwnProcess;

    fn deref(&self) -> &OwnProcess {
        static USUAL: LazyLock<OwnProcess> = LazyLock::new(OwnProcess::default);
        self.0.as_deref().unwrap_or_else(|| &*USUAL)
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut OwnProcess {
        self.0.get_or_insert_default()
    }
}

/// How much of what a process says before it dies is kept unless a specification says otherwise.
const OUTPUT_KEPT: usize = 16 * 1024;

impl<A: Actor> Spec<A> {
    /// In a process, permanent, with the default policy and a mailbox for 1024 messages.
    pub fn new(params: A::Params) -> Self {
        Self {
            params,
            name: None,
            placement: Placement::default(),
            policy: ChildPolicy::default(),
            capacity: 1024,
            requests_max: u64::MAX,
            traps_exits: false,
            own: Own::default(),
        }
    }

    /// The name by which [`Arbiter::get_actor`](crate::Arbiter::get_actor) finds it. Unique; the
    /// kind's name and the id if none is given.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into());
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// On the arbiter's loop.
    #[must_use]
    pub fn local(self) -> Self {
        self.placement(Placement::Local)
    }

    /// In a thread of its own.
    #[must_use]
    pub fn thread(self) -> Self {
        self.placement(Placement::Thread)
    }

    /// In a process of its own.
    #[must_use]
    pub fn process(self) -> Self {
        self.placement(Placement::Process)
    }

    /// When it is started again.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// How long its stop may take.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.policy.shutdown = shutdown;
        self
    }

    /// How long its start may take.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.policy.start_timeout = Some(timeout);
        self
    }

    /// Whether its end by itself may end its supervisor.
    #[must_use]
    pub fn significant(mut self, significant: bool) -> Self {
        self.policy.significant = significant;
        self
    }

    /// How many messages its mailbox holds, at least one.
    #[must_use]
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages.max(1);
        self
    }

    /// End each incarnation after this many messages, cleanly; permanent actors are then started
    /// again. Zero for no limit.
    #[must_use]
    pub fn requests_max(mut self, messages: u64) -> Self {
        self.requests_max = if messages == 0 { u64::MAX } else { messages };
        self
    }

    /// It computes: a message may take any time. Of its process only the signs of life are watched, not
    /// its progress with a message.
    #[must_use]
    pub fn cpu_bound(mut self) -> Self {
        self.own.cpu_bound = true;
        self
    }

    /// Of its messages, let remote callers use only these, as far as their level allows.
    #[must_use]
    pub fn allow<S: Into<String>>(mut self, commands: impl IntoIterator<Item = S>) -> Self {
        self.own.allowed = Some(commands.into_iter().map(Into::into).collect());
        self
    }

    /// Tell the actor of the end of those it is linked to
    /// ([`Actor::link_ended`]) and do not end it with them: what OTP calls
    /// trapping exits.
    #[must_use]
    pub fn trap_exits(mut self) -> Self {
        self.traps_exits = true;
        self
    }

    /// What its process may use: see [`Budget`]. The limits hold before any code of the actor runs
    /// there. What they ask for and cannot have fails the start
    /// ([`StartFailed`](crate::ExitReason::StartFailed)). A process in a control group of its own is
    /// replaced when nothing of it is left there.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.own.budget = budget;
        self
    }

    /// Of the arbiter's environment give its process only these variables.
    #[must_use]
    pub fn keep_variables<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.own.variables.kept = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Of the arbiter's environment do not give its process these variables: they may be secret.
    #[must_use]
    pub fn hide_variables<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into);
        self.own.variables.hidden.extend(names);
        self
    }

    /// Of what its process writes to standard error keep the last so many bytes, which
    /// [`Down::output`](crate::Down::output) tells if it dies: 16 KiB unless changed, room for a backtrace. It is also passed on
    /// to the arbiter's standard error. With zero the process has that itself and nothing is kept.
    #[must_use]
    pub fn keep_output(mut self, bytes: usize) -> Self {
        self.own.output_kept = bytes;
        self
    }

    /// End the actor's process when it has shown no sign of life for this long
    /// ([`Silent`](crate::ExitReason::Silent)), or no progress with one message
    /// ([`Stuck`](crate::ExitReason::Stuck); see [`cpu_bound`](Spec::cpu_bound) and
    /// [`Context::progress`](crate::Context::progress)). Half a minute unless changed; `None` never does.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.own.timeout = timeout.into();
        self
    }

    /// How long a process that is [stuck](crate::ExitReason::Stuck) may take to end by SIGABRT, which
    /// writes a core file where its limits allow one, before it is killed: a second unless changed.
    /// With zero it is killed at once, as one that shows no sign of life always is.
    #[must_use]
    pub fn abort_grace(mut self, grace: Duration) -> Self {
        self.own.abort_grace = grace;
        self
    }
}

impl<A: Actor> Spec<A> {
    /// Whether actors that are made from the other are as those made from this one.
    pub(crate) fn makes_the_same(&self, other: &Self) -> bool {
        let params = |spec: &Self| {
            let mut bytes = Vec::new();
            crate::command::encode(&spec.params, &mut bytes).ok()?;
            Some(bytes)
        };
        // What cannot be written down cannot be compared either.
        let same = params(self).is_some_and(|bytes| Some(bytes) == params(other));
        let rest = |spec: &Self| {
            let limits = (spec.capacity, spec.requests_max, spec.traps_exits);
            (spec.placement, spec.policy, limits)
        };
        same && rest(self) == rest(other) && *self.own == *other.own
    }
}

impl<A: Actor> Clone for Spec<A> {
    fn clone(&self) -> Self {
        Self {
            params: self.params.clone(),
            name: self.name.clone(),
            placement: self.placement,
            policy: self.policy,
            capacity: self.capacity,
            requests_max: self.requests_max,
            traps_exits: self.traps_exits,
            own: self.own.clone(),
        }
    }
}

impl<A: Actor> fmt::Debug for Spec<A> {
    /// Without the parameters, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("kind", &A::NAME)
            .field("name", &self.name)
            .field("placement", &self.placement)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
