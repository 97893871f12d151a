//! A selector and scheduler.
mod control;
mod driver;
mod parking;
mod poster;
mod scheduler;
mod selector;
mod source;
mod sys;

pub use control::{Control, Missed, Next, Outcome};
pub use poster::{PostError, Poster};
pub use scheduler::{AlarmId, Fired, Lane, Scheduler};
pub use selector::{
    Context, Event, Exit, Key, Metrics, PanicPolicy, Registry, Selector, SelectorOptions, SourceId,
};
pub use source::{Descriptor, Interest, Source, Trigger};
