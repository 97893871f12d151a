//! A selector and a scheduler: readiness, alarms, posts, messages, signals, children and futures on one
//! thread.
//!
//! ```
//! use ipc_core::Socket;
//! use ipc_dispatch::{Exit, Selector};
//! use std::io::{self, Read, Write};
//! use std::time::Duration;
//!
//! let (ours, mut theirs) = Socket::pair()?;
//! let mut selector = Selector::<String>::new()?;
//! let key = selector.add(ours);
//! selector.on_readable(key, |socket: &mut Socket, ctx| {
//!     let mut buf = [0; 64];
//!     let count = socket.read(&mut buf)?;
//!     ctx.state.push_str(&String::from_utf8_lossy(&buf[..count]));
//!     io::Result::Ok(count > 0) // false: the handler goes
//! })?;
//! // After a millisecond; the other end closes when the alarm has rung.
//! let mut theirs = Some(theirs);
//! selector.alarm(Duration::from_millis(1), move |_| {
//!     if let Some(mut socket) = theirs.take() {
//!         socket.write_all(b"hello").expect("there is room");
//!     }
//! });
//! let mut text = String::new();
//! assert_eq!(selector.run(&mut text)?, Exit::Idle);
//! assert_eq!(text, "hello");
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # Concepts
//!
//! A [`Selector<S>`] runs *handlers*, one at a time, on the thread that calls
//! [`run`](Selector::run). Each gets a [`Context`]: the caller's state of type `S`, and the
//! [`Registry`] of everything that can happen, which it may change in any way, itself included.
//!
//! - **Sources** ([`Source`]) are channels, ports, ducts, streams or anything with a descriptor. The
//!   selector owns them and names them by a typed [`Key`]. [`on_readable`](Registry::on_readable),
//!   [`on_writable`](Registry::on_writable) and [`on_exception`](Registry::on_exception) add
//!   handlers, several if need be; what a handler returns says whether it stays ([`Outcome`]).
//!   Readiness is level-triggered at the price of edge-triggering, or edge-triggered by choice. Rings
//!   in shared memory are looked at in user space and rung for only when the loop sleeps.
//! - **Messages**: [`on_message`](Registry::on_message) for ducts and receivers.
//! - **Time**: [`alarm`](Registry::alarm), [`every`](Registry::every),
//!   [`retry`](Registry::retry), on a [`Scheduler`] that can be used alone.
//! - **Other threads**: a [`Poster`] hands tasks to the loop and stops it.
//! - **The system**: [`on_signal`](Registry::on_signal), [`on_child`](Registry::on_child).
//! - **Results to come**: [`Deferred`], [`join_all`], [`race`], and futures by
//!   [`spawn`](Registry::spawn).
//! - **Connections**: a [`Stream`] buffers bytes with limits, a [`Server`] accepts, limits, times out
//!   and drains.
//! - **Tests**: a [`Simulation`] runs a loop on a clock and a system of its own, in any order that a
//!   seed asks for.
//!
//! # What holds
//!
//! A turn has one order: signals, posted and deferred tasks, futures, due alarms, the wait, sources;
//! and of a source exceptions before reading before writing. Tasks and alarms that a turn adds wait
//! for the next, so nothing can starve the rest. A source that is closed, an alarm that is cancelled
//! never runs afterwards, not even in the same pass; a handler that is added to a source while it
//! runs waits for the next. A handler that fails or panics takes nobody with it ([`PanicPolicy`]).
//! [`stop`](Registry::stop) is kept until a run observes it, from wherever it comes. A run ends by
//! itself when nothing is left that could run anything ([`Exit::Idle`]). Keys and ids never name
//! something else later. `tests/it/model.rs` checks these rules against the simplest loop that keeps
//! them.
//!
//! # What this crate does not do
//!
//! It frames no messages (`ipc-marshal`), starts no processes (`ipc-exchange`), starts no threads, and
//! has no pool of them: one selector, one thread. It has no timers finer than a millisecond and none
//! by the wall clock.
//!
//! # Blocking and signals
//!
//! [`run`](Selector::run) and [`turn`](Selector::turn) block in one place, while nothing is ready;
//! sources, alarms, posts, signals and stops wake them. Handlers must not block. `wait` of a
//! [`Deferred`] blocks its caller. Signals are handled without blocking any, so children inherit
//! nothing; a forked child must call [`after_fork`](Selector::after_fork) before it uses a selector.
//!
//! # Features
//!
//! `marshal` (default): ducts as sources, and a [`Failure`] that serde can carry.
//!
//! # Platforms
//!
//! Linux on 64 bits; other 64-bit Unix through mio, where [`embed`](Selector::embed) and
//! [`after_fork`](Selector::after_fork) are unsupported.

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
#[cfg(doctest)]
mod readme;
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
