//! Results in the order of their inputs.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ipc_core::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{decode, encode};
use crate::outcome::{Arrival, Collector, Sink};
use crate::{Exchange, IntoTask, Journal, SubmitReason, Task, TaskError};

/// How many inputs are taken ahead of the results that were taken.
const AHEAD: usize = 1024;

type Inputs<A> = Box<dyn Iterator<Item = A> + Send>;

/// The results of one function over many inputs, in the order of the inputs.
///
/// As an iterator it gives every result as soon as it and those before it are there, and never ends
/// early: a task that was lost is an error in its place. Results that have not been iterated over can
/// be looked at by position with [`get`](Self::get) and [`slice`](Self::slice).
///
/// Up to 1024 inputs are taken ahead of the results, or what the exchange's backlog allows.
/// Dropping a map cancels what has not ended.
#[must_use = "a map that is dropped is cancelled"]
pub struct Map<A, R> {
    exchange: Exchange,
    task: Task<A, R>,
    inputs: Option<Inputs<A>>,
    collector: Arc<Collector>,
    /// Outcomes taken from the collector and not sorted in.
    arrived: VecDeque<(u64, Arrival)>,
    /// Results from `first` on.
    results: VecDeque<Option<Result<R, TaskError>>>,
    /// The position of the next result to be iterated over.
    first: u64,
    ahead: usize,
    unfinished: usize,
    refused: Option<SubmitReason>,
}

impl<A, R> Map<A, R> {
    pub(crate) fn new(exchange: Exchange, task: Task<A, R>, inputs: Inputs<A>) -> Self {
        Self {
            exchange,
            task,
            inputs: Some(inputs),
            collector: Arc::default(),
            arrived: VecDeque::new(),
            results: VecDeque::new(),
            first: 0,
            ahead: AHEAD,
            unfinished: 0,
            refused: None,
        }
    }

    /// How many inputs are taken ahead of the results that were iterated over, at least 1.
    pub fn ahead(mut self, inputs: usize) -> Self {
        self.ahead = inputs.max(1);
        self
    }

    /// Writes what comes of the tasks to a journal, and takes the results of those that succeeded
    /// in an earlier run from there instead of running them again.
    ///
    /// # Panics
    ///
    /// When inputs were submitted already.
    pub fn journal(mut self, journal: &Journal) -> Self {
        assert!(self.is_empty(), "a journal is for all of a map's inputs");
        self.collector = Arc::new(Collector::with_journal(journal.clone()));
        self
    }

    /// Inputs taken so far, those whose results were iterated over included.
    pub fn len(&self) -> usize {
        usize::try_from(self.first).unwrap_or(usize::MAX) + self.results.len()
    }

    /// Whether no input was taken so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why inputs were not submitted, if the exchange refused one: what was submitted before it
    /// still has its results, and nothing comes after.
    pub fn refused(&self) -> Option<&SubmitReason> {
        self.refused.as_ref()
    }
}

impl<A: Serialize, R: DeserializeOwned> Map<A, R> {
    /// Submits inputs until enough are ahead. Called by everything that waits for results, and worth
    /// calling to start before the first of them.
    pub fn start(&mut self) {
        // In batches: refilling after every single result would wake the exchange for each.
        if self.unfinished * 2 > self.ahead || self.results.len() >= self.ahead {
            return;
        }
        while self.results.len() < self.ahead && self.submit_one(Deadline::Now) {}
        if self.unfinished == 0 {
            // Others fill the backlog: wait for room for one, or there would be nothing to wait for.
            self.submit_one(Deadline::Never);
        }
    }

    /// Submits the next input; answers whether there was one and room for it.
    fn submit_one(&mut self, deadline: Deadline) -> bool {
        if deadline == Deadline::Now && !self.exchange.has_room() {
            return false;
        }
        let Some(input) = self.inputs.as_mut().and_then(Iterator::next) else {
            self.inputs = None;
            return false;
        };
        let index = self.first + self.results.len() as u64;
        if let Some(result) = self.resume(index, &input) {
            self.results.push_back(Some(Ok(result)));
            return true;
        }
        let sink = Sink::Collector(Arc::clone(&self.collector), index);
        // The room seen above may be gone: waiting for a moment is better than losing the input.
        match self
            .exchange
            .place(self.task, input, None, sink, Deadline::Never)
        {
            Ok(()) => {
                self.results.push_back(None);
                self.unfinished += 1;
                true
            }
            Err(error) => {
                self.refused = Some(error.reason().clone());
                self.inputs = None;
                false
            }
        }
    }

