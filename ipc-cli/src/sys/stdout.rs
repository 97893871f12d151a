//! Whether standard output was open when the program started.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the loader calls every entry of this section once, on the only thread, before the
// program's entry point, with arguments that a C function without parameters may ignore. The
// function unwinds nowhere: it makes one system call that needs no state of the standard library
// and stores a flag.
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let open = fs::symlink_metadata("/proc/self/fd/1").is_ok();
    // Without /proc nothing can be told, and standard output counts as open.
    let told = fs::symlink_metadata("/proc/self/fd").is_ok();
    // Relaxed: there is one thread, and those that it starts later see what it did before.
    CLOSED.store(told && !open, Ordering::Relaxed);
}

/// Whether standard output was open when the program started.
pub(crate) fn stdout_was_open() -> bool {
    !CLOSED.load(Ordering::Relaxed)
}
