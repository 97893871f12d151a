//! Supervised actors in processes, threads and on the loop, behind one trait.

mod supervision;

pub use supervision::{
    Action, AutoShutdown, Backoff, ChildKey, ChildPolicy, Event, ExitReason, Intensity, Restart,
    Shutdown, Strategy, SuperviseError, Supervisor, SupervisorOptions,
};
