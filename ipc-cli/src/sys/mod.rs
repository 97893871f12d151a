//! What has to be known before `main`.
//!
//! A platform provides `stdout_was_open() -> bool`: whether standard output was an open descriptor
//! when the program started. The standard library opens `/dev/null` in the place of a closed one
//! before `main`, so that later nobody can tell, and results would vanish with a status of success.

#![cfg_attr(
    target_os = "linux",
    expect(
        unsafe_code,
        reason = "a function that runs before main is placed by a linker section"
    )
)]

#[cfg(target_os = "linux")]
mod stdout;

#[cfg(target_os = "linux")]
pub(crate) use stdout::stdout_was_open;

/// Elsewhere a closed standard output cannot be told from `/dev/null`.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn stdout_was_open() -> bool {
    true
}
