//! Features that are tried rather than asked for: a sandbox may forbid what the kernel has.

use std::env;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use ipc_core::{FrozenMemory, Ring};
use ipc_dispatch::Selector;

/// Whether memory can be sealed.
///
/// # Errors
///
/// Why it cannot.
pub(super) fn seals() -> io::Result<()> {
    FrozenMemory::new(b"sealed").map(drop)
}

/// Whether channels in shared memory can be made.
///
/// # Errors
///
/// Why they cannot.
pub(super) fn rings() -> io::Result<()> {
    Ring::pair().map(drop)
}

/// Whether a loop waits for the end of a child through a descriptor of its own.
///
/// # Errors
///
/// When not even a child can be started.
pub(super) fn pidfd() -> Result<bool> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a process")?;
    let mut selector = Selector::<bool>::new()?;
    selector.on_child(child.id(), |_, ctx| *ctx.state = true)?;
    let found = has_pidfd();
    // Until the child is reaped: `on_child` does it.
    selector.run(&mut false)?;
    Ok(found)
}

/// Whether this process holds a descriptor of a process.
fn has_pidfd() -> bool {
    let descriptors = fs::read_dir("/proc/self/fd").into_iter().flatten();
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.to_string_lossy().contains("pidf"))
}
