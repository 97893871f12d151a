//! Supervised actors in processes, threads and on the loop, behind one trait.
//!
//! ```no_run
//! use ipc_actors::{
//!     Actor, ArbiterOptions, ArbiterThread, Commands, Context, Failure, Handler, Message, Spec, host,
//! };
//! use ipc_exchange::{init, registry};
//! use serde::{Deserialize, Serialize};
//!
//! struct Counter(u64);
//!
//! #[derive(Serialize, Deserialize)]
//! struct Add(u64);
//!
//! impl Message for Add {
//!     type Reply = u64;
//!     const NAME: &'static str = "add";
//! }
//!
//! impl Actor for Counter {
//!     type Params = u64;
//!     const NAME: &'static str = "counter";
//!
//!     fn commands(commands: &mut Commands<Self>) {
//!         commands.on::<Add>();
//!     }
//!
//!     fn init(from: u64, _: &mut Context<'_, Self>) -> Result<Self, Failure> {
//!         Ok(Self(from))
//!     }
//! }
//!
//! impl Handler<Add> for Counter {
//!     fn handle(&mut self, Add(by): Add, _: &mut Context<'_, Self>) -> u64 {
//!         self.0 += by;
//!         self.0
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     init(registry![host::<Counter>]); // the actor's process starts here, too
//!     let thread = ArbiterThread::start(ArbiterOptions::default())?;
//!     let counter = thread.arbiter().spawn(Spec::<Counter>::new(40).process()).wait()?;
//!     counter.send(Add(1))?;
//!     assert_eq!(counter.ask(Add(1)).wait()?, 42);
//!     Ok(())
//! }
//! ```
//!
//! # Concepts
//!
//! - An [`Actor`] is state that one message at a time may touch. A [`Spec`] says what it is made from,
//!   where it runs ([`Placement`]) and how it is supervised. Its [`Proxy`] tells (`send`) and asks
//!   (`ask`) it, and stays valid over restarts.
//! - A [`Handler`] answers by what it returns; [`Receive`] gets a [`Reply`] instead, which can be kept and
//!   answered when the time has come, while other messages are handled.
//! - The arbiter is the root: [`ArbiterLoop`] on the caller's thread or [`ArbiterThread`] on its own,
//!   and [`Arbiter`], the handle that spawns. Below it may stand supervisors ([`SupervisorSpec`]) and
//!   pools ([`MonitorSpec`], [`Monitor`]).
//! - Who is restarted when, in which order, and when it is given up: [`Supervisor`] and [`Pool`], state
//!   machines without a clock that follow Erlang/OTP's rules and gunicorn's habits.
//! - An [`Application`] is a pool with [`Settings`], signals, a [`Pidfile`] and an exit status.
//! - Other programs reach actors where the arbiter [listens](Arbiter::listen), by [`RemoteArbiter`] or
//!   a [`Reference`] that came in a message, with no more rights than were granted ([`Access`],
//!   [`Rights`]). What they have changed can be [audited](Arbiter::audit).
//!
//! # What becomes of a message
//!
//! Messages of one sender arrive in order and at most once. An ask always ends: with the answer, or
//! when the actor ends, with [`NotStarted`](AskError::NotStarted) (asking again does no harm) or
//! [`Started`](AskError::Started) (its effects may have happened). Messages that wait in this process
//! while their actor is restarted go to its next incarnation; those that had already left for a
//! process that dies are lost with it, and asks among them are told so. A pool gives the messages of a
//! worker that died to another.
//!
//! # Tests of programs with actors
//!
//! [`ArbiterLoop::simulated`] makes an arbiter whose time only the test moves: backoff, windows of restarts
//! and alarms of hours take no time. [`Chaos`] makes trouble at the n-th message, in processes too, and a
//! [`LeakGuard`] tells what is left behind.
//!
//! # What this crate does not do
//!
//! It does not touch descriptors, process ids or bytes: `ipc-exchange` starts processes and
//! `ipc-marshal` frames messages. It is no async runtime ([`Deferred`] is a future, handlers are plain
//! functions), no cluster, and runs no code that was not registered. A thread can be abandoned but not
//! killed; only a process can.
//!
//! # Blocking and signals
//!
//! An actor in a process of its own has a second thread there, which answers `ping` and `info`, gives signs
//! of life and passes on the wish to stop, however long a message takes and however many wait. What it
//! sends to other actors passes through its arbiter, unless its proxy is a [direct](Proxy::direct) one.
//!
//! `send` and `ask` block while a mailbox is full and are woken by room or by the actor's end; on the
//! thread that would have to make room they answer `Full` instead. [`Deferred::wait`] blocks until the
//! result comes, which it always does. Nothing here installs a signal handler except
//! [`ArbiterLoop::handle_signals`].
//!
//! # Platforms
//!
//! Linux and, without shared memory below it, other Unix systems.

mod about;
mod actor;
mod alarms;
mod answers;
mod application;
mod arbiter;
mod arbiter_proxy;
mod audit;
mod cell;
mod command;
mod context;
mod daemon;
mod deferred;
mod direct;
mod error;
mod host;
mod id;
mod info;
mod inlet;
mod kit;
mod limits;
mod link;
mod local;
mod mailbox;
mod message;
mod monitor;
mod monitor_spec;
mod notify;
mod orphan;
mod outbox;
mod passing;
mod pidfile;
mod proxy;
mod remote;
mod reply;
mod runner;
mod settings;
mod spec;
mod spin;
mod state;
mod status;
mod supervision;
mod system;
mod upward;
mod wire;

pub use actor::{Actor, Failure, Handler, Receive};
pub use alarms::Alarm;
pub use application::{Application, ApplicationError, Running};
pub use arbiter::{
    Arbiter, ArbiterLoop, ArbiterOptions, ArbiterThread, Down, OnArbiterDeath, PoolInfo, Spawning,
    SupervisorSpec,
};
pub use arbiter_proxy::ArbiterProxy;
pub use audit::{Audit, Audits, Caller, Deed};
pub use command::{Access, Commands};
pub use context::Context;
pub use deferred::Deferred;
pub use error::{AskError, SendError, SpawnError};
pub use host::host;
pub use id::ActorId;
pub use info::{ActorStatus, Info, LastFailure, PoolStatus, TreeInfo};
pub use inlet::{Guest, Inlet};
pub use kit::{Chaos, LeakGuard, Leaks, Trouble};
pub use local::{arbiter, current_actor};
pub use message::Message;
pub use monitor::Monitor;
pub use monitor_spec::MonitorSpec;
pub use pidfile::{Pidfile, PidfileError};
pub use proxy::Proxy;
pub use remote::{
    Listener, ListenerStats, Reference, RemoteActor, RemoteArbiter, RemoteError, RemoteOptions,
    Rights,
};
pub use reply::Reply;
pub use settings::{Layer, Parsed, Settings, SettingsError, Value};
pub use spec::{Placement, Spec};
pub use state::State;
pub use supervision::{
    Action, AutoShutdown, Backoff, ChildKey, ChildPolicy, Event, ExitReason, Intensity, Pool,
    PoolAction, PoolEvent, PoolOptions, Restart, Shutdown, Strategy, SuperviseError, Supervisor,
    SupervisorOptions, WorkerKey,
};
pub use system::SystemInfo;
pub use wire::{Boot, FromActor, ToActor};
