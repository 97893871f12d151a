//! Ending things early: cancelled and late jobs, workers that are worn, stuck or too many.

use std::time::{Duration, Instant};

use super::place::{Place, Plan};
use super::table::{Phase, Worker};
use super::{Action, Ending, Force, JobKey, WorkerKey};

/// How long a worker that was told to end by itself has before it is killed.
const DISMISS_GRACE: Duration = Duration::from_secs(2);

/// How long a worker may take from its start to the end of the hand-shake.
const START_GRACE: Duration = Duration::from_secs(30);

impl Plan {
    /// Ends a job wherever it is: at once while it waits, by recalling it while it is in a window,
    /// by stopping the worker when it runs.
    pub(crate) fn end_early(&mut self, key: JobKey, ending: Ending, out: &mut Vec<Action>) {
        let Some(job) = self.jobs.get_mut(key.0).and_then(Option::as_mut) else {
            return;
        };
        match job.place {
            Place::Waiting { .. } => {
                self.waiting_len -= 1;
                self.end(key, ending, out);
            }
            Place::Sent { worker, seq } => {
                job.end_as.get_or_insert(ending);
                out.push(Action::Recall { worker, seq });
            }
        }
    }

    /// A worker has, or has not, given a job back.
    pub(crate) fn recalled(
        &mut self,
        key: WorkerKey,
        seq: u64,
        recalled: bool,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        let Some(sent) = worker.sent(seq).filter(|sent| !sent.recalled) else {
            return;
        };
        let job = sent.job;
        if recalled {
            sent.recalled = true;
            let len = sent.len;
            worker.held -= 1;
            worker.held_len -= len;
            self.put_back(job, out);
        } else {
            // It is further than its answers that were read: no reason to ask again soon.
            worker.postpone_steal(now);
            self.front_changed(key, now, out);
        }
    }

    /// Acts on a job that is to end and has come to the front of its worker's window.
    pub(crate) fn front_changed(&mut self, key: WorkerKey, now: Instant, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        let Some(front) = worker.window.front().filter(|sent| !sent.recalled) else {
            return;
        };
        let asked = self.jobs.get(front.job.0).and_then(Option::as_ref);
        if let Some(ending) = asked.and_then(|job| job.end_as) {
            self.stop_running(key, ending, now, out);
        }
    }

    /// Makes a worker end because of the job it runs; the ones behind go elsewhere.
    fn stop_running(
        &mut self,
        key: WorkerKey,
        ending: Ending,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        if matches!(worker.phase, Phase::Stopping { .. }) {
            return;
        }
        worker.verdict.get_or_insert(ending);
        recall_unbegun(key, worker, out);
        let force = if self.config.ask_grace.is_zero() {
            Force::Terminate
        } else {
            Force::Ask
        };
        self.apply(key, force, now, out);
    }

    /// Takes one step of stopping a worker and sets when the next is due.
    fn apply(&mut self, key: WorkerKey, force: Force, now: Instant, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        let grace = match force {
            Force::Ask => self.config.ask_grace,
            Force::Terminate => self.config.terminate_grace,
            // It may take the kernel a while; asking again does no harm.
            Force::Kill => Duration::from_secs(1),
        };
        worker.phase = Phase::Stopping {
            force,
            next: now + grace,
        };
        out.push(Action::Stop { worker: key, force });
    }

    /// A worker whose words cannot be used is killed; its running job counts as lost.
    pub(crate) fn broken(&mut self, key: WorkerKey, now: Instant, out: &mut Vec<Action>) {
        self.apply(key, Force::Kill, now, out);
    }

    /// Takes no new jobs for a worker; it ends once it has answered for the one it runs.
    pub(crate) fn retire(&mut self, key: WorkerKey, out: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(key) else {
            return;
        };
        if worker.takes_jobs() {
            worker.phase = Phase::Retiring;
            recall_unbegun(key, worker, out);
        }
    }

