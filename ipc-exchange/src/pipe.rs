//! Pipes for what processes write.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// A pipe for a process's output: our end, which never waits, and the process's.
pub(crate) fn open() -> io::Result<(File, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let reader = File::from(OwnedFd::from(reader));
    let flags = OFlag::from_bits_truncate(fcntl(&reader, FcntlArg::F_GETFL)?);
    fcntl(&reader, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok((reader, writer.into()))
}

/// Appends and keeps at least the last `keep` bytes, at most twice as many.
pub(crate) fn keep_tail(kept: &mut Vec<u8>, bytes: &[u8], keep: usize) {
    let bytes = &bytes[bytes.len().saturating_sub(keep)..];
    kept.extend_from_slice(bytes);
    if kept.len() > 2 * keep {
        kept.drain(..kept.len() - keep);
    }
}
