//! What the present thread runs, and how a loop learns that one of its actors has mail.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use ipc_dispatch::{Context, Poster};

use crate::arbiter::Tree;
use crate::{ActorId, Arbiter};

thread_local! {
    /// The loop of this thread; zero for none.
    static LOOP: Cell<u64> = const { Cell::new(0) };
    static ACTOR: Cell<Option<ActorId>> = const { Cell::new(None) };
    static ENDING: Cell<bool> = const { Cell::new(false) };
    static ARBITER: RefCell<Option<Arbiter>> = const { RefCell::new(None) };
}

/// Who alone brings a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bringer {
    Anybody,
    /// The thread that turns this loop.
    Loop(u64),
    /// This actor, in a thread or process of its own.
    Actor(ActorId),
}

impl Bringer {
    /// Whether it is who calls this.
    pub(crate) fn is_caller(self) -> bool {
        match self {
            Self::Anybody => false,
            Self::Loop(token) => LOOP.get() == token,
            Self::Actor(id) => current_actor() == Some(id),
        }
    }
}

/// The actor whose hook or handler runs on this thread, if one does.
#[must_use]
pub fn current_actor() -> Option<ActorId> {
    ACTOR.get()
}

/// The arbiter of the loop or actor thread that calls; `None` elsewhere.
#[must_use]
pub fn arbiter() -> Option<Arbiter> {
    ARBITER.with_borrow(Clone::clone)
}

pub(crate) fn set_current_actor(id: Option<ActorId>) {
    ACTOR.set(id);
}

/// Runs `end`, in which an actor of this thread and all that it holds are dropped.
pub(crate) fn ending<T>(end: impl FnOnce() -> T) -> T {
    struct Over(bool);
    impl Drop for Over {
        fn drop(&mut self) {
            ENDING.set(self.0);
        }
    }
    let _over = Over(ENDING.replace(true));
    end()
}

/// Whether an actor of this thread is being dropped.
pub(crate) fn is_ending() -> bool {
    ENDING.get()
}

pub(crate) fn set_arbiter(arbiter: Option<Arbiter>) {
    ARBITER.replace(arbiter);
}

/// The actors of one loop that have mail.
pub(crate) struct LoopShared {
    /// Tells loops apart; never zero.
    token: u64,
    ready: Mutex<Vec<ActorId>>,
    /// The selector has its turn, and may sleep at the end of it. Used on the loop's thread alone.
    turning: AtomicBool,
    poster: Poster<Tree>,
}

impl LoopShared {
    pub(crate) fn new(poster: Poster<Tree>) -> Self {
        static TOKENS: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only the number matters.
        let token = TOKENS.fetch_add(1, Ordering::Relaxed);
        Self {
            token,
            ready: Mutex::new(Vec::new()),
            turning: AtomicBool::new(false),
            poster,
        }
    }

    /// The caller's thread turns this loop from now on.
    pub(crate) fn enter(&self) {
        LOOP.set(self.token);
    }

    pub(crate) fn leave(&self) {
        if self.is_here() {
            LOOP.set(0);
        }
    }

    pub(crate) fn is_here(&self) -> bool {
        LOOP.get() == self.token
    }

    /// Who brings what comes by way of this loop.
    pub(crate) fn bringer(&self) -> Bringer {
        Bringer::Loop(self.token)
    }

    fn ready(&self) -> MutexGuard<'_, Vec<ActorId>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, id: ActorId) {
        let mut ready = self.ready();
        ready.push(id);
        let first = ready.len() == 1;
        drop(ready);
        // The loop looks at the list before the selector's turn; during it and from elsewhere the
        // selector must be kept from sleeping.
        if first && (self.turning.load(Ordering::Relaxed) || !self.is_here()) {
            // A selector that runs this at the start of its turn would sleep at the end of it, although
            // the mail came after the loop's look at the list.
            let _ = self.poster.post(|ctx| {
                if !ctx.state.shared.home.is_empty() {
                    stay_awake(ctx);
                }
            });
        }
    }

    pub(crate) fn set_turning(&self, turning: bool) {
        // Relaxed: read where it matters by the same thread.
        self.turning.store(turning, Ordering::Relaxed);
    }

    /// Swaps the list of those that have mail for an empty one.
    pub(crate) fn take(&self, into: &mut Vec<ActorId>) {
        into.clear();
        std::mem::swap(&mut *self.ready(), into);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready().is_empty()
    }

    pub(crate) fn wake_loop(&self) {
        // A loop that is gone has nobody left to wake.
        let _ = self.poster.post(stay_awake);
    }
}

/// Has the present turn of the selector end without a sleep, so that the loop looks around.
fn stay_awake(ctx: &mut Context<'_, Tree>) {
    ctx.on_idle(|_| ());
}

impl Wake for LoopShared {
    fn wake(self: Arc<Self>) {
        self.wake_loop();
    }
}

/// Wakes a loop for one of its actors.
pub(crate) struct LoopWake {
    pub(crate) shared: Arc<LoopShared>,
    pub(crate) id: ActorId,
}

impl LoopWake {
    pub(crate) fn wake(&self) {
        self.shared.push(self.id);
    }

    pub(crate) fn is_here(&self) -> bool {
        self.shared.is_here()
    }
}
