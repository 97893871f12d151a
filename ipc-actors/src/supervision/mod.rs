//! Which child is started, stopped or given up, and when: the rules of Erlang/OTP's supervisor.
//!
//! Everything here is a state machine that takes the time as an argument and answers with actions:
//! there is no clock, thread or descriptor in it. The arbiter carries the actions out.

mod backoff;
mod event;
mod intensity;
mod pool;
mod reason;
mod roster;
mod spec;
mod supervisor;

pub use backoff::Backoff;
pub use event::{Action, ChildKey, Event, SuperviseError};
pub use intensity::Intensity;
pub use pool::{Pool, PoolAction, PoolEvent, PoolOptions, WorkerKey};
pub use reason::ExitReason;
pub use spec::{AutoShutdown, ChildPolicy, Restart, Shutdown, Strategy, SupervisorOptions};
pub use supervisor::Supervisor;
