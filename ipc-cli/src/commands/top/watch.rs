//! Looking at an application again and again, on a thread, so that keys are heard meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use ipc_actors::{RemoteArbiter, TreeInfo};

use crate::commands::actor::{Target, connect};

/// How long an arbiter may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen, and when.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    /// The tree, or why it cannot be seen.
    pub(super) tree: Result<TreeInfo, String>,
}

/// Starts looking; it ends with the receiver, or with the process.
///
/// # Errors
///
/// When there can be no more threads.
pub(super) fn watch(target: Target, interval: Duration) -> Result<(Receiver<Seen>, Sender<()>)> {
    let (sender, seen) = bounded(1);
    let (end, ended) = bounded::<()>(0);
    thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || {
            let mut remote = None;
            loop {
                let tree = look(&target, &mut remote).map_err(|error| format!("{error:#}"));
                let at = Instant::now();
                if sender.send(Seen { at, tree }).is_err() {
                    return;
                }
                if ended.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok((seen, end))
}

/// Looks once; a connection that is gone is made anew the next time.
fn look(target: &Target, remote: &mut Option<RemoteArbiter>) -> Result<TreeInfo> {
    let arbiter = match remote.take() {
        Some(arbiter) => arbiter,
        None => connect(target)?,
    };
    let tree = arbiter.tree().wait_timeout(PATIENCE);
    let tree = tree.map_err(|_| anyhow!("no answer within {PATIENCE:?}"))??;
    *remote = Some(arbiter);
    Ok(tree)
}
