//! A selector and scheduler.
mod control;
mod deferred;
mod driver;
mod executor;
mod failure;
#[cfg(feature = "marshal")]
mod message;
mod parking;
mod periodic;
mod poster;
mod process;
mod scheduler;
mod selector;
mod server;
mod simulation;
mod source;
mod stream;
mod sys;

pub use control::{Control, Missed, Next, Outcome};
pub use deferred::{Completer, Deferred, TryWaitError, WaitError, join_all, race};
pub use failure::{Failure, FailureKind};
#[cfg(feature = "marshal")]
pub use message::MessageSource;
pub use periodic::Backoff;
pub use poster::{PostError, Poster};
pub use process::SignalId;
pub use scheduler::{AlarmId, Fired, Lane, Scheduler};
pub use selector::{
    Context, Event, Exit, Key, Metrics, PanicPolicy, Registry, Selector, SelectorOptions, SourceId,
};
pub use server::{Server, ServerOptions};
pub use simulation::{Scripted, Simulation, Step};
pub use source::{Descriptor, Interest, Source, Trigger};
pub use stream::{Stream, StreamOptions};
