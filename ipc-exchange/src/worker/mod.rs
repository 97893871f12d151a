//! What a worker's process does instead of the rest of `main`.

mod current;
mod detached;
mod init;
mod lifeline;
mod orphan;
mod recording;
mod serve;
mod tasks;
mod yielding;
mod zygote;

pub use current::{Current, current};
pub(crate) use init::{EXIT_ORPHAN, EXIT_REFUSED};
pub use init::{init, init_in_test};
pub use orphan::{end_with, meet};
pub(crate) use recording::recorded;
pub(crate) use tasks::tell_part;
pub use yielding::{Yield, YieldError};
