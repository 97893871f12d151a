//! What a handler may touch while it runs.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::Registry;

/// The loop as a handler sees it: the caller's state and the [`Registry`], of which every method is
/// also a method of the context.
///
/// The two are separate fields, so that both can be borrowed at once: `ctx.registry.get_mut(key)`
/// leaves `ctx.state` free. A handler may add, change and remove anything, itself included. The
/// channel whose handler is running is the handler's argument and cannot be had by key meanwhile.
pub struct Context<'a, S> {
    /// What was given to [`run`](crate::Selector::run).
    pub state: &'a mut S,
    /// The sources, alarms and tasks.
    pub registry: &'a mut Registry<S>,
}

impl<S> Deref for Context<'_, S> {
    type Target = Registry<S>;

    fn deref(&self) -> &Registry<S> {
        self.registry
    }
}

impl<S> DerefMut for Context<'_, S> {
    fn deref_mut(&mut self) -> &mut Registry<S> {
        self.registry
    }
}

impl<S> fmt::Debug for Context<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}
