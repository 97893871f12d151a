//! The process that workers are forked from, seen from the exchange.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use ipc_core::Socket;
use nix::unistd::{Pid, setpgid};

use crate::launch::Launch;
use crate::wire::{FromWorker, Role};

/// A process with one thread that forks on request.
///
/// What it forks are children of this process, not of the zygote: this one waits for them as for any
/// other, and the zygote never has to.
#[derive(Debug)]
pub(crate) struct Zygote {
    pid: u32,
    requests: Option<Socket>,
}

impl Zygote {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(launch: &Launch) -> io::Result<Self> {
        let (requests, theirs) = Socket::pair()?;
        let mut launched = launch.start(Role::Zygote, theirs.into(), None)?;
        let reason = match launched.control.recv() {
            Ok(FromWorker::Ready) => {
                return Ok(Self {
                    pid: launched.child.id(),
                    requests: Some(requests),
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
        let Some(requests) = &mut self.requests else {
            return Err(io::Error::other("the zygote was dismissed"));
        };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        requests.send_fds(&[fds.len() as u8], &fds)?;
        let mut answer = [0; 8];
        requests.read_exact(&mut answer)?;
        let [a, b, c, d, e, f, g, h] = answer;
        let pid = u32::from_le_bytes([a, b, c, d]);
        if pid == 0 {
            let errno = i32::from_le_bytes([e, f, g, h]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        // It does the same; whoever is first, its number names its group from now on.
        if let Ok(raw) = i32::try_from(pid) {
            let _ = setpgid(Pid::from_raw(raw), Pid::from_raw(raw));
        }
        Ok(pid)
    }

    /// Lets it end.
    pub(crate) fn dismiss(&mut self) {
        self.requests = None;
    }
}
