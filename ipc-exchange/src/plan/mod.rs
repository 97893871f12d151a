//! Placement: which task goes to which worker, and when a worker is started, stopped or replaced.
//!
//! A pure state machine: [`Plan::handle`] takes an event and the time and appends actions; no clock,
//! thread, process or descriptor in it. Capacity is derived from the table of live workers, never
//! from a counter of permits, so a worker's death cannot lose a slot. Every submitted job leaves in
//! exactly one [`Action::End`].

mod event;
mod place;
mod stop;
mod table;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use event::{Action, Ending, Event, Force, JobKey, Reply, Spec, WorkerKey};
pub use place::Halt;
pub(crate) use place::{Config, Plan, SLOTS};
