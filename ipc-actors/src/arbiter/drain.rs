//! What is let go on for a while before everything stops.

use std::time::{Duration, Instant};

use ipc_dispatch::{Context, Next};

use super::root::ArbiterLoop;
use super::tree::Tree;

/// How often it is looked whether the last has left.
const LOOK: Duration = Duration::from_millis(10);

/// What comes before a stop.
pub(super) struct Drain {
    /// Lets nobody in any more. Called once.
    close: Box<dyn FnMut()>,
    is_empty: Box<dyn FnMut() -> bool>,
    limit: Duration,
    /// When it began.
    since: Option<Instant>,
}

impl ArbiterLoop {
    /// Before a graceful stop `close` is called, and waited until `is_empty`, for at most `limit`.
    pub(crate) fn drain_first(
        &mut self,
        close: impl FnMut() + 'static,
        is_empty: impl FnMut() -> bool + 'static,
        limit: Duration,
    ) {
        self.tree.drain = Some(Drain {
            close: Box::new(close),
            is_empty: Box::new(is_empty),
            limit,
            since: None,
        });
    }
}

impl Tree {
    /// Whether a stop must wait, which then comes by itself. One who asks again does not wait.
    pub(super) fn drains_first(ctx: &mut Context<'_, Self>, status: i32) -> bool {
        let now = ctx.now();
        if ctx.state.status.is_some() {
            return false;
        }
        let Some(drain) = &mut ctx.state.drain else {
            return false;
        };
        if drain.since.is_some() {
            ctx.state.drain = None;
            ctx.state.status = Some(status);
            return false;
        }
        drain.since = Some(now);
        (drain.close)();
        ctx.alarm(Duration::ZERO, move |ctx| {
            let now = ctx.now();
            let Some(drain) = &mut ctx.state.drain else {
                return Next::Done;
            };
            let waited = drain.since.map_or(Duration::MAX, |since| now - since);
            if waited < drain.limit && !(drain.is_empty)() {
                return Next::After(LOOK);
            }
            ctx.state.drain = None;
            Self::stop(ctx, status);
            Next::Done
        });
        true
    }
}
