//! The end of what a program's process writes to standard error, kept for when it dies.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;

use ipc_dispatch::{Control, Descriptor, Poster, Selector};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use crate::outcome::lock;

/// What one process writes to standard error: passed on to this process's own, the end kept.
#[derive(Debug)]
pub(crate) struct Tail {
    pipe: Arc<File>,
    kept: Arc<Mutex<Kept>>,
    /// Keeps the thread that reads.
    hub: Arc<Hub>,
}

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    len_max: usize,
}

/// The thread that reads from all of them and writes to this process's standard error: a standard
/// error that takes nothing then holds up those who write to it and nobody else, as if they wrote
/// there themselves.
struct Hub {
    poster: Poster<()>,
}

static HUB: Mutex<Weak<Hub>> = Mutex::new(Weak::new());

impl Tail {
    /// Begins to read; of what comes the last `len_max` bytes are kept. Also answers the process's end.
    pub(crate) fn open(len_max: usize) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = crate::pipe::open()?;
        let hub = Hub::get()?;
        let pipe = Arc::new(reader);
        let bytes = Vec::new();
        let kept = Arc::new(Mutex::new(Kept { bytes, len_max }));
        let (read, into) = (Descriptor(Arc::clone(&pipe)), Arc::clone(&kept));
        let posted = hub.poster.post(move |ctx| {
            let key = ctx.add(read);
            let watched = ctx.on_readable(key, move |pipe: &mut Descriptor<Arc<File>>, _| {
                let mut chunk = Vec::new();
                let more = lock(&into).read(&pipe.0, &mut chunk);
                pass_on(&chunk);
                if more { Control::Keep } else { Control::Close }
            });
            if watched.is_err() {
                // The process then finds that nobody reads.
                ctx.close(key);
            }
        });
        posted.map_err(|_| io::Error::other("nobody reads what processes write"))?;
        Ok((Self { pipe, kept, hub }, writer))
    }

    /// The end of what was written until now. What the thread has not read is read here.
    pub(crate) fn text(&self) -> String {
        let mut chunk = Vec::new();
        let mut kept = lock(&self.kept);
        kept.read(&self.pipe, &mut chunk);
        let start = kept.bytes.len().saturating_sub(kept.len_max);
        let text = String::from_utf8_lossy(&kept.bytes[start..]).into_owned();
        drop(kept);
        if !chunk.is_empty() {
            // A thread that is gone has nobody to pass it on to either.
            let _ = self.hub.poster.post(move |_| pass_on(&chunk));
        }
        text
    }
}

/// How much is read at a time, so that nobody who writes much keeps the others waiting.
const CHUNK: usize = 64 * 1024;

impl Kept {
    /// Reads what is there, at most a chunk, without waiting. Answers whether more may come.
    fn read(&mut self, mut pipe: &File, chunk: &mut Vec<u8>) -> bool {
        let mut buf = [0; 8192];
        let more = loop {
            match pipe.read(&mut buf) {
                Ok(0) => break false,
                Ok(len) => chunk.extend_from_slice(&buf[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
            if chunk.len() >= CHUNK {
                break true;
            }
        };
        crate::pipe::keep_tail(&mut self.bytes, chunk, self.len_max);
        more
    }
}

impl Hub {
    fn get() -> io::Result<Arc<Self>> {
        let mut known = lock(&HUB);
        if let Some(hub) = known.upgrade() {
            return Ok(hub);
        }
        let (sender, made) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("ipc-output".into());
        thread.stack_size(128 * 1024).spawn(move || {
            let mut selector: Selector<()> = match Selector::new() {
                Ok(selector) => selector,
                Err(error) => return drop(sender.send(Err(error))),
            };
            selector.set_persistent(true);
            // Whoever started this waits for one of the two.
            drop(sender.send(Ok(selector.poster())));
            // One that cannot wait leaves the processes without a reader, which they are told.
            drop(selector.run(&mut ()));
        })?;
        let poster = made.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        let hub = Arc::new(Self { poster });
        *known = Arc::downgrade(&hub);
        Ok(hub)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // One that is gone needs no telling.
        let _ = self.poster.post(|ctx| ctx.stop());
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

/// Writes to this process's standard error, waiting for room. What it refuses (a full disk, a reader
/// that is gone) is lost, and that is nobody's fault here.
fn pass_on(mut bytes: &[u8]) {
    let stderr = io::stderr();
    while !bytes.is_empty() {
        match write(&stderr, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::NONE).is_err_and(|errno| errno != Errno::EINTR) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
