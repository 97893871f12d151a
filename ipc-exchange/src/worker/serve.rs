//! The hand-shake, and what comes after it.

use std::os::fd::OwnedFd;
use std::time::Duration;

use ipc_core::AnyChannel;
use ipc_marshal::Duct;

use super::lifeline::{PROGRAM_GRACE, enter, leave_folder, watch};
use super::recording::{guarded, record_panics};
use super::tasks::run_tasks;
use super::{EXIT_ORPHAN, EXIT_REFUSED, detached, zygote};
use crate::launch::{build_id, control_options};
use crate::sys::{die_with_parent, wake_with_parent};
use crate::wire::{FromWorker, Hello, PROTOCOL, Role, ToWorker};
use crate::{Registry, TaskId};

/// A worker's end of its control channel.
pub(super) type Control = Duct<FromWorker, ToWorker>;

/// Works until the parent has no more use for this process; answers its exit code.
pub(crate) fn serve(registry: &'static Registry, channel: AnyChannel, extra: OwnedFd) -> i32 {
    let mut control: Control = control_options().from_channel(channel);
    let hello = match control.recv() {
        Ok(ToWorker::Hello(hello)) => hello,
        // The parent is gone already, or is no parent.
        _ => return EXIT_ORPHAN,
    };
    if let Err(reason) = check(&hello, registry) {
        // If it cannot be told, the exit code tells it.
        let _ = control.send(FromWorker::Refused(reason));
        return EXIT_REFUSED;
    }
    if matches!(hello.role, Role::Zygote) {
        return zygote::serve_forks(registry, control, extra);
    }
    record_panics();
    match hello.role {
        Role::Zygote => EXIT_REFUSED,
        Role::Detached {
            task,
            argument,
            address,
        } => detached::serve_detached(registry, control, task, argument, &address),
        Role::Worker {
            initializer,
            marker,
        } => {
            if die_with_parent(hello.parent).is_err() {
                return EXIT_REFUSED;
            }
            run_tasks(registry, control, extra, initializer, marker)
        }
        Role::Program {
            task,
            argument,
            limits,
            outlives,
        } => {
            if let Err(error) = limits.apply() {
                let _ = control.send(FromWorker::Refused(format!("its limits: {error}")));
                return EXIT_REFUSED;
            }
            let grace = PROGRAM_GRACE.saturating_add(outlives);
            run_program(registry, control, extra, grace, (task, argument.bytes()))
        }
    }
}

fn check(hello: &Hello, registry: &Registry) -> Result<(), String> {
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "the parent speaks protocol {}, this worker {PROTOCOL}",
            hello.protocol
        ));
    }
    if hello.build != 0 && hello.build != build_id() {
        return Err("the worker is not the parent's executable file".into());
    }
    if hello.registry != registry.hash() {
        return Err("the worker's registry is not the parent's".into());
    }
    Ok(())
}

fn run_program(
    registry: &'static Registry,
    mut control: Control,
    extra: OwnedFd,
    grace: Duration,
    (task, argument): (TaskId, &[u8]),
) -> i32 {
    let Ok(channel) = AnyChannel::from_fd(extra) else {
        return EXIT_REFUSED;
    };
    // One that is stopped could not see that its parent is gone. Where this cannot be had it stays.
    let _ = wake_with_parent();
    if watch(&control, grace).is_err() || control.send(FromWorker::Ready).is_err() {
        return EXIT_REFUSED;
    }
    enter();
    let done = guarded(|| registry.run_program(task, channel, argument));
    // One that has lost its parent may end before another comes.
    leave_folder();
    match done {
        Ok(Ok(())) => 0,
        Ok(Err(reason)) => {
            let _ = control.send(FromWorker::Refused(reason));
            EXIT_REFUSED
        }
        // As a panic in `main`.
        Err(_) => 101,
    }
}
