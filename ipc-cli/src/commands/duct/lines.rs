//! Lines of standard input as JSON values.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use crossbeam_channel::{Receiver, Sender};
use ipc_marshal::PAYLOAD_LEN_MAX;
use serde_json::Value;

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

/// Reads standard input on a thread of its own; the channel ends where it does. Blank lines are
/// skipped, and lines that are no JSON reported.
///
/// # Errors
///
/// When there can be no more threads.
pub(super) fn read(faults: Faults) -> Result<Receiver<Value>> {
    let (sender, values) = crossbeam_channel::bounded(WAITING_MAX);
    thread::Builder::new()
        .name("standard input".to_owned())
        .spawn(move || {
            if let Err(error) = pass_on(&sender, &faults) {
                faults.report(&error);
            }
        })
        .context("cannot start a thread")?;
    Ok(values)
}

fn pass_on(values: &Sender<Value>, faults: &Faults) -> Result<()> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
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
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => {
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
