//! Signals that end the command, for those parts of it that have no selector of their own.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crossbeam_channel::{Receiver, bounded};
use ipc_dispatch::{Context, Selector};

use crate::run::SIGNALLED;

/// HUP, INT and TERM, by the numbers that they have on every Unix.
pub(crate) const SIGNALS: [i32; 3] = [1, 2, 15];

/// How long the command has to end by itself after a signal. It may be stuck in writing what nobody
/// reads.
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens for signals: their numbers come to the receiver. The process ends with the status that
/// tells of the signal if it has not ended soon after.
///
/// # Errors
///
/// What the system says.
pub(crate) fn listen() -> Result<Receiver<i32>> {
    let (sender, signals) = bounded(SIGNALS.len());
    let (told, ready) = bounded(1);
    let work = move || -> Result<()> {
        let mut selector = Selector::new()?;
        selector.set_persistent(true);
        for signal in SIGNALS {
            let sender = sender.clone();
            selector.on_signal(signal, move |ctx: &mut Context<'_, ()>| {
                // One that finds no room is one of many.
                let _ = sender.try_send(signal);
                ctx.alarm(PATIENCE, move |_| -> () {
                    process::exit(SIGNALLED + signal)
                });
            })?;
        }
        // Whoever asked waits for this.
        let _ = told.send(());
        selector.run(&mut ())?;
        Ok(())
    };
    let thread = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(work)
        .context("cannot start a thread")?;
    if ready.recv().is_err() {
        thread
            .join()
            .expect("listening does not panic")
            .context("cannot listen for signals")?;
    }
    Ok(signals)
}
