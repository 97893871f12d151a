//! What an exchange is doing at a moment.

use std::time::Duration;

/// What an exchange is doing, as [`Exchange::snapshot`](crate::Exchange::snapshot) sees it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Tasks that have not been begun, as far as is known.
    pub waiting: usize,
    /// Tasks that have ended.
    pub ended: u64,
    /// Those of them that failed: an `Err` of their own, a panic, a death, a time-out.
    pub failures: u64,
    /// How long tasks take, as a moving average.
    pub ran: Duration,
    /// The workers that are alive.
    pub workers: Vec<Running>,
}

impl Snapshot {
    /// Tasks that workers have in hand.
    pub fn running(&self) -> usize {
        let busy = self.workers.iter().filter(|worker| worker.task.is_some());
        busy.count()
    }

    /// The part of the tasks submitted so far that has ended, from 0 to 1.
    pub fn progress(&self) -> f64 {
        let left = (self.waiting + self.running()) as f64;
        match self.ended as f64 {
            0.0 => 0.0,
            ended => ended / (ended + left),
        }
    }

    /// How long the tasks that have not ended will take, if they are like those before; `None` while
    /// no task has ended or no worker is alive.
    pub fn remaining(&self) -> Option<Duration> {
        let left = u32::try_from(self.waiting + self.running()).ok()?;
        let workers = u32::try_from(self.workers.len()).ok()?;
        let all = self.ran.checked_mul(left).filter(|_| self.ended > 0)?;
        all.checked_div(workers)
    }
}

/// A worker that is alive, and what it does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Running {
    /// Its process id.
    pub pid: u32,
    /// Memory it has resident, in bytes, where the system tells.
    pub memory: Option<u64>,
    /// The full path of the task it runs, if it runs one.
    pub task: Option<&'static str>,
    /// The number of that submission.
    pub job: Option<u64>,
    /// How long ago that task was sent.
    pub since: Option<Duration>,
    /// Tasks it has answered for.
    pub answered: u64,
}
