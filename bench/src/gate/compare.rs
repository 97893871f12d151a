//! What has become worse.

use std::fmt;

use super::{Baseline, Counts, TIMES};

/// Worse by more than this many in a hundred fails.
const WORSE_PERCENT_MAX: f64 = 3.0;

/// How many places are named per hot path.
const PLACES_MAX: usize = 3;

/// One hot path, then and now.
#[derive(Clone, Debug)]
pub struct Change {
    /// Crate and operation.
    pub name: String,
    /// In the baseline; `None` for a new one.
    pub then: Option<Counts>,
    /// Measured; `None` for one that is gone.
    pub now: Option<Counts>,
}

impl Change {
    /// How much worse, in a hundred; negative is better.
    pub fn percent(&self) -> Option<f64> {
        let (then, now) = (self.then.as_ref()?, self.now.as_ref()?);
        Some(100.0 * (now.total as f64 / then.total as f64 - 1.0))
    }

    /// Whether this fails the gate.
    pub fn fails(&self) -> bool {
        self.percent()
            .is_none_or(|percent| percent > WORSE_PERCENT_MAX)
    }

    fn is_better(&self) -> bool {
        self.percent()
            .is_some_and(|percent| percent < -WORSE_PERCENT_MAX)
    }

    /// The places that grew most, with instructions per operation.
    fn grown(&self) -> Vec<(&str, f64)> {
        let (Some(then), Some(now)) = (&self.then, &self.now) else {
            return Vec::new();
        };
        let mut grown: Vec<(&str, f64)> = now
            .places
            .iter()
            .map(|(place, count)| {
                let before = then.places.get(place).copied().unwrap_or(0);
                (place.as_str(), per_operation(*count) - per_operation(before))
            })
            // What the baseline left out as too little would look as if it had grown.
            .filter(|(_, more)| *more > per_operation(then.total) / 100.0)
            .collect();
        grown.sort_by(|left, right| right.1.total_cmp(&left.1));
        grown.truncate(PLACES_MAX);
        grown
    }
}

fn per_operation(total: u64) -> f64 {
    total as f64 / TIMES as f64
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (&self.then, &self.now) {
            (Some(then), Some(now)) => {
                let word = if self.fails() {
                    "WORSE"
                } else if self.is_better() {
                    "better"
                } else {
                    "same"
                };
                write!(
                    f,
                    "{word:<6} {name:<34} {:>10.1} -> {:>10.1}  {:>+7.2} %",
                    per_operation(then.total),
                    per_operation(now.total),
                    self.percent().unwrap_or(0.0),
                )?;
                if self.fails() {
                    for (place, more) in self.grown() {
                        write!(f, "\n       {more:>+11.1} in {place}")?;
                    }
                }
                Ok(())
            }
            (None, Some(now)) => {
                let now = per_operation(now.total);
                write!(f, "NEW    {name:<34} {:>10} -> {now:>10.1}", "none")
            }
            (_, None) => write!(
                f,
                "GONE   {name:<34} is in the baseline and was not measured"
            ),
        }
    }
}

/// Every hot path, then and now.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// By name.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Compares what was measured with the baseline.
    pub fn new(then: &Baseline, now: &Baseline) -> Self {
        let mut names: Vec<&String> = then.paths.keys().chain(now.paths.keys()).collect();
        names.sort();
        names.dedup();
        let changes = names
            .into_iter()
            .map(|name| Change {
                name: name.clone(),
                then: then.paths.get(name).cloned(),
                now: now.paths.get(name).cloned(),
            })
            .collect();
        Self { changes }
    }

    /// The hot paths that fail the gate.
    pub fn failed(&self) -> Vec<&str> {
        let failed = self.changes.iter().filter(|change| change.fails());
        failed.map(|change| change.name.as_str()).collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "instructions per operation, baseline -> now:")?;
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        Ok(())
    }
}
