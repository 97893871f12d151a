//! The exchange's own thread: events to the plan, the plan's actions to the workers.
//!
//! Thin on purpose: what to do is decided in [`plan`](crate::plan), how to wait is the selector's
//! business, and how bytes become messages the duct's.

mod ending;
mod events;
mod link;
mod output;
mod snapshot;
mod state;

pub(crate) use ending::{cancelled, finished_result};
pub use events::{Events, ExchangeEvent};
pub use snapshot::{Running, Snapshot};
pub(crate) use state::Driver;
