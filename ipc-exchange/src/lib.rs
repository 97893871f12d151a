//! Run functions in other processes and lose nothing.
//!
//! ```
//! use ipc_exchange::{init, pmap, registry};
//!
//! fn square(x: u64) -> u64 {
//!     x * x
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     init(registry![square]);
//!     for (x, result) in (1..=10).zip(pmap(square, 1..=10, 2)?) {
//!         assert_eq!(result?, x * x);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Registry
//!
//! A worker is this same program, started again. [`init`], first thing in `main`, turns such a
//! process into a worker and never returns from it; in any other it records the [`Registry`] of
//! functions that workers may be asked to run. A function is named by its path and its types, never
//! by an address, and the two processes compare their registries before any task runs.
//!
//! # Tasks
//!
//! A task is a function `fn(A) -> R` with serde on both sides. [`Exchange::submit`] gives a
//! [`Handle`], which is a future too; [`Exchange::map`] gives results in the order of the inputs and
//! [`Exchange::queue`] in the order in which they come; [`pmap`] is a map with workers of its own.
//!
//! Every task that was taken ends exactly once: with a value, or with a [`TaskError`] that tells why
//! and where. A worker that dies takes the one task it was running with it and no other; it is
//! replaced at once. Tasks are sent ahead to workers, and taken back when the worker dies, when they
//! are cancelled, or when another worker is idle.
//!
//! ```
//! use ipc_exchange::{Exchange, init, registry};
//!
//! fn half(x: u64) -> u64 {
//!     assert!(x % 2 == 0, "{x} is odd");
//!     x / 2
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     init(registry![half]);
//!     let exchange = Exchange::new(2)?;
//!     let (even, odd) = (exchange.submit(half, 4)?, exchange.submit(half, 5)?);
//!     assert_eq!(even.wait()?, 2);
//!     assert!(odd.wait().unwrap_err().to_string().contains("5 is odd"));
//!     exchange.finish();
//!     Ok(())
//! }
//! ```
//!
//! # Streams, programs, background tasks
//!
//! A streaming task, `fn(A, Yield<T>)`, gives many results: [`Queue::start_stream`]. A [`Program`] is a
//! function with a duct, `fn(Duct<Out, In>, A)`: a service in a process of its own that talks both
//! ways until it returns, kept within a [`Budget`] if need be; [`Programs`] keeps many of them to a limit. A background task,
//! `fn(A, Publisher<T>)`, outlives the process that started it, and keeps its results until a
//! [`Reader`] has acknowledged them: [`start_persistent`].
//!
//! # What may happen to a task
//!
//! [`ExchangeOptions`] and [`TaskOptions`] say how often a lost task is tried again, how long it may
//! run and wait, how it is cancelled, what replaces workers (a number of tasks, age, memory), and when
//! failures stop everything. [`ExchangeOptions::capture`] gives each failed task what it wrote to
//! standard output and error. A [`Journal`] lets a program that was killed go on where it was.
//! [`Exchange::snapshot`] tells who runs what and how far it is, [`Exchange::events`] what happens.
//! [`Map::chunk`] makes one task of many short ones. A task whose worker the kernel has killed for
//! want of memory says so: [`ExchangeOptions::worker_cgroup`].
//!
//! # For those who know pprocess
//!
//! | there | here |
//! |---|---|
//! | `pmap`, `Map` | [`pmap`], [`Exchange::map`], [`Map::get`], [`Map::slice`] |
//! | `Queue` | [`Exchange::queue`] |
//! | `Exchange.start`, `manage` | [`Exchange::submit`], [`Exchange::manage`] |
//! | `Exchange` with `store_data` | [`Queue::store`], [`Queue::finish`] |
//! | channels: `add`, `add_wait`, `active`, `ready`, `busy`, `unfinished`, `remove`, `wait`, `store`, `finish` | [`Programs`] |
//! | `limit`, `reuse` | [`ExchangeOptions::limit`], [`ExchangeOptions::reuse`], [`ProgramsOptions::limit`] |
//! | `continuous`, `autoclose` | [`Queue::start_stream`], [`ProgramsOptions`] |
//! | `MakeParallel`, `MakeReusable` | not needed: a function is a task as it is |
//! | `create` | [`Programs::create`], or [`fork_inline`] |
//! | `BackgroundQueue`, `PersistentQueue`, `connect` | [`start_persistent`], [`Reader`] |
//!
//! # What this crate does not do
//!
//! It has no polling or framing of its own: the exchange's thread runs an `ipc-dispatch` selector
//! over `ipc-marshal` ducts. It never runs code that was not registered, sends closures, or forks a
//! process that has threads. It does not restart programs: that is supervision, in `ipc-actors`.
//!
//! # Blocking and signals
//!
//! An exchange has one thread; handles, maps and queues wait for it on condition variables. Workers
//! lead process groups of their own, so that a key pressed at the terminal reaches only the main
//! process, and so that ending a worker ends what it has started. A worker notices the death of its
//! parent, even by SIGKILL, while its task runs, and ends. Signal handlers are not touched.
//!
//! # Features
//!
//! `linkme`: `register!` and `Registry::linked`, by which functions register themselves where they are
//! written. Off by default: a linker may drop what nothing else uses.
//!
//! # Platforms
//!
//! Linux first; other Unix compiles, with an unlinked file for the page shared with a worker.

/// For [`register!`](macro@register).
#[cfg(feature = "linkme")]
#[doc(hidden)]
pub use linkme;

mod budget;
mod cgroup;
mod chunk;
mod codec;
mod driver;
mod error;
mod exchange;
mod group;
mod handle;
mod journal;
mod launch;
mod map;
mod options;
mod outcome;
mod payload;
mod persistent;
mod pipe;
mod plan;
mod process;
mod process_options;
mod program;
mod programs;
mod queue;
mod refuge;
mod registry;
mod sys;
mod tail;
mod task;
mod wire;
mod worker;
mod zygote;

pub use budget::Budget;
pub use driver::{Events, ExchangeEvent, Running, Snapshot};
pub use error::{Cause, Exit, LookupError, Report, SubmitError, SubmitReason, TaskError};
pub use exchange::{Exchange, Managed};
pub use handle::Handle;
pub use journal::{Claim, Journal};
pub use map::{Map, pmap};
pub use options::{ExchangeOptions, Start, TaskOptions};
pub use persistent::{Publisher, Reader, ReaderError, start_persistent};
pub use plan::Halt;
pub use process::Process;
pub use process_options::ProcessOptions;
pub use program::{Program, StartError};
pub use programs::{ProgramError, Programs, ProgramsOptions};
pub use queue::Queue;
pub use refuge::{Orphan, Refuge};
pub use registry::{Entry, Registrable, Registry};
#[cfg(feature = "linkme")]
#[doc(hidden)]
pub use sys::LINKED;
pub use sys::{Forked, fork_inline};
pub use task::{IntoTask, Task, TaskId};
pub use worker::{Current, Yield, YieldError, current, end_with, init, init_in_test, meet};
