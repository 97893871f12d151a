//! What an actor can do while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::alarms::Alarms;
use crate::mailbox::{AnyRun, Mailbox};
use crate::proxy::Route;
use crate::{
    Actor, ActorId, Alarm, Arbiter, ArbiterProxy, AskError, Deferred, ExitReason, Proxy,
    SpawnError, Spec,
};

/// What an incarnation is, apart from the actor's own state.
pub(crate) struct Core<A: Actor> {
    pub(crate) mailbox: Arc<Mailbox<A>>,
    pub(crate) arbiter: Option<Arbiter>,
    pub(crate) incarnation: u32,
    /// Set when the actor shall end after the message at hand.
    pub(crate) ended: Option<ExitReason>,
    /// Messages begun by this incarnation.
    pub(crate) begun: u64,
    /// Pause when `begun` reaches this, so that others get their turn.
    pub(crate) pause_at: u64,
    /// End when `begun` reaches this.
    pub(crate) requests_max: u64,
    /// What the item at hand did not get to; it comes before everything else.
    pub(crate) rest: Option<Box<dyn AnyRun<A>>>,
    pub(crate) alarms: Alarms<A>,
}

impl<A: Actor> Core<A> {
    pub(crate) fn new(
        mailbox: &Arc<Mailbox<A>>,
        arbiter: Option<Arbiter>,
        incarnation: u32,
        requests_max: u64,
    ) -> Self {
        Self {
            mailbox: Arc::clone(mailbox),
            arbiter,
            incarnation,
            ended: None,
            begun: 0,
            pause_at: u64::MAX,
            requests_max,
            rest: None,
            alarms: Alarms::new(),
        }
    }

    /// The time: the arbiter's, if it has one in this process.
    pub(crate) fn now(&self) -> Instant {
        let arbiter = self.arbiter.as_ref();
        arbiter.map_or_else(Instant::now, |arbiter| arbiter.shared.clock.now())
    }

    /// The next message is about to be handled.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.begun += 1;
        self.mailbox.status.step();
    }

    #[inline]
    pub(crate) fn must_pause(&self) -> bool {
        self.begun >= self.pause_at
            || self.begun >= self.requests_max
            || self.ended.is_some()
            || self.mailbox.status.interrupts(self.incarnation)
    }
}

/// The actor's surroundings: given to every hook and handler.
pub struct Context<'a, A: Actor> {
    pub(crate) core: &'a mut Core<A>,
}

impl<A: Actor> Context<'_, A> {
    /// The actor's id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.core.mailbox.id
    }

    /// The actor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.mailbox.name
    }

    /// How many times the actor was started before.
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.core.incarnation
    }

    /// A proxy of the actor itself, for those who shall answer it.
    #[must_use]
    pub fn proxy(&self) -> Proxy<A> {
        Proxy::new(Route::Here(Arc::clone(&self.core.mailbox)))
    }

    /// The arbiter, wherever it and the actor run: spawns, looks up, stops and tells.
    #[must_use]
    pub fn arbiter(&self) -> ArbiterProxy {
        ArbiterProxy::of(self.core.arbiter.as_ref())
    }

    /// The actor of this name, wherever it and the caller run: [`ArbiterProxy::get_actor`].
    pub fn get_actor<B: Actor>(&self, name: &str) -> Deferred<Option<Proxy<B>>, AskError> {
        self.arbiter().get_actor(name)
    }

    /// Has the arbiter spawn an actor: [`ArbiterProxy::spawn`].
    pub fn spawn<B: Actor>(&self, spec: Spec<B>) -> Deferred<Proxy<B>, SpawnError> {
        self.arbiter().spawn(spec)
    }

    /// Calls `ring` once, after `delay`, between two messages. Alarms end with the incarnation.
    pub fn alarm<F>(&mut self, delay: Duration, ring: F) -> Alarm
    where
        F: FnOnce(&mut A, &mut Context<'_, A>) + Send + 'static,
    {
        let mut ring = Some(ring);
        let ring = move |actor: &mut A, ctx: &mut Context<'_, A>| {
            if let Some(ring) = ring.take() {
                ring(actor, ctx);
            }
            None
        };
        self.core.alarms.arm(self.core.now(), delay, Box::new(ring))
    }

    /// Calls `ring` every `interval`, between two messages, until it answers `false`. After a long
    /// message it is not called more often to make up for that.
    pub fn every<F>(&mut self, interval: Duration, mut ring: F) -> Alarm
    where
        F: FnMut(&mut A, &mut Context<'_, A>) -> bool + Send + 'static,
    {
        // None at all would leave no time for messages.
        let interval = interval.max(Duration::from_micros(1));
        let ring =
            move |actor: &mut A, ctx: &mut Context<'_, A>| ring(actor, ctx).then_some(interval);
        self.core
            .alarms
            .arm(self.core.now(), interval, Box::new(ring))
    }

    /// Takes an alarm back. Answers whether it would have rung again.
    pub fn cancel(&mut self, alarm: Alarm) -> bool {
        self.core.alarms.cancel(alarm)
    }

    /// Ends the actor after the message at hand. The first reason counts.
    pub fn stop(&mut self, reason: ExitReason) {
        self.core.ended.get_or_insert(reason);
    }

    /// Says that the message at hand makes progress, for one that legally takes longer than the
    /// actor's time-out.
    pub fn progress(&mut self) {
        self.core.mailbox.status.set_busy();
        self.core.mailbox.status.step();
    }
}

impl<A: Actor> fmt::Debug for Context<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("incarnation", &self.core.incarnation)
            .finish()
    }
}
