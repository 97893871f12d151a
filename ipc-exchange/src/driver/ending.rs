//! What a job's owner is told.

use std::time::{Duration, Instant};

use crate::exchange::Submission;
use crate::outcome::{About, Outcome, between};
use crate::payload::Payload;
use crate::plan::Ending;
use crate::wire::Finished;
use crate::{Cause, Exit};

/// A job that has not ended.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) submission: Submission,
    pub(super) attempt: u32,
    pub(super) pid: Option<u32>,
    /// Where it was sent last, by worker and sequence number.
    pub(super) place: Option<(crate::plan::WorkerKey, u64)>,
    pub(super) sent: Instant,
    /// For a chunk: how many of its arguments were answered.
    pub(super) chunk: Option<usize>,
}

/// What is known besides the ending itself.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) reply: Option<(Finished, Duration)>,
    pub(super) exit: Option<Exit>,
    pub(super) out_of_memory: bool,
    pub(super) start_error: String,
    pub(super) output: String,
}

impl Job {
    /// What there is to tell about it now.
    pub(super) fn about(&self) -> About {
        let now = Instant::now();
        let (queued, ran) = match self.attempt {
            0 => (between(self.submission.at, now), Duration::ZERO),
            _ => (
                between(self.submission.at, self.sent),
                between(self.sent, now),
            ),
        };
        About {
            attempt: self.attempt,
            pid: self.pid,
            queued,
            ran,
            ..about(&self.submission)
        }
    }

    pub(super) fn outcome(&self, ending: Ending, evidence: &mut Evidence) -> Outcome {
        let mut about = self.about();
        let failed = matches!(
            evidence.reply,
            Some((Finished::Returned { failed: true, .. }, _))
        );
        let result = match ending {
            Ending::Replied => match evidence.reply.take() {
                Some((finished, measured)) => {
                    about.ran = measured;
                    finished_result(finished)
                }
                None => Err(Cause::Cancelled),
            },
            Ending::Lost { .. } => Err(Cause::Lost {
                exit: evidence.exit.unwrap_or(Exit::Unknown),
                out_of_memory: evidence.out_of_memory,
            }),
            Ending::NoWorker => Err(Cause::NoWorker {
                reason: evidence.start_error.clone(),
            }),
            Ending::TimedOut { running } => Err(Cause::TimedOut { running }),
            Ending::Cancelled => Err(Cause::Cancelled),
        };
        about.output = std::mem::take(&mut evidence.output);
        Outcome {
            about,
            failed,
            result,
        }
    }
}

/// What there is to tell about a submission that was never placed.
fn about(submission: &Submission) -> About {
    About {
        task: submission.name,
        task_id: submission.task,
        job: submission.number,
        attempt: 0,
        pid: None,
        queued: Duration::ZERO,
        ran: Duration::ZERO,
        output: String::new(),
    }
}

/// The outcome of a submission that was never placed.
pub(crate) fn cancelled(submission: &Submission) -> Outcome {
    Outcome {
        about: About {
            queued: submission.at.elapsed(),
            ..about(submission)
        },
        failed: false,
        result: Err(Cause::Cancelled),
    }
}

/// A worker's answer as a result.
pub(crate) fn finished_result(finished: Finished) -> Result<Payload, Cause> {
    match finished {
        Finished::Returned { value, .. } => Ok(value),
        Finished::Panicked {
            message,
            location,
            backtrace,
        } => Err(Cause::Panicked {
            message,
            location,
            backtrace,
        }),
        Finished::BadArgument(reason) => Err(Cause::BadArgument { reason }),
        Finished::BadResult(reason) => Err(Cause::BadResult { reason }),
        Finished::Unknown => Err(Cause::Unknown),
    }
}
