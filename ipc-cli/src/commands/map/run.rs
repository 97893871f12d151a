//! Inputs in, results out, and what may happen in between.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use anyhow::{Context, Result};
use crossbeam_channel::{Receiver, Sender, never, select, unbounded};
use ipc_exchange::{Exchange, ExchangeOptions, Journal};

use super::args::{MapArgs, Order};
use super::expand::expand;
use super::halt::Verdict;
use super::job::{Begun, Job, State};
use super::progress;
use super::report::{Printer, Shown};
use super::source::{Input, Source};
use super::work::{Commands, Counting, Digests, Work};
use crate::interrupt;
use crate::output::{Output, complain};
use crate::run::Outcome;
use crate::tasks::TaskName;

/// How many results may wait for one that comes before them.
const WAITING_MAX: usize = 1024;

/// How many of them may have their outputs in files, which are two descriptors each.
const SPOOLED_MAX: usize = 64;

/// Works on every input and prints the results.
///
/// # Errors
///
/// When no worker can be started, the job log cannot be used, or standard output cannot be written
/// to. An input that fails is reported on standard error and makes the outcome [`Outcome::Partial`].
pub(crate) fn run(args: &MapArgs) -> Result<Outcome> {
    let output = Output::open()?;
    let given = args.inputs();
    let Some(task) = args.task else {
        let inputs = given.map(|inputs| inputs.into_iter().map(Ok).collect());
        return Run::start(args, Commands::new(args.words()), inputs, output)?.work();
    };
    let inputs = given.map(|inputs| {
        let files = expand(inputs.into_iter().map(PathBuf::from)).into_iter();
        let text = |(path, error): (PathBuf, std::io::Error)| (path.into(), error.to_string());
        files
            .map(|file| file.map(Into::into).map_err(text))
            .collect::<Vec<Input>>()
    });
    match task {
        TaskName::Sha256 => Run::start(args, Digests, inputs, output)?.work(),
        TaskName::Wc => {
            let work = Counting::new(inputs.as_deref());
            Run::start(args, work, inputs, output)?.work()
        }
    }
}

/// Whether inputs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Taking,
    /// There are no more, or no more are wanted.
    Finishing,
    /// What runs is to end.
    Halted,
}

/// A run of one kind of work.
struct Run<'a, W: Work> {
    args: &'a MapArgs,
    work: W,
    exchange: Exchange,
    ahead: usize,
    journal: Option<Journal>,
    source: Source,
    signals: Receiver<i32>,
    printer: Printer,
    phase: Phase,
    /// What was not printed yet, by the inputs' positions.
    jobs: BTreeMap<u64, Job<W::Value, W::Error>>,
    /// Positions of those that have ended, in that order.
    ended: VecDeque<u64>,
    running: usize,
    /// Those of them that have ended and have files.
    spooled: usize,
    taken: u64,
    final_failures: u64,
    final_ends: u64,
    arrivals: (Sender<u64>, Receiver<u64>),
}

impl<'a, W: Work> Run<'a, W> {
    fn start(
        args: &'a MapArgs,
        work: W,
        inputs: Option<Vec<Input>>,
        output: Output,
    ) -> Result<Self> {
        let signals = interrupt::listen()?;
        let journal = args.joblog.as_ref();
        let journal = journal.map(|path| Journal::open(path).context("cannot use the job log"));
        let source = match inputs {
            Some(inputs) => Source::given(inputs)?,
            None => Source::standard_input(args.null)?,
        };
        let mut options = ExchangeOptions::new();
        let mut workers = std::thread::available_parallelism().map_or(1, usize::from);
        if let Some(limit) = args.limit {
            workers = limit.into();
            options = options.limit(workers);
        }
        if let Some(timeout) = args.timeout {
            options = options.timeout(timeout);
        }
        options = match work.may_repeat() {
            true => options.prefetch(false),
            false => options.retries(args.retries),
        };
        // What was submitted is begun, so that none is begun after a failure that ends all.
        let ahead = match args.halt.is_never() {
            true => work.ahead(workers),
            false => workers,
        };
        Ok(Self {
            args,
            ahead,
            work,
            exchange: options.open().context("cannot start worker processes")?,
            journal: journal.transpose()?,
            printer: Printer::new(output, progress::bar(source.total), args.json),
            source,
            signals,
            phase: Phase::Taking,
            jobs: BTreeMap::new(),
            ended: VecDeque::new(),
            running: 0,
            spooled: 0,
            taken: 0,
            final_failures: 0,
            final_ends: 0,
            arrivals: unbounded(),
        })
    }

