//! The system, and what a platform must provide.
//!
//! - `Poller`: `open(events_max)`, `change`, `wait`, `waker`, `rebuild`, `renew_waker`, `embed`,
//!   `set_timer`, `descriptors`, `as_fd`; a
//!   set of descriptors that can be waited on together, level-triggered unless told otherwise, with
//!   64 bits of token each.
//! - `Waker`: `wake` ends a wait that is going on, or the next one, from any thread and from signal
//!   handlers.
//! - `MUST_REARM`: whether level-triggering is emulated by `change` after every event.
//! - `ChildWatch`: `open(pid)` and `try_wait`, which reaps that one child. Its `descriptor` becomes
//!   readable when the child ends; where there is no such thing it is none, and the selector asks
//!   after every SIGCHLD.
//! - `prefetch`: a hint to the processor, which may do nothing.
#![expect(
    unsafe_code,
    reason = "the one folder of this crate that talks to the system directly"
)]

mod prefetch;
mod signal;

pub(crate) use prefetch::prefetch;
pub(crate) use signal::{SignalAction, exit_status};

#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
pub(crate) use linux::{ChildWatch, MUST_REARM, Poller, Waker};

#[cfg(not(all(target_os = "linux", not(ipc_portable))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(ipc_portable))))]
pub(crate) use portable::{ChildWatch, MUST_REARM, Poller, Waker};
