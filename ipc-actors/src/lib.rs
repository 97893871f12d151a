//! Supervised actors in processes, threads and on the loop, behind one trait.

mod actor;
mod application;
mod arbiter;
mod cell;
mod command;
mod context;
mod deferred;
mod error;
mod host;
mod id;
mod info;
mod link;
mod local;
mod mailbox;
mod message;
mod monitor;
mod pidfile;
mod proxy;
mod remote;
mod settings;
mod spec;
mod spin;
mod state;
mod status;
mod supervision;
mod wire;

pub use actor::{Actor, Failure, Handler};
pub use application::{Application, ApplicationError, Running};
pub use arbiter::{
    Arbiter, ArbiterLoop, ArbiterOptions, ArbiterThread, PoolInfo, Spawning, SupervisorSpec,
};
pub use command::{Access, Commands};
pub use context::Context;
pub use deferred::Deferred;
pub use error::{AskError, SendError, SpawnError};
pub use host::host;
pub use id::ActorId;
pub use info::Info;
pub use local::{arbiter, current_actor};
pub use message::Message;
pub use monitor::{Monitor, MonitorSpec};
pub use pidfile::{Pidfile, PidfileError};
pub use proxy::Proxy;
pub use remote::{Listener, Reference, RemoteArbiter, RemoteError, RemoteOptions};
pub use settings::{Layer, Parsed, Settings, SettingsError, Value};
pub use spec::{Placement, Spec};
pub use state::State;
pub use supervision::{
    Action, AutoShutdown, Backoff, ChildKey, ChildPolicy, Event, ExitReason, Intensity, Pool,
    PoolAction, PoolEvent, PoolOptions, Restart, Shutdown, Strategy, SuperviseError, Supervisor,
    SupervisorOptions, WorkerKey,
};
pub use wire::{Boot, FromActor, ToActor};
