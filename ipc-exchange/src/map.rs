//! Results in the order of their inputs.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use ipc_core::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::chunk::Part;
use crate::codec::{decode, encode};
use crate::outcome::{About, Arrival, Collector, Outcome, Sink};
use crate::{Cause, Exchange, IntoTask, Journal, SubmitReason, Task, TaskError};

/// How many times a chunk's inputs are looked at for as many that a journal has no results of.
const LOOK_AHEAD: usize = 8;

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
    results: VecDeque<Place<R>>,
    /// The position of the next result to be iterated over.
    first: u64,
    ahead: usize,
    /// How many inputs make one task.
    chunk: usize,
    /// The chunks that were submitted and have not ended: the positions of their inputs, by the first.
    chunks: HashMap<u64, Arc<[u64]>>,
    /// Inputs submitted whose tasks have not ended.
    unfinished: usize,
    refused: Option<SubmitReason>,
}

/// Where a result will be, or is.
enum Place<R> {
    Awaited,
    /// Come and not decoded: that is done when it is asked for, so that large results are not all
    /// decoded at the same time.
    Arrived(Outcome),
    Ready(Result<R, TaskError>),
}

impl<R: DeserializeOwned> Place<R> {
    fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited)
    }

    /// The result, if it has come.
    fn decode(&mut self) -> Option<&Result<R, TaskError>> {
        if let Self::Arrived(_) = self
            && let Self::Arrived(outcome) = std::mem::replace(self, Self::Awaited)
        {
            *self = Self::Ready(outcome.into_result());
        }
        match self {
            Self::Ready(result) => Some(result),
            _ => None,
        }
    }

    fn into_result(self) -> Option<Result<R, TaskError>> {
        match self {
            Self::Awaited => None,
            Self::Arrived(outcome) => Some(outcome.into_result()),
            Self::Ready(result) => Some(result),
        }
    }
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
            chunk: 1,
            chunks: HashMap::new(),
            unfinished: 0,
            refused: None,
        }
    }

    /// How many inputs are taken ahead of the results that were iterated over, at least 1.
    pub fn ahead(mut self, inputs: usize) -> Self {
        self.ahead = inputs.max(1);
        self
    }

    /// Makes one task of so many inputs, at least 1, so that very short ones cost less each. A panic is
    /// still the result of its own input, and a journal has a line for each; a worker's death, a
    /// time-out and a cancellation are of all inputs of the chunk whose results have not come. The
    /// results of a chunk come together, or every ten milliseconds if it takes longer.
    pub fn chunk(mut self, inputs: usize) -> Self {
        self.chunk = inputs.max(1);
        self.ahead = self.ahead.max(self.chunk.saturating_mul(8));
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
        if self.chunk > 1 {
            return self.submit_chunk();
        }
        let Some((index, input)) = self.take_input() else {
            return false;
        };
        let Some(input) = input else {
            return true;
        };
        let sink = Sink::Collector(Arc::clone(&self.collector), index);
        // The room seen above may be gone: waiting for a moment is better than losing the input.
        match self
            .exchange
            .place(self.task, input, None, sink, Deadline::Never)
        {
            Ok(()) => {
                self.unfinished += 1;
                true
            }
            Err(error) => self.stop_at(index, error.reason()),
        }
    }

    /// Submits the next chunk; answers whether there was one.
    fn submit_chunk(&mut self) -> bool {
        let before = self.results.len();
        let (mut inputs, mut places) = (Vec::new(), Vec::new());
        // Inputs that a journal has results of are passed over, but not without end.
        while inputs.len() < self.chunk && self.results.len() - before < LOOK_AHEAD * self.chunk {
            let Some((index, input)) = self.take_input() else {
                break;
            };
            if let Some(input) = input {
                inputs.push(input);
                places.push(index);
            }
        }
        let Some(first) = places.first().copied() else {
            return self.results.len() > before;
        };
        let (count, places): (usize, Arc<[u64]>) = (places.len(), places.into());
        let sink = Sink::Chunk(Arc::clone(&self.collector), Arc::clone(&places));
        let task = Task::<Vec<A>, ()>::from_parts(self.task.id(), self.task.name());
        match self
            .exchange
            .place(task, inputs, None, sink, Deadline::Never)
        {
            Ok(()) => {
                self.chunks.insert(first, places);
                self.unfinished += count;
                true
            }
            Err(error) => self.stop_at(first, error.reason()),
        }
    }

    /// Takes the next input and makes a place for its result: its position, and the input, unless a
    /// journal has the result.
    fn take_input(&mut self) -> Option<(u64, Option<A>)> {
        let Some(input) = self.inputs.as_mut().and_then(Iterator::next) else {
            self.inputs = None;
            return None;
        };
        let index = self.first + self.results.len() as u64;
        let result = self.resume(index, &input);
        let input = result.is_none().then_some(input);
        let place = result.map_or(Place::Awaited, |result| Place::Ready(Ok(result)));
        self.results.push_back(place);
        Some((index, input))
    }

    /// Nothing is submitted any more: the input at `index` was refused.
    fn stop_at(&mut self, index: u64, reason: &SubmitReason) -> bool {
        let left = usize::try_from(index - self.first).unwrap_or(usize::MAX);
        self.results.truncate(left);
        self.refused = Some(reason.clone());
        self.inputs = None;
        false
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
        while self.results[at].is_awaited() {
            self.collect(Deadline::Never);
        }
        self.results[at].decode().map(Result::as_ref)
    }

    /// The results at `range`, waiting for all of them; shorter if there are fewer inputs.
    pub fn slice(&mut self, range: Range<usize>) -> Vec<Result<&R, &TaskError>> {
        for index in range.clone() {
            if self.get(index).is_none() {
                break;
            }
        }
        let first = self.first;
        let at = |index: usize| usize::try_from((index as u64).checked_sub(first)?).ok();
        range
            .map_while(|index| match self.results.get(at(index)?)? {
                Place::Ready(result) => Some(result.as_ref()),
                _ => None,
            })
            .collect()
    }

    /// Sorts in what has come, waiting until `deadline` if nothing has.
    fn collect(&mut self, deadline: Deadline) -> bool {
        if !self.collector.take(&mut self.arrived, deadline) {
            return false;
        }
        while let Some((index, arrival)) = self.arrived.pop_front() {
            match arrival {
                Arrival::Item(_) => {}
                Arrival::Part(about, part) => self.sort_part(index, about, &part),
                Arrival::End(outcome) => match self.chunks.remove(&index) {
                    Some(places) => self.end_chunk(&places, &outcome),
                    None => {
                        self.unfinished -= 1;
                        if let Some(place) = self.place(index) {
                            *place = Place::Arrived(outcome);
                        }
                    }
                },
            }
        }
        true
    }

    /// Where the result of an input goes that has none yet.
    fn place(&mut self, index: u64) -> Option<&mut Place<R>> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.results.get_mut(at).filter(|place| place.is_awaited())
    }

    /// Sorts in some results of the chunk whose first input's position is `index`.
    fn sort_part(&mut self, index: u64, mut about: About, part: &Part) {
        let Some(places) = self.chunks.get(&index).cloned() else {
            return;
        };
        for single in part.results() {
            let index = places.get(single.position).copied();
            if let Some(place) = index.and_then(|index| self.place(index)) {
                about.ran = single.ran;
                *place = Place::Ready(about.result(single.result));
            }
        }
    }

    /// What befell a chunk befell each of its inputs whose results have not come.
    fn end_chunk(&mut self, places: &[u64], outcome: &Outcome) {
        self.unfinished -= places.len();
        let nothing = || Cause::BadResult {
            reason: "its chunk has ended without it".into(),
        };
        let cause = outcome.result.as_ref().err().cloned();
        let error = outcome.about.error(cause.unwrap_or_else(nothing));
        for index in places {
            if let Some(place) = self.place(*index) {
                *place = Place::Ready(Err(error.clone()));
            }
        }
    }
}

impl<A: Serialize, R: DeserializeOwned> Iterator for Map<A, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.start();
        loop {
            if self.results.front()?.is_awaited() {
                self.collect(Deadline::Never);
                continue;
            }
            self.first += 1;
            return self.results.pop_front()?.into_result();
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
