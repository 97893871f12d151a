//! Lines of standard input as JSON values.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use ipc_marshal::PAYLOAD_LEN_MAX;
use serde_json::Value;

use super::payload;
use crate::output::complain;

/// How many values wait for a peer before no more are read.
const WAITING_MAX: usize = 16;

/// The longest line that is read: no longer one would fit in a message.
const LINE_LEN_MAX: u64 = PAYLOAD_LEN_MAX as u64;

/// Whether anything was reported that the exit status must tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<AtomicBool>);

impl Faults {
    /// Says what went wrong, while the rest goes on.
    pub(super) fn report(&self, error: &anyhow::Error) {
        complain(format_args!("{error:#}"));
        // Relaxed: read after the threads that report have told that they are done.
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What standard input holds, value by value.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) values: Receiver<Value>,
    /// Set while a line has begun to come and its value was not passed on.
    is_coming: Arc<AtomicBool>,
}

impl Lines {
    /// Whether lines were read that nobody has taken, or one has begun to come.
    pub(super) fn is_left(&self) -> bool {
        self.is_coming.load(Ordering::Acquire) || !self.values.is_empty()
    }

    /// The next value; nothing when there are no more, or standard input was silent for `grace`. A
    /// long line takes as long as it takes.
    pub(super) fn next_within(&self, grace: Duration) -> Option<Value> {
        loop {
            // Acquire: a value that was passed on before the flag fell is in the channel by now.
            let was_coming = self.is_coming.load(Ordering::Acquire);
            match self.values.recv_timeout(grace) {
                Ok(value) => return Some(value),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout)
                    if was_coming || self.is_coming.load(Ordering::Acquire) => {}
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }
}

/// Reads standard input on a thread of its own; the channel ends where it does. Blank lines are
/// skipped, and lines that are no JSON reported.
///
/// # Errors
///
/// When there can be no more threads.
pub(super) fn read(faults: Faults) -> Result<Lines> {
    let (sender, values) = crossbeam_channel::bounded(WAITING_MAX);
    let is_coming = Arc::new(AtomicBool::new(false));
    let reading = Arc::clone(&is_coming);
    thread::Builder::new()
        .name("standard input".to_owned())
        .spawn(move || {
            if let Err(error) = pass_on(&sender, &reading, &faults) {
                faults.report(&error);
            }
        })
        .context("cannot start a thread")?;
    Ok(Lines { values, is_coming })
}

fn pass_on(values: &Sender<Value>, is_coming: &AtomicBool, faults: &Faults) -> Result<()> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        is_coming.store(false, Ordering::Release);
        // An error is met again below.
        let began = input.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        is_coming.store(began, Ordering::Release);
        (&mut input)
            .take(LINE_LEN_MAX + 1)
            .read_until(b'\n', &mut line)
            .context("cannot read standard input")?;
        ensure!(
            line.len() as u64 <= LINE_LEN_MAX,
            "line {number} of standard input is longer than {LINE_LEN_MAX} bytes"
        );
        if line.is_empty() {
            break;
        }
        match payload::parse(&line) {
            Ok(None) => {}
            Ok(Some(value)) => {
                // Nobody is there to send it any more.
                if values.send(value).is_err() {
                    break;
                }
            }
            Err(error) => faults.report(&anyhow::Error::new(error).context(format!(
                "line {number} of standard input is not a JSON value"
            ))),
        }
    }
    Ok(())
}
