//! The lines of a run.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One line: a figure of one peer in one case, the median over the rounds of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Who was measured; a suffix `@1cpu` or `@2cpu` says where its processes were pinned.
    pub peer: String,
    /// What it did.
    pub case: String,
    /// Bytes of a message, or how many there were of what the case counts.
    pub size: u64,
    /// What was measured, its unit last.
    pub metric: String,
    /// The median over the rounds.
    pub value: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many rounds there were.
    pub rounds: u32,
}

impl Measurement {
    /// Whether more of it is better.
    pub fn is_rate(&self) -> bool {
        self.metric.ends_with("_per_s")
    }

    /// How many times worse this is than `other`, by their medians: below one is better.
    pub fn times_worse_than(&self, other: &Self) -> f64 {
        if self.is_rate() {
            other.value / self.value
        } else {
            self.value / other.value
        }
    }

    /// Where the processes were pinned, or nothing.
    pub fn pinning(&self) -> &str {
        self.peer.split_once('@').map_or("", |(_, pinning)| pinning)
    }

    /// Who was measured, without where.
    pub fn base(&self) -> &str {
        self.peer.split('@').next().unwrap_or(&self.peer)
    }
}

/// The figures of one run, in its order.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Every figure.
    pub measurements: Vec<Measurement>,
}

/// A line that is not a measurement.
#[derive(Debug, Error)]
#[error("line {number} is not a measurement")]
pub struct ParseError {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

impl Run {
    /// Reads JSON lines; empty ones are passed over.
    ///
    /// # Errors
    ///
    /// The first line that is not a measurement.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut measurements = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let measurement = serde_json::from_str(line).map_err(|source| ParseError {
                number: index + 1,
                source,
            })?;
            measurements.push(measurement);
        }
        Ok(Self { measurements })
    }

    /// The cases, each with its sizes, in the order of the run.
    pub fn cases(&self) -> Vec<(&str, Vec<u64>)> {
        let mut cases: Vec<(&str, Vec<u64>)> = Vec::new();
        for Measurement { case, size, .. } in &self.measurements {
            match cases.iter_mut().find(|(name, _)| name == case) {
                Some((_, sizes)) if sizes.contains(size) => {}
                Some((_, sizes)) => sizes.push(*size),
                None => cases.push((case, vec![*size])),
            }
        }
        for (_, sizes) in &mut cases {
            sizes.sort_unstable();
        }
        cases
    }

    /// The figures of one case and size.
    pub fn of<'a>(&'a self, case: &'a str, size: u64) -> impl Iterator<Item = &'a Measurement> {
        self.measurements
            .iter()
            .filter(move |one| one.case == case && one.size == size)
    }

    /// The metrics of one case and size, in the order of the run.
    pub fn metrics<'a>(&'a self, case: &'a str, size: u64) -> Vec<&'a str> {
        let mut metrics = Vec::new();
        for one in self.of(case, size) {
            if !metrics.contains(&one.metric.as_str()) {
                metrics.push(&one.metric);
            }
        }
        metrics
    }
}
