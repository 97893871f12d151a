//! The process at the other end of a check.

use std::env;
use std::os::fd::OwnedFd;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipc_core::{Address, ChildProcess, Inherit};

use crate::commands::peer::CHANNEL_NUMBER;

/// This program again, in a role of `ipc-cli peer`; ended and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Other {
    child: ChildProcess,
}

impl Other {
    /// One that connects to `address`.
    pub(crate) fn connecting(role: &str, address: &Address) -> Result<Self> {
        Self::spawn(role, Some(address.to_string()), Inherit::new())
    }

    /// One that inherits the end of a channel.
    pub(crate) fn inheriting(role: &str, end: impl Into<OwnedFd>) -> Result<Self> {
        Self::spawn(role, None, Inherit::new().give(CHANNEL_NUMBER, end))
    }

    fn spawn(role: &str, address: Option<String>, inherit: Inherit) -> Result<Self> {
        let program = env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.arg("peer").arg(role).args(address);
        let child = inherit.spawn(&command).context("cannot start a process")?;
        Ok(Self { child })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it with SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill()?)
    }

    /// Waits until it has ended by itself, with success.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the other process ended with {status}");
        Ok(())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // One that has ended already is left alone by both.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
