//! Where this crate meets the operating system.
//!
//! What a platform must provide:
//!
//! - `page_file(len)`: an anonymous file of exactly `len` bytes, zeroed, close-on-exec, that cannot
//!   be shrunk by another holder where the system can promise that (Linux: a sealed memfd).
//! - `check_page_file(file, len)`: whether a file received from another process is safe to map.
//! - `fork_sibling()`: a copy of this process, which must have one thread, whose parent is this
//!   process's parent; or `Unsupported`.
//! - `threads()`: how many threads this process has, where it can tell.
//! - `die_with_parent(parent)`: a second line behind the lifeline, or nothing.
//! - `wake_with_parent()`: lets a stopped process go on when its parent dies, or nothing.
//! - `end_with_group()`: takes that back, for a process that has children in its group.
//! - `await_end(pid)`: waits until a child has ended, without reaping it, or answers at once where
//!   the system cannot do that; also when it was reaped elsewhere.
//! - `is_unreaped(pid)`: whether a child has ended and is still to be reaped; false where that cannot
//!   be told.
//! - `processes_limit()`: the limit on how many processes a user has, where it can be set.
//! - `become_user(user, group)`: gives up who this process is, for good; only root can.
//! - `no_new_privileges()`: executes nothing with more rights, where the system can promise that.
//! - `is_child(pid)`: whether a process is a child that can still be waited for, where it can tell.
//! - `PidFd`: a process that may be no child of this one: `open`, `signal` with its group,
//!   `signal_alone`, `has_ended`; readable when it has. `open` may be unsupported.
//!
//! [`Page`] is the same everywhere.
#![expect(
    unsafe_code,
    reason = "the one folder of this crate that may use unsafe"
)]

mod fork;
#[cfg(feature = "linkme")]
mod linked;
mod page;

#[cfg(all(target_os = "linux", not(ipc_portable)))]
#[path = "linux.rs"]
mod platform;
#[cfg(not(all(target_os = "linux", not(ipc_portable))))]
#[path = "portable.rs"]
mod platform;

pub(crate) use fork::detach;
pub use fork::{Forked, fork_inline};
#[cfg(feature = "linkme")]
pub use linked::LINKED;
pub(crate) use page::Page;
pub(crate) use platform::{
    PidFd, Sibling, await_end, become_user, die_with_parent, end_with_group, fork_sibling,
    is_child, is_unreaped, no_new_privileges, processes_limit, threads, wake_with_parent,
};
