//! Signals and exit statuses, alike on every Unix.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::wait::WaitStatus;
use signal_hook_registry::{FORBIDDEN, SigId, register, unregister};

/// Something that a signal sets off, until it is dropped. Others that want the same signal are not
/// disturbed.
#[derive(Debug)]
pub(crate) struct SignalAction(SigId);

impl SignalAction {
    /// `action` runs in the signal handler: it may only touch atomics and write to descriptors.
    pub(crate) fn new<F>(signal: i32, action: F) -> io::Result<Self>
    where
        F: Fn() + Send + Sync + 'static,
    {
        if FORBIDDEN.contains(&signal) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("signal {signal} cannot be handled by a loop"),
            ));
        }
        // SAFETY: the action must be async-signal-safe. The only caller passes one that stores to
        // atomics, calls getpid and writes to an eventfd or pipe: no lock, no allocation, no panic.
        let id = unsafe { register(signal, action) }?;
        Ok(Self(id))
    }
}

impl Drop for SignalAction {
    fn drop(&mut self) {
        unregister(self.0);
    }
}

/// The status of a child that has ended, in the terms of the standard library. `None` while it runs.
pub(crate) fn exit_status(status: WaitStatus) -> Option<ExitStatus> {
    match status {
        WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw((code & 0xff) << 8)),
        WaitStatus::Signaled(_, signal, dumped) => {
            let core = if dumped { 0x80 } else { 0 };
            Some(ExitStatus::from_raw(signal as i32 | core))
        }
        _ => None,
    }
}
