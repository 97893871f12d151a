//! The process that workers are forked from, seen from the exchange.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ipc_core::{Deadline, Inbound, Socket};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setpgid};

use crate::launch::Launch;
use crate::wire::{FromWorker, Role};

/// How long it may take until it is ready, and then for a fork: longer, and it is stopped, say.
const START_MAX: Duration = Duration::from_secs(30);
const FORK_MAX: Duration = Duration::from_secs(2);

/// A process with one thread that forks on request.
///
/// What it forks are children of this process, not of the zygote: this one waits for them as for any
/// other, and the zygote never has to. They stay in the zygote's process group until this process
/// knows of them: should the zygote die before it has told, that is where they are found.
#[derive(Debug)]
pub(crate) struct Zygote {
    pid: u32,
    requests: Socket,
}

impl Zygote {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(launch: &Launch) -> io::Result<Self> {
        let (requests, theirs) = Socket::pair()?;
        let mut launched = launch.start(Role::Zygote, theirs.into(), None)?;
        let reason = match launched.control.recv_timeout(START_MAX) {
            Ok(FromWorker::Ready) => {
                return Ok(Self {
                    pid: launched.child.id(),
                    requests,
                });
            }
            Ok(FromWorker::Refused(reason)) => reason,
            Ok(_) => "it does not speak the protocol".to_owned(),
            Err(error) => error.to_string(),
        };
        launched.child.kill()?;
        launched.child.wait()?;
        Err(io::Error::other(format!(
            "the zygote did not start: {reason}"
        )))
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid
    }

    /// Has it fork a process that takes these descriptors: its control channel, what its role needs,
    /// and its output if that is captured. Answers the process id.
    pub(crate) fn fork(&mut self, fds: &[OwnedFd]) -> io::Result<u32> {
        let requests = &mut self.requests;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        requests.send_fds(&[fds.len() as u8], &fds)?;
        let deadline = Deadline::after(FORK_MAX);
        let mut answer = [0; 8];
        let mut len = 0;
        while len < answer.len() {
            match requests.read_deadline(&mut answer[len..], deadline)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => len += more,
            }
        }
        let [a, b, c, d, e, f, g, h] = answer;
        let pid = u32::from_le_bytes([a, b, c, d]);
        if pid == 0 {
            let errno = i32::from_le_bytes([e, f, g, h]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        // Its number names its group from now on. It waits for its first message meanwhile.
        if let Ok(raw) = i32::try_from(pid) {
            let _ = setpgid(Pid::from_raw(raw), Pid::from_raw(raw));
        }
        Ok(pid)
    }
}

impl Drop for Zygote {
    /// Ends it and what it has forked and not told of, and waits for all of them.
    fn drop(&mut self) {
        let Ok(raw) = i32::try_from(self.pid) else {
            return;
        };
        // An error means that the group is empty: its members have ended and were waited for.
        let _ = killpg(Pid::from_raw(raw), Signal::SIGKILL);
        while matches!(
            waitpid(Pid::from_raw(-raw), None),
            Ok(_) | Err(Errno::EINTR)
        ) {}
    }
}
