//! Supervisors in the tree, and how it carries out what they decide.

use std::fmt;

use ipc_dispatch::Context;

use super::slot::{AnySlot, Seed};
use super::tree::{NodeId, Owner, ROOT, Told, Tree};
use crate::deferred::Resolver;
use crate::id::IdMap;
use crate::{
    Action, Actor, ActorId, Arbiter, ChildKey, ChildPolicy, Event, ExitReason, PoolEvent, Shutdown,
    SpawnError, Spec, Strategy, Supervisor, SupervisorOptions,
};

/// What a supervisor supervises.
pub(super) enum Member {
    Actor(ActorId),
    Supervisor {
        spec: SupervisorSpec,
        current: Option<NodeId>,
        start: Start,
    },
    Pool {
        id: NodeId,
        start: Start,
    },
}

/// Who waits for a first start, and why it failed.
#[derive(Default)]
pub(super) struct Start {
    pub(super) resolver: Option<Resolver<(), SpawnError>>,
    rejected: Option<ExitReason>,
}

impl Start {
    pub(super) fn done(&mut self, result: Result<(), SpawnError>) {
        if let Some(resolver) = self.resolver.take() {
            resolver.resolve(result);
        }
    }
}

/// A supervisor in the tree.
pub(super) struct Node {
    pub(super) machine: Supervisor,
    pub(super) strategy: Strategy,
    members: IdMap<ChildKey, Member>,
    parent: Option<(NodeId, ChildKey)>,
}

impl Node {
    pub(super) fn new(options: SupervisorOptions, parent: Option<(NodeId, ChildKey)>) -> Self {
        let machine = Supervisor::new(options, std::process::id());
        Self {
            machine,
            strategy: options.strategy,
            members: IdMap::default(),
            parent,
        }
    }

    pub(super) fn adopt(&mut self, key: ChildKey, id: ActorId) {
        self.members.insert(key, Member::Actor(id));
    }

    pub(super) fn adopt_member(&mut self, key: ChildKey, member: Member) {
        self.members.insert(key, member);
    }

    /// The supervisors below, by name.
    pub(super) fn supervisors(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.members.values().filter_map(|member| match member {
            Member::Supervisor { spec, current, .. } => Some((spec.name.as_str(), (*current)?)),
            _ => None,
        })
    }

    fn start_mut(&mut self, key: ChildKey) -> Option<&mut Start> {
        match self.members.get_mut(&key)? {
            Member::Supervisor { start, .. } | Member::Pool { start, .. } => Some(start),
            Member::Actor(_) => None,
        }
    }
}

/// Makes the slot of an actor again and again, for a supervisor that is itself restarted.
trait Template: Send {
    fn policy(&self) -> ChildPolicy;
    fn plant(&self, arbiter: &Arbiter) -> Result<Box<dyn AnySlot>, SpawnError>;
    fn copy(&self) -> Box<dyn Template>;
}

impl<A: Actor> Template for Spec<A> {
    fn policy(&self) -> ChildPolicy {
        self.policy
    }

    fn plant(&self, arbiter: &Arbiter) -> Result<Box<dyn AnySlot>, SpawnError> {
        Seed::named(self.clone(), arbiter).map(Seed::plant_alone)
    }

    fn copy(&self) -> Box<dyn Template> {
        Box::new(self.clone())
    }
}

enum ChildSpec {
    Actor(Box<dyn Template>),
    Supervisor(SupervisorSpec),
}

/// A supervisor and its children, as they are to be started by
/// [`Arbiter::supervise`](crate::Arbiter::supervise).
///
/// The children are reached by their names; a supervisor that is restarted makes them anew.
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
/// use ipc_actors::{Strategy, SupervisorOptions, SupervisorSpec};
///
/// let options = SupervisorOptions { strategy: Strategy::RestForOne, ..Default::default() };
/// let spec = SupervisorSpec::new("front", options)
///     .child(Spec::<Counter>::new(0).name("first").process())
///     .child(Spec::<Counter>::new(0).name("second").thread());
/// ```
pub struct SupervisorSpec {
    name: String,
    options: SupervisorOptions,
    policy: ChildPolicy,
    children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A supervisor without children: permanent, and waited for without limit when it stops, as its
    /// children have limits.
    #[must_use]
    pub fn new(name: impl Into<String>, options: SupervisorOptions) -> Self {
        let policy = ChildPolicy {
            shutdown: Shutdown::Unlimited,
            start_timeout: None,
            ..ChildPolicy::default()
        };
        Self {
            name: name.into(),
            options,
            policy,
            children: Vec::new(),
        }
    }

