//! How far it is, on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar that has no end yet shows that it lives.
const TICK: Duration = Duration::from_millis(200);

/// A bar on standard error where that is a terminal; else it draws nothing.
pub(super) fn bar(total: Option<u64>) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    if bar.is_hidden() {
        return bar;
    }
    bar.enable_steady_tick(TICK);
    match total {
        Some(total) => know(&bar, total),
        None => set_style(&bar, "{spinner} {pos} done, {per_sec}, {elapsed}"),
    }
    bar
}

/// From now on it is known how many inputs there are.
pub(super) fn know(bar: &ProgressBar, total: u64) {
    bar.set_length(total);
    set_style(bar, "{bar:30} {pos}/{len}, {per_sec}, {eta} left");
}

fn set_style(bar: &ProgressBar, template: &str) {
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.expect("the template is well formed"));
}