    /// Lets retiring workers go whose window is empty.
    pub(crate) fn dismiss(&mut self, now: Instant, out: &mut Vec<Action>) {
        for key in self.workers.keys() {
            let Some(worker) = self.workers.get_mut(key) else {
                continue;
            };
            if worker.phase == Phase::Retiring && worker.held == 0 && !worker.dismissed {
                worker.dismissed = true;
                worker.since = now;
                out.push(Action::Retire { worker: key });
            }
        }
    }

    pub(crate) fn limited(&mut self, limit: usize, out: &mut Vec<Action>) {
        self.config.limit = limit;
        let staying = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.takes_jobs());
        let mut surplus = staying.count().saturating_sub(limit);
        let mut keys: Vec<_> = self.workers.keys().collect();
        // Idle workers first: nothing has to move.
        keys.sort_by_key(|key| self.workers.get(*key).map_or(0, |worker| worker.held));
        for key in keys {
            let takes = self.workers.get(key).is_some_and(Worker::takes_jobs);
            if surplus > 0 && takes {
                self.retire(key, out);
                surplus -= 1;
            }
        }
    }

    /// Cancels what waits and what has not begun, and if `running` the rest too.
    pub(crate) fn cancel_all(&mut self, running: bool, out: &mut Vec<Action>) {
        while let Some(job) = self.pop_waiting() {
            self.end(job, Ending::Cancelled, out);
        }
        for key in (0..self.jobs.len()).map(JobKey) {
            let Some(job) = self.jobs[key.0].as_ref() else {
                continue;
            };
            match job.place {
                Place::Sent { worker, seq } if !running => {
                    out.push(Action::Recall { worker, seq });
                }
                _ => self.end_early(key, Ending::Cancelled, out),
            }
        }
    }

    /// Lets what is due happen.
    pub(crate) fn expire(&mut self, now: Instant, out: &mut Vec<Action>) {
        while let Some((when, key)) = self.deadlines.first().copied() {
            if when > now {
                break;
            }
            self.deadlines.pop_first();
            self.end_early(key, Ending::TimedOut { running: false }, out);
        }
        for key in self.workers.keys() {
            let Some(worker) = self.workers.get(key) else {
                continue;
            };
            if self.worker_wake(worker).is_none_or(|when| when > now) {
                continue;
            }
            match worker.phase {
                Phase::Stopping { force, .. } => {
                    let harder = match force {
                        Force::Ask => Force::Terminate,
                        Force::Terminate | Force::Kill => Force::Kill,
                    };
                    self.apply(key, harder, now, out);
                }
                Phase::Starting => self.broken(key, now, out),
                Phase::Retiring if worker.dismissed => self.apply(key, Force::Kill, now, out),
                _ => {
                    // By recall first: in front does not yet mean begun.
                    if let Some(job) = worker.window.front().map(|sent| sent.job) {
                        self.end_early(job, Ending::TimedOut { running: true }, out);
                    }
                }
            }
        }
    }

    /// When something is due for this worker.
    pub(crate) fn worker_wake(&self, worker: &Worker) -> Option<Instant> {
        match worker.phase {
            Phase::Stopping { next, .. } => Some(next),
            Phase::Retiring if worker.dismissed => Some(worker.since + DISMISS_GRACE),
            Phase::Starting => Some(worker.born + START_GRACE),
            Phase::Live | Phase::Retiring if self.timed == 0 => None,
            Phase::Live | Phase::Retiring => {
                let front = worker.window.front().filter(|sent| !sent.recalled)?;
                let job = self.jobs.get(front.job.0)?.as_ref()?;
                worker.since.checked_add(job.spec.timeout?)
            }
        }
    }
}

/// Asks for every job behind the front one, last first so that they keep their order when put back.
fn recall_unbegun(key: WorkerKey, worker: &Worker, out: &mut Vec<Action>) {
    for (index, sent) in worker.window.iter().enumerate().skip(1).rev() {
        if !sent.recalled {
            out.push(Action::Recall {
                worker: key,
                seq: worker.first_seq + index as u64,
            });
        }
    }
}
