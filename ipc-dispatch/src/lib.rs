//! A selector and scheduler.
mod control;
mod driver;
#[cfg(feature = "marshal")]
mod message;
mod parking;
mod poster;
mod process;
mod scheduler;
mod selector;
mod source;
mod sys;

pub use control::{Control, Missed, Next, Outcome};
#[cfg(feature = "marshal")]
pub use message::MessageSource;
pub use poster::{PostError, Poster};
pub use process::SignalId;
pub use scheduler::{AlarmId, Fired, Lane, Scheduler};
pub use selector::{
    Context, Event, Exit, Key, Metrics, PanicPolicy, Registry, Selector, SelectorOptions, SourceId,
};
pub use source::{Descriptor, Interest, Source, Trigger};
