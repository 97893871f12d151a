//! Waiting on many sources and running their handlers.

mod alarms;
mod context;
mod entry;
mod handlers;
mod key;
mod options;
mod polling;
mod registry;
mod slots;
mod turn;

pub use context::Context;
pub use key::{Event, Key, SourceId};
pub use options::{Metrics, PanicPolicy, SelectorOptions};
pub use registry::Registry;
pub use turn::{Exit, Selector};

pub(crate) use key::{Side, Token};
