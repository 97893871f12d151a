//! What tests of programs with actors need: trouble on order, and a look at what is left behind.

mod chaos;
mod leaks;

pub use chaos::{Chaos, Trouble};
pub use leaks::{LeakGuard, Leaks};
