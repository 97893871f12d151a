//! Integration tests: one binary, every wait under a watchdog.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod address;
mod descriptors;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod frozen;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod hostile;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod hostile_socket;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod in_place;
mod inherit;
mod killed;
mod killed_port;
#[cfg(all(target_os = "linux", not(ipc_portable)))]
mod limits;
mod port;
mod stream;
mod support;
mod transfer;