    /// How it is itself supervised.
    #[must_use]
    pub fn policy(mut self, policy: ChildPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Adds an actor after the children that are there.
    #[must_use]
    pub fn child<A: Actor>(mut self, spec: Spec<A>) -> Self {
        self.children.push(ChildSpec::Actor(Box::new(spec)));
        self
    }

    /// Adds a supervisor after the children that are there.
    #[must_use]
    pub fn supervisor(mut self, spec: Self) -> Self {
        self.children.push(ChildSpec::Supervisor(spec));
        self
    }

    fn copy(&self) -> Self {
        let copy = |child: &ChildSpec| match child {
            ChildSpec::Actor(template) => ChildSpec::Actor(template.copy()),
            ChildSpec::Supervisor(spec) => ChildSpec::Supervisor(spec.copy()),
        };
        Self {
            name: self.name.clone(),
            options: self.options,
            policy: self.policy,
            children: self.children.iter().map(copy).collect(),
        }
    }
}

impl fmt::Debug for SupervisorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorSpec")
            .field("name", &self.name)
            .field("options", &self.options)
            .field("children", &self.children.len())
            .finish()
    }
}

impl Tree {
    /// Starts a supervisor under the root.
    pub(super) fn supervise(
        ctx: &mut Context<'_, Self>,
        spec: SupervisorSpec,
        resolver: Resolver<(), SpawnError>,
    ) {
        let now = ctx.now();
        let ending = ctx.state.is_ending();
        let Some(root) = ctx.state.nodes.get_mut(&ROOT).filter(|_| !ending) else {
            return resolver.resolve(Err(SpawnError::Disconnected));
        };
        // Names of supervisors and ids of actors cannot be confused: the one has a slash.
        match root
            .machine
            .add(&format!("supervisor/{}", spec.name), spec.policy, now)
        {
            Ok(key) => {
                let start = Start {
                    resolver: Some(resolver),
                    rejected: None,
                };
                root.adopt_member(
                    key,
                    Member::Supervisor {
                        spec,
                        current: None,
                        start,
                    },
                );
                Self::pump(ctx, ROOT);
            }
            Err(error) => resolver.resolve(Err(error.into())),
        }
    }

    /// Tells a supervisor what happened and carries out what it decides.
    pub(super) fn feed(ctx: &mut Context<'_, Self>, node: NodeId, event: Event) {
        let now = ctx.now();
        if let Some(node) = ctx.state.nodes.get_mut(&node) {
            node.machine.handle(event, now);
        }
        Self::pump(ctx, node);
    }

    /// Carries out what a supervisor has decided, until it has nothing more to say.
    pub(super) fn pump(ctx: &mut Context<'_, Self>, id: NodeId) {
        loop {
            let node = ctx.state.nodes.get_mut(&id);
            let Some(action) = node.and_then(|node| node.machine.poll_action()) else {
                break;
            };
            match action {
                Action::Start(key) => Self::start_member(ctx, id, key),
                Action::Stop(key) => Self::end_member(ctx, id, key, false),
                Action::Kill(key) => Self::end_member(ctx, id, key, true),
                Action::Rejected(key, reason) => ctx.state.reject(id, key, reason),
                Action::Removed(key) => ctx.state.remove_member(id, key),
                Action::GaveUp(_) => {
                    if id == ROOT {
                        ctx.state.status.get_or_insert(1);
                    }
                }
                Action::Ready => {
                    if let Some((parent, key)) = ctx.state.parent(id) {
                        ctx.state.started(parent, key);
                        Self::feed(ctx, parent, Event::Started(key));
                    }
                }
                Action::Ended(reason) => {
                    Self::node_ended(ctx, id, reason);
                    break;
                }
            }
        }
        Self::set_alarm(ctx);
    }

    fn parent(&self, id: NodeId) -> Option<(NodeId, ChildKey)> {
        self.nodes.get(&id)?.parent
    }

    /// A supervisor or pool is up.
    pub(super) fn started(&mut self, parent: NodeId, key: ChildKey) {
        let node = self.nodes.get_mut(&parent);
        if let Some(start) = node.and_then(|node| node.start_mut(key)) {
            start.done(Ok(()));
        }
    }

    /// Leaves word with a supervisor or pool that somebody waits for its start.
    pub(super) fn wait_for_start(
        &mut self,
        parent: NodeId,
        key: ChildKey,
        resolver: Resolver<(), SpawnError>,
    ) {
        let node = self.nodes.get_mut(&parent);
        if let Some(start) = node.and_then(|node| node.start_mut(key)) {
            start.resolver = Some(resolver);
        }
    }

    fn reject(&mut self, id: NodeId, key: ChildKey, reason: ExitReason) {
        // Told when it is removed, so that its name is free by then.
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        match node.members.get_mut(&key) {
            Some(Member::Actor(actor)) => {
                if let Some(entry) = self.actors.get_mut(actor) {
                    entry.rare_mut().rejected = Some(reason);
                }
            }
            Some(Member::Supervisor { start, .. } | Member::Pool { start, .. }) => {
                start.rejected = Some(reason);
            }
            None => {}
        }
    }

    fn remove_member(&mut self, id: NodeId, key: ChildKey) {
        let member = self
            .nodes
            .get_mut(&id)
            .and_then(|node| node.members.remove(&key));
        match member {
            Some(Member::Actor(actor)) => self.remove_actor(actor),
            Some(Member::Supervisor { mut start, .. }) => start.end(),
            Some(Member::Pool { id, mut start }) => {
                self.remove_pool(id);
                start.end();
            }
            None => {}
        }
    }

