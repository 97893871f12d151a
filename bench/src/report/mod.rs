//! The report: tables and plots of one run of the comparison with the peers.

mod machine;
mod markdown;
mod measurement;
mod plots;
mod ranking;

pub use machine::Machine;
pub use markdown::markdown;
pub use measurement::{Measurement, ParseError, Run};
pub use plots::{PlotError, Plots, draw};
pub use ranking::{Class, Ratio, ratios};
