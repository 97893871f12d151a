//! Scenarios and how they are named.

use crate::chance::Chance;

/// A scenario by its name.
pub(crate) type Scenario = (&'static str, fn(&mut Chance));

/// Names scenarios by their functions.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        pub(crate) const SCENARIOS: &[$crate::scenario::Scenario] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
pub(crate) use scenarios;

/// Says why a scenario is not played here.
#[expect(clippy::print_stdout, reason = "whoever runs it should know")]
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
}