    /// Does it all, and leaves no process behind.
    fn work(mut self) -> Result<Outcome> {
        let outcome = self.go();
        self.printer.bar.finish_and_clear();
        self.exchange.shutdown();
        outcome
    }

    fn go(&mut self) -> Result<Outcome> {
        loop {
            self.print_ready()?;
            let idle = self.running == 0 && self.jobs.is_empty();
            if self.phase == Phase::Halted || (self.phase == Phase::Finishing && idle) {
                break;
            }
            if let Some(signal) = self.step()? {
                return Ok(Outcome::Interrupted(signal));
            }
        }
        if self.phase == Phase::Halted {
            // Those before it in order may never end.
            for job in std::mem::take(&mut self.jobs).into_values() {
                if job.has_ended() {
                    self.print(job)?;
                }
            }
        }
        let total = self.work.total().filter(|_| self.taken > 0);
        self.printer.finish(total)?;
        if let Some(journal) = &self.journal {
            journal.sync().context("cannot write the job log")?;
        }
        Ok(match self.printer.tally.failed {
            0 => Outcome::Complete,
            _ => Outcome::Partial,
        })
    }

    /// Waits for a result or an input; answers the signal if one comes instead.
    fn step(&mut self) -> Result<Option<i32>> {
        let nothing = never();
        let room = self.running < self.ahead
            && self.jobs.len() < self.ahead + WAITING_MAX
            && self.spooled < SPOOLED_MAX;
        let wants = self.phase == Phase::Taking && room;
        let inputs = if wants { &self.source.inputs } else { &nothing };
        if self.arrivals.1.is_empty() && inputs.is_empty() {
            self.printer.flush()?;
        }
        select! {
            recv(self.signals) -> signal => return Ok(signal.ok()),
            recv(self.arrivals.1) -> index => {
                let index = index.context("this end sends, too")?;
                self.arrived(index)?;
            }
            recv(inputs) -> input => match input {
                Ok(input) => self.take(input)?,
                Err(_) => {
                    self.finish_taking();
                    progress::know(&self.printer.bar, self.taken);
                }
            }
        }
        Ok(None)
    }

    fn finish_taking(&mut self) {
        if self.phase == Phase::Taking {
            self.phase = Phase::Finishing;
        }
    }

    fn take(&mut self, input: Input) -> Result<()> {
        let index = self.taken;
        self.taken += 1;
        let (input, state) = match input {
            Ok(input) => (input, None),
            Err((input, reason)) => (input, Some(State::Refused(reason))),
        };
        let argument = self.work.argument(&input);
        let claim = match &self.journal {
            Some(journal) if state.is_none() => Some(journal.claim(self.work.task(), &argument)?),
            _ => None,
        };
        let (claim, before) = claim.unzip();
        if self.args.resume && before.flatten().is_some() {
            self.printer.skip();
            return Ok(());
        }
        let refused = state.is_some();
        let (state, spool) = match state {
            Some(state) => (state, None),
            None => self.submit(argument)?,
        };
        let mut job = Job {
            input,
            claim,
            tries_left: if self.work.may_repeat() {
                self.args.retries
            } else {
                0
            },
            spool,
            state,
        };
        if refused {
            job.tries_left = 0;
            self.jobs.insert(index, job);
            self.running += 1;
            return self.arrived(index);
        }
        self.running += 1;
        let ended = job.poll(index, &self.arrivals.0);
        self.jobs.insert(index, job);
        if ended { self.arrived(index) } else { Ok(()) }
    }

