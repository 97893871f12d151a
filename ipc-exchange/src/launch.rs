//! Starting a process that shares this one's registry.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::OnceLock;

use ipc_core::{AnyChannel, ChildProcess, Inherit, Ring, Socket};
use ipc_marshal::{Duct, DuctOptions};

use crate::Registry;
use crate::process_options::Variables;
use crate::task::fnv;
use crate::wire::{FromWorker, Hello, PROTOCOL, Role, ToWorker};

/// Set in a worker, so that `init` looks for the descriptors.
pub(crate) const VARIABLE: &str = "IPC_EXCHANGE_WORKER";

/// Where a worker finds the channel to its parent, which is its lifeline too.
pub(crate) const CONTROL: i32 = 3;

/// Where it finds what its role needs: the shared page, or the program's own channel.
pub(crate) const EXTRA: i32 = 4;

/// The longest argument or result, in bytes.
pub(crate) const PAYLOAD_LEN_MAX: usize = 1 << 30;

/// The parent's end of a worker's control channel.
pub(crate) type Control = Duct<ToWorker, FromWorker>;

/// The program that workers run, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    /// Another program than this one.
    pub(crate) program: Option<OsString>,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// What of this process's environment is passed on.
    pub(crate) variables: Variables,
    /// Whether workers live too shortly for the price of a ring.
    pub(crate) is_brief: bool,
}

/// How this process asks for workers unless an exchange says otherwise: what
/// [`init_in_test`](crate::init_in_test) recorded.
static DEFAULT_ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

pub(crate) fn set_default_arguments(arguments: Vec<OsString>) {
    // A second call with the same hook changes nothing.
    DEFAULT_ARGUMENTS.get_or_init(|| arguments);
}

/// A process that was just started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) control: Control,
    pub(crate) child: ChildProcess,
}

impl Launch {
    /// Starts a process by `posix_spawn`: the cost does not depend on this one's size, and no code
    /// runs between fork and exec.
    ///
    /// `output` takes the place of standard output and error.
    pub(crate) fn start(
        &self,
        role: Role,
        extra: OwnedFd,
        output: Option<OwnedFd>,
    ) -> io::Result<Launched> {
        let mut inherit = Inherit::new();
        if let Some(output) = output {
            inherit = inherit.give(1, output.try_clone()?).give(2, output);
        }
        self.spawn(role, extra, inherit, |_| Ok(()))
    }

    /// Starts a process as `start`. `errors` takes the place of standard error; `admit` is given the
    /// new process before that is told what to run.
    pub(crate) fn start_program(
        &self,
        role: Role,
        extra: OwnedFd,
        errors: Option<OwnedFd>,
        admit: impl FnOnce(u32) -> io::Result<()>,
    ) -> io::Result<Launched> {
        let mut inherit = Inherit::new();
        if let Some(errors) = errors {
            inherit = inherit.give(2, errors);
        }
        self.spawn(role, extra, inherit, admit)
    }

    fn spawn(
        &self,
        role: Role,
        extra: OwnedFd,
        inherit: Inherit,
        admit: impl FnOnce(u32) -> io::Result<()>,
    ) -> io::Result<Launched> {
        let registry = installed()?;
        let (ours, theirs) = channel(self.is_brief)?;
        let inherit = inherit
            .own_group()
            .give(0, File::open("/dev/null")?)
            .give(CONTROL, theirs)
            .give(EXTRA, extra);
        let mut child = inherit.spawn(&self.command())?;
        if let Err(error) = admit(child.id()) {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        self.greet(registry, ours, child, role)
    }

    /// Starts a process by a fork of the zygote: `fork` has that take the descriptors, and answers
    /// the process id.
    pub(crate) fn fork(
        &self,
        fork: impl FnOnce(&[OwnedFd]) -> io::Result<u32>,
        role: Role,
        extra: OwnedFd,
        output: Option<OwnedFd>,
    ) -> io::Result<Launched> {
        let registry = installed()?;
        let (ours, theirs) = channel(self.is_brief)?;
        let mut fds = vec![theirs, extra];
        fds.extend(output);
        let pid = fork(&fds)?;
        drop(fds);
        self.greet(registry, ours, ChildProcess::from_id(pid), role)
    }

    /// Says the first words to a process that was just started.
    fn greet(
        &self,
        registry: &Registry,
        channel: AnyChannel,
        mut child: ChildProcess,
        role: Role,
    ) -> io::Result<Launched> {
        let mut control: Control = control_options().from_channel(channel);
        let is_other = self.program.is_some();
        let hello = ToWorker::Hello(Hello {
            protocol: PROTOCOL,
            build: if is_other { 0 } else { build_id() },
            registry: registry.hash(),
            parent: std::process::id(),
            role,
        });
        // The channel is empty, but an argument may be larger than it holds; the worker reads it.
        if control.send(hello).is_ok() {
            return Ok(Launched { control, child });
        }
        child.kill()?;
        let status = child.wait()?;
        Err(io::Error::new(
            io::ErrorKind::BrokenPipe,
            format!("the worker ended before the hand-shake: {status}"),
        ))
    }

    fn command(&self) -> Command {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => own_program(),
        };
        let mut command = Command::new(program);
        if !self.variables.are_all() {
            for (name, _) in env::vars_os().filter(|(name, _)| !self.variables.pass(name)) {
                command.env_remove(name);
            }
        }
        command.env(VARIABLE, "1");
        if self.program.is_none() && self.arguments.is_empty() {
            command.args(DEFAULT_ARGUMENTS.get().into_iter().flatten());
        }
        command.args(&self.arguments);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }
}

pub(crate) fn installed() -> io::Result<&'static Registry> {
    Registry::installed().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "ipc_exchange::init was not called at the start of main",
        )
    })
}

/// A channel to a child: shared memory where there is any, else a socket. Our end, and the
/// descriptor from which the child makes its own. A ring takes a fifth of a millisecond to make, so
/// that a brief conversation is better held through a socket.
pub(crate) fn channel(is_brief: bool) -> io::Result<(AnyChannel, OwnedFd)> {
    if !is_brief {
        match Ring::offer() {
            Ok((ours, theirs)) => return Ok((ours.into(), theirs)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(error) => return Err(error),
        }
    }
    let (ours, theirs) = Socket::pair()?;
    Ok((ours.into(), theirs.into()))
}

pub(crate) fn control_options() -> DuctOptions {
    // The frame holds a little more than the payload.
    DuctOptions::new().payload_len_max(PAYLOAD_LEN_MAX + 4096)
}

/// This program, even if its file was renamed, replaced or deleted since it was started.
fn own_program() -> OsString {
    if cfg!(target_os = "linux") {
        return "/proc/self/exe".into();
    }
    std::env::current_exe().map_or_else(|_| "/proc/self/exe".into(), OsString::from)
}

/// Identifies the executable file of this process.
pub(crate) fn build_id() -> u64 {
    static ID: OnceLock<u64> = OnceLock::new();
    *ID.get_or_init(|| {
        let Ok(metadata) = std::fs::metadata(own_program()) else {
            return 0;
        };
        let parts = [
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime().unsigned_abs(),
            metadata.mtime_nsec().unsigned_abs(),
        ];
        parts
            .iter()
            .fold(PROTOCOL.into(), |hash, part| fnv(hash, &part.to_le_bytes()))
    })
}
