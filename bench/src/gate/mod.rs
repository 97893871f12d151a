//! The gate: instructions of the hot paths against the committed baseline.
//!
//! `benches/gate.rs` counts, the program `gate` runs it and asks here what has become worse.

mod baseline;
mod compare;
mod counts;
mod measure;
mod toolchain;

pub use baseline::{Baseline, BaselineError};
pub use compare::{Change, Comparison};
pub use counts::Counts;
pub use measure::{MeasureError, measure};
pub use toolchain::Toolchain;

/// How often `benches/gate.rs` does each operation: enough for what happens now and then to show.
pub const TIMES: usize = 200;
