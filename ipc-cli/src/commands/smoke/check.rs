//! One thing that is tried, and how it ended.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::args::Layer;

/// How long a check may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(20);

/// One thing that is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) layer: Layer,
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Result<Verdict>,
}

/// What a check found out, when it found nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works here.
    Passed,
    /// This machine lacks what it needs: why.
    Skipped(String),
}

/// How a check ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) check: Check,
    pub(crate) verdict: Result<Verdict>,
    pub(crate) elapsed: Duration,
}

/// A verdict in which what this system does not have is no failure.
pub(crate) fn or_unsupported(verdict: Result<Verdict>) -> Result<Verdict> {
    verdict.or_else(|error| match error.downcast_ref::<io::Error>() {
        Some(cause) if cause.kind() == io::ErrorKind::Unsupported => {
            Ok(Verdict::Skipped(format!("{error:#}")))
        }
        _ => Err(error),
    })
}

impl Check {
    /// Runs the check on a thread of its own, so that one that hangs or panics fails alone.
    pub(crate) fn run(self) -> Ended {
        let start = Instant::now();
        let (sender, receiver) = mpsc::sync_channel(1);
        let spawned = thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || {
                let _ = sender.send((self.run)());
            });
        let verdict = match spawned {
            Err(error) => Err(error.into()),
            Ok(_) => receiver.recv_timeout(LIMIT).unwrap_or_else(|error| {
                Err(match error {
                    mpsc::RecvTimeoutError::Timeout => {
                        anyhow!("it did not end within {} s", LIMIT.as_secs())
                    }
                    mpsc::RecvTimeoutError::Disconnected => anyhow!("it panicked"),
                })
            }),
        };
        Ended {
            check: self,
            verdict,
            elapsed: start.elapsed(),
        }
    }
}