    fn submit(&mut self, mut argument: W::Argument) -> Result<Begun<W::Value, W::Error>> {
        let spool = self.work.spool(&mut argument);
        let spool = spool.context("cannot make files for what commands print")?;
        let handle = self
            .exchange
            .submit(self.work.task(), argument)
            .map_err(|error| error.reason().clone())?;
        Ok((State::Running(handle), spool))
    }

    /// The result of an input has come, or is there to be taken.
    fn arrived(&mut self, index: u64) -> Result<()> {
        let Some(job) = self.jobs.get_mut(&index) else {
            return Ok(());
        };
        if !job.poll(index, &self.arrivals.0) {
            return Ok(());
        }
        if job.failed() && job.tries_left > 0 && self.phase != Phase::Halted {
            job.tries_left -= 1;
            // What an attempt has printed that is not the last goes with its files.
            job.spool = None;
            let argument = self.work.argument(&job.input);
            let submitted = self.submit(argument)?;
            let job = self.jobs.get_mut(&index).expect("it was there above");
            (job.state, job.spool) = submitted;
            if !job.poll(index, &self.arrivals.0) {
                return Ok(());
            }
            // It has come at once: another turn looks at it.
            let _ = self.arrivals.0.send(index);
            return Ok(());
        }
        if let State::Ended(Ok(result)) = &job.state
            && !self.work.is_spooled(result)
        {
            job.spool = None;
        }
        self.spooled += usize::from(job.spool.is_some());
        self.running -= 1;
        self.final_ends += 1;
        self.final_failures += u64::from(job.failed());
        self.ended.push_back(index);
        self.halt();
        Ok(())
    }

    fn halt(&mut self) {
        let verdict = self.args.halt.verdict(self.final_failures, self.final_ends);
        let (failed, phase) = match (self.phase, verdict) {
            (Phase::Taking, Verdict::Soon) => (self.final_failures, Phase::Finishing),
            (Phase::Taking | Phase::Finishing, Verdict::Now) => {
                (self.final_failures, Phase::Halted)
            }
            _ => return,
        };
        self.phase = phase;
        let failures = if failed == 1 { "failure" } else { "failures" };
        let what = match phase {
            Phase::Halted => "what runs is killed",
            _ => "nothing more is begun",
        };
        let line = format!("halted after {failed} {failures}: {what}");
        self.printer.bar.suspend(|| complain(line));
    }

    /// Prints the results whose turn has come.
    fn print_ready(&mut self) -> Result<()> {
        match self.args.order {
            Order::Done => {
                while let Some(index) = self.ended.pop_front() {
                    if let Some(job) = self.jobs.remove(&index) {
                        self.print(job)?;
                    }
                }
            }
            Order::Input => {
                self.ended.clear();
                while let Some(first) = self.jobs.first_entry().filter(|job| job.get().has_ended())
                {
                    let job = first.remove();
                    self.print(job)?;
                }
            }
        }
        Ok(())
    }

    /// Prints a result, and then writes it to the job log: what is there has been seen.
    fn print(&mut self, mut job: Job<W::Value, W::Error>) -> Result<()> {
        let spool = job.spool.take();
        self.spooled -= usize::from(spool.is_some());
        let shown = match &job.state {
            State::Ended(Ok(result)) => self.work.show(&job.input, spool, result),
            State::Ended(Err(error)) => self.work.show_error(spool, error, self.args.timeout),
            State::Refused(reason) => Shown::problem(reason.clone()),
            State::Running(_) => return Ok(()),
        };
        self.printer.print(&job.input, &shown)?;
        let Some((journal, claim)) = self.journal.as_ref().zip(job.claim) else {
            return Ok(());
        };
        self.printer.flush()?;
        match &job.state {
            State::Ended(Ok(result)) => {
                let (pid, ran) = self.work.measured(result);
                journal.record(&claim, &self.work.logged(result), pid, ran);
            }
            State::Ended(Err(error)) => journal.record_error(&claim, error),
            State::Running(_) | State::Refused(_) => {}
        }
        Ok(())
    }
}