    fn node_ended(ctx: &mut Context<'_, Self>, id: NodeId, reason: ExitReason) {
        let Some(node) = ctx.state.nodes.get(&id) else {
            return;
        };
        let parent = node.parent;
        let keys: Vec<_> = node.members.keys().copied().collect();
        for key in keys {
            ctx.state.remove_member(id, key);
        }
        match parent {
            Some((parent, key)) => {
                ctx.state.nodes.remove(&id);
                Self::feed(ctx, parent, Event::Exited(key, reason));
            }
            None => {
                ctx.state.root_ended = Some(reason);
                // The loop shall look at that and not sleep.
                ctx.state.shared.home.wake_loop();
            }
        }
    }

    fn start_member(ctx: &mut Context<'_, Self>, id: NodeId, key: ChildKey) {
        let Some(node) = ctx.state.nodes.get(&id) else {
            return;
        };
        match node.members.get(&key) {
            Some(&Member::Actor(actor)) => {
                let told = Self::start_actor(ctx, actor);
                if let (Some(told), Some(entry)) = (told, ctx.state.actors.get(&actor)) {
                    let incarnation = entry.slot.incarnation();
                    Self::told(ctx, actor, incarnation, told);
                }
            }
            Some(Member::Supervisor { spec, .. }) => {
                let spec = spec.copy();
                Self::start_node(ctx, id, key, spec);
            }
            Some(&Member::Pool { id: pool, .. }) => Self::start_pool(ctx, pool),
            None => {}
        }
    }

    fn start_node(
        ctx: &mut Context<'_, Self>,
        parent: NodeId,
        parent_key: ChildKey,
        spec: SupervisorSpec,
    ) {
        let now = ctx.now();
        let arbiter = Arbiter::new(std::sync::Arc::clone(&ctx.state.shared));
        let id = NodeId::next();
        let mut node = Node::new(spec.options, Some((parent, parent_key)));
        let mut failed = None;
        for (index, child) in spec.children.into_iter().enumerate() {
            let (policy, label) = match &child {
                ChildSpec::Actor(template) => (template.policy(), format!("{index}")),
                ChildSpec::Supervisor(spec) => (spec.policy, format!("supervisor/{}", spec.name)),
            };
            let added = node
                .machine
                .add(&label, policy, now)
                .map_err(SpawnError::from);
            let adopted = added.and_then(|key| {
                match child {
                    ChildSpec::Actor(template) => {
                        let slot = template.plant(&arbiter)?;
                        node.adopt(key, slot.id());
                        ctx.state.insert(Owner::Child(id, key), slot);
                    }
                    ChildSpec::Supervisor(spec) => {
                        let start = Start::default();
                        let member = Member::Supervisor {
                            spec,
                            current: None,
                            start,
                        };
                        node.adopt_member(key, member);
                    }
                }
                Ok(())
            });
            if let Err(error) = adopted {
                failed = Some(error);
                break;
            }
        }
        ctx.state.nodes.insert(id, node);
        if let Some(Member::Supervisor { current, .. }) = ctx
            .state
            .nodes
            .get_mut(&parent)
            .and_then(|node| node.members.get_mut(&parent_key))
        {
            *current = Some(id);
        }
        match failed {
            None => Self::feed(ctx, id, Event::Boot),
            Some(error) => {
                let reason = ExitReason::StartFailed(error.to_string());
                Self::feed(ctx, id, Event::Stop(reason));
            }
        }
    }

    fn end_member(ctx: &mut Context<'_, Self>, id: NodeId, key: ChildKey, kill: bool) {
        let Some(node) = ctx.state.nodes.get(&id) else {
            return;
        };
        let reason = ExitReason::Shutdown;
        match node.members.get(&key) {
            Some(&Member::Actor(actor)) => {
                let Some(entry) = ctx.state.actors.get_mut(&actor) else {
                    return;
                };
                let ended = match kill {
                    true => entry.slot.kill(ExitReason::Killed),
                    false => entry.slot.stop(reason),
                };
                if let Some(reason) = ended {
                    let incarnation = entry.slot.incarnation();
                    Self::told(ctx, actor, incarnation, Told::Ended(reason));
                }
            }
            Some(&Member::Supervisor {
                current: Some(child),
                ..
            }) => {
                let event = if kill {
                    Event::Kill(reason)
                } else {
                    Event::Stop(reason)
                };
                Self::feed(ctx, child, event);
            }
            Some(&Member::Pool { id: pool, .. }) => {
                let event = if kill {
                    PoolEvent::Kill(reason)
                } else {
                    PoolEvent::Stop(reason)
                };
                Self::feed_pool(ctx, pool, event);
            }
            Some(Member::Supervisor { current: None, .. }) | None => {
                Self::feed(ctx, id, Event::Exited(key, reason));
            }
        }
    }
}

impl Start {
    fn end(&mut self) {
        let error = self
            .rejected
            .take()
            .map_or(SpawnError::Disconnected, SpawnError::Start);
        self.done(Err(error));
    }
}
