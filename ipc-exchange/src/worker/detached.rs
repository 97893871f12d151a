//! A process that goes on when its parent ends.

use std::fs::OpenOptions;

use ipc_core::{Address, Port};
use nix::unistd::{dup2_stderr, dup2_stdout};

use super::serve::Control;
use super::{EXIT_ORPHAN, EXIT_REFUSED};
use crate::payload::Payload;
use crate::persistent::run_detached;
use crate::sys::detach;
use crate::wire::FromWorker;
use crate::{Registry, TaskId};

/// Listens, tells the parent so, leaves it, and works until every result was taken.
pub(super) fn serve_detached(
    registry: &'static Registry,
    mut control: Control,
    task: TaskId,
    argument: Payload,
    address: &str,
) -> i32 {
    // Before there are threads, where there are some already it stays a child and only that; and
    // before the port is bound, which belongs to the process that did it.
    let _ = detach();
    let port = address
        .parse::<Address>()
        .map_err(|error| error.to_string())
        .and_then(|address| Port::bind(&address).map_err(|error| format!("{address}: {error}")));
    let port = match port {
        Ok(port) => port,
        Err(reason) => {
            let _ = control.send(FromWorker::Refused(reason));
            return EXIT_REFUSED;
        }
    };
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    // What the parent's terminal or pipe was must not be kept open, nor closed and used again.
    let silent =
        null.is_ok_and(|null| dup2_stdout(&null).and_then(|()| dup2_stderr(&null)).is_ok());
    if !silent || control.send(FromWorker::Ready).is_err() {
        return EXIT_ORPHAN;
    }
    drop(control);
    match run_detached(registry, port, task, argument) {
        Ok(()) => 0,
        Err(_) => EXIT_REFUSED,
    }
}
