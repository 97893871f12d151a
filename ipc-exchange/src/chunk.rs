//! Chunks: one task that is many short ones, each with a result of its own.
//!
//! A worker tells of a chunk's results in parts: all that is left when the chunk has ended, and before
//! that what has come in [`TELL_AFTER`], so that a worker's death, or the whole program's, costs no
//! more than that of a long chunk.

use std::time::{Duration, Instant};

use ipc_marshal::{Bincode, Codec};
use serde::{Deserialize, Serialize};

use crate::Cause;
use crate::driver::finished_result;
use crate::payload::Payload;
use crate::wire::Finished;

/// How long results may wait for those behind them, and how many bytes of them.
const TELL_AFTER: Duration = Duration::from_millis(10);
const TELL_LEN: usize = 256 * 1024;

/// The results of some of a chunk's arguments, one behind the other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    /// The position of the first of them in the chunk.
    first: usize,
    each: Vec<Each>,
    /// The values, one behind the other.
    values: Payload,
}

/// What came of one argument, which took the function `ran_ns`.
#[derive(Debug, Serialize, Deserialize)]
enum Each {
    /// So many bytes of the part's values; `failed` if they are the `Err` of a `Result`.
    Value {
        ran_ns: u64,
        len: usize,
        failed: bool,
    },
    /// No value.
    No { ran_ns: u64, why: Box<Finished> },
}

/// One result of a part.
#[derive(Debug)]
pub(crate) struct Single<'a> {
    /// The position of its argument in the chunk.
    pub(crate) position: usize,
    pub(crate) ran: Duration,
    pub(crate) failed: bool,
    pub(crate) result: Result<&'a [u8], Cause>,
}

impl Part {
    /// The position behind the last of its results.
    pub(crate) fn end(&self) -> usize {
        self.first.saturating_add(self.each.len())
    }

    pub(crate) fn results(&self) -> impl Iterator<Item = Single<'_>> {
        let mut values = self.values.bytes();
        let each = self.each.iter().enumerate();
        each.map(move |(index, each)| {
            let (ran_ns, failed, result) = match each {
                Each::Value {
                    ran_ns,
                    len,
                    failed,
                } => (*ran_ns, *failed, split(&mut values, *len)),
                Each::No { ran_ns, why } => (*ran_ns, true, Err(cause(why))),
            };
            Single {
                position: self.first.saturating_add(index),
                ran: Duration::from_nanos(ran_ns),
                failed,
                result,
            }
        })
    }
}

/// Takes the first `len` bytes from `values`.
fn split<'a>(values: &mut &'a [u8], len: usize) -> Result<&'a [u8], Cause> {
    let cut = || Cause::BadResult {
        reason: "it is cut off".into(),
    };
    // What follows a length that is wrong is wrong, too.
    let (value, rest) = std::mem::take(values)
        .split_at_checked(len)
        .ok_or_else(cut)?;
    *values = rest;
    Ok(value)
}

fn cause(why: &Finished) -> Cause {
    finished_result(why.clone()).err().unwrap_or(Cause::Unknown)
}

/// A worker's results of a chunk that its owner was not told.
pub(crate) struct Untold<T> {
    first: usize,
    each: Vec<Each>,
    values: Vec<u8>,
    /// When the argument was begun that runs now, and the first one that was not told.
    began: Instant,
    since: Instant,
    tell: T,
    /// Whether any argument had no result, or `Err`.
    failed: bool,
}

impl<T: FnMut(Part)> Untold<T> {
    /// For a chunk of which the first `answered` arguments are not run again.
    pub(crate) fn new(answered: usize, tell: T) -> Self {
        let now = Instant::now();
        Self {
            first: answered,
            each: Vec::new(),
            values: Vec::new(),
            began: now,
            since: now,
            tell,
            failed: false,
        }
    }

    /// Adds what came of the next argument.
    pub(crate) fn push<R: Serialize>(&mut self, result: Result<R, Finished>, is_result: bool) {
        let now = Instant::now();
        let ran = now.saturating_duration_since(self.began);
        let ran_ns = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.began = now;
        let at = self.values.len();
        let encoded = result.and_then(|value| {
            let encoded = Bincode.encode(&value, &mut self.values);
            encoded.map_err(|error| Finished::BadResult(error.to_string()))
        });
        let each = match encoded {
            Ok(()) => Each::Value {
                ran_ns,
                len: self.values.len() - at,
                failed: is_result && is_err(&self.values[at..]),
            },
            Err(why) => {
                self.values.truncate(at);
                let why = Box::new(why);
                Each::No { ran_ns, why }
            }
        };
        self.failed |= !matches!(each, Each::Value { failed: false, .. });
        self.each.push(each);
        if now.saturating_duration_since(self.since) >= TELL_AFTER || self.values.len() >= TELL_LEN
        {
            self.tell();
        }
    }

    /// Tells what is left; answers whether any argument failed.
    pub(crate) fn finish(mut self) -> bool {
        self.tell();
        self.failed
    }

    fn tell(&mut self) {
        if self.each.is_empty() {
            return;
        }
        let part = Part {
            first: self.first,
            each: std::mem::take(&mut self.each),
            values: Payload::from(std::mem::take(&mut self.values)),
        };
        self.first = part.end();
        self.since = self.began;
        (self.tell)(part);
    }
}

/// Whether an encoded `Result` is an `Err`: the codec writes a variant's number first, and `Err` is
/// the second.
pub(crate) fn is_err(value: &[u8]) -> bool {
    value.first() == Some(&1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_however_they_are_told() {
        let mut parts = Vec::new();
        let mut untold = Untold::new(2, |part| parts.push(part));
        untold.push::<Result<u32, ()>>(Ok(Ok(5)), true);
        untold.push::<Result<u32, ()>>(Ok(Err(())), true);
        untold.tell();
        untold.push::<Result<u32, ()>>(Err(Finished::Unknown), true);
        assert!(untold.finish());
        let told: Vec<_> = parts
            .iter()
            .flat_map(Part::results)
            .map(|single| (single.position, single.failed, single.result))
            .collect();
        let expected = [
            (2, false, Ok(&[0, 5][..])),
            (3, true, Ok(&[1][..])),
            (4, true, Err(Cause::Unknown)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_part_that_promises_more_than_it_has_is_an_error_of_what_is_missing() {
        let value = |len| Each::Value {
            ran_ns: 1,
            len,
            failed: false,
        };
        let part = Part {
            first: usize::MAX - 1,
            each: vec![value(1), value(usize::MAX), value(1)],
            values: Payload::from(vec![7, 8]),
        };
        assert_eq!(part.end(), usize::MAX);
        let results: Vec<_> = part.results().map(|single| single.result.ok()).collect();
        assert_eq!(results, [Some(&[7][..]), None, None]);
    }
}