    /// The result that an earlier run has written down.
    fn resume(&self, index: u64, input: &A) -> Option<R> {
        if !self.collector.has_journal() {
            return None;
        }
        let argument = encode(input).ok()?;
        let result = self.collector.resume(index, self.task.id(), &argument)?;
        // One that cannot be read any more is computed again.
        decode(result.bytes()).ok()
    }

    /// The result at `index`, counted from the first input, waiting for it; `None` when there is no
    /// such input, or when its result was iterated over.
    pub fn get(&mut self, index: usize) -> Option<Result<&R, &TaskError>> {
        let at = usize::try_from((index as u64).checked_sub(self.first)?).ok()?;
        self.start();
        while self.results.len() <= at {
            if !self.submit_one(Deadline::Never) {
                return None;
            }
        }
        while self.results[at].is_none() {
            self.collect(Deadline::Never);
        }
        self.results[at].as_ref().map(Result::as_ref)
    }

    /// The results at `range`, waiting for all of them; shorter if there are fewer inputs.
    pub fn slice(&mut self, range: Range<usize>) -> Vec<Result<&R, &TaskError>> {
        for index in range.clone() {
            if self.get(index).is_none() {
                break;
            }
        }
        let at = |index: usize| (index as u64).checked_sub(self.first);
        range
            .map_while(|index| {
                self.results
                    .get(usize::try_from(at(index)?).ok()?)?
                    .as_ref()
            })
            .map(Result::as_ref)
            .collect()
    }

    /// Sorts in what has come, waiting until `deadline` if nothing has.
    fn collect(&mut self, deadline: Deadline) -> bool {
        if !self.collector.take(&mut self.arrived, deadline) {
            return false;
        }
        while let Some((index, arrival)) = self.arrived.pop_front() {
            let Arrival::End(outcome) = arrival else {
                continue;
            };
            self.unfinished -= 1;
            let slot = index
                .checked_sub(self.first)
                .and_then(|at| self.results.get_mut(usize::try_from(at).ok()?));
            if let Some(slot) = slot {
                *slot = Some(outcome.into_result());
            }
        }
        true
    }
}

impl<A: Serialize, R: DeserializeOwned> Iterator for Map<A, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.start();
        loop {
            match self.results.front() {
                None => return None,
                Some(Some(_)) => {
                    self.first += 1;
                    return self.results.pop_front().flatten();
                }
                Some(None) => {
                    self.collect(Deadline::Never);
                }
            }
        }
    }
}

impl<A, R> Drop for Map<A, R> {
    fn drop(&mut self) {
        if self.unfinished > 0 {
            let collector = Arc::clone(&self.collector);
            // A loop that is gone has ended every task.
            let _ = self
                .exchange
                .poster()
                .post(move |ctx| ctx.state.cancel_collected(&collector, ctx.registry));
        }
    }
}

impl<A, R> fmt::Debug for Map<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("task", &self.task)
            .field("len", &self.len())
            .field("unfinished", &self.unfinished)
            .finish_non_exhaustive()
    }
}

/// Runs `task` on every input with at most `limit` workers, and gives the results in the order of
/// the inputs. The workers end with the map.
///
/// # Errors
///
/// As [`Exchange::new`].
///
/// # Examples
///
/// ```
/// use ipc_exchange::{init, pmap, registry};
///
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init(registry![square]);
///     let squares: Result<Vec<u64>, _> = pmap(square, 1..=4, 2)?.collect();
///     assert_eq!(squares?, [1, 4, 9, 16]);
///     Ok(())
/// }
/// ```
pub fn pmap<A, R, I>(task: impl IntoTask<A, R>, inputs: I, limit: usize) -> io::Result<Map<A, R>>
where
    I: IntoIterator<Item = A>,
    I::IntoIter: Send + 'static,
{
    Ok(Exchange::new(limit)?.map(task, inputs))
}
