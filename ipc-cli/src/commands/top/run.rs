//! The terminal: taken, drawn on, and given back.

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crossbeam_channel::Receiver;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::args::TopArgs;
use super::screen::Screen;
use super::watch::{Seen, watch};
use crate::commands::actor::{Target, show};
use crate::interrupt;
use crate::run::Outcome;

/// How soon what was seen is drawn.
const LOOK: Duration = Duration::from_millis(100);

/// Shows the tree until a key or a signal ends it.
///
/// # Errors
///
/// When there is no terminal, or it cannot be used; with `--once`, when nobody answers.
pub(crate) fn run(args: &TopArgs) -> Result<Outcome> {
    if args.once {
        return show(&args.target, args.json);
    }
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        bail!("top needs a terminal; with --once it prints one snapshot anywhere");
    }
    let target = Target {
        address: args.target.address.clone(),
        key_file: args.target.key_file.clone(),
    };
    let address = target.address.to_string();
    let interval = Duration::from_secs_f64(args.interval);
    let signals = interrupt::listen()?;
    let (seen, end) = watch(target, interval)?;
    // A panic gives the terminal back, too.
    let terminal = ratatui::try_init().context("cannot use the terminal")?;
    let outcome = show_all(terminal, &seen, &signals, Screen::new(address));
    ratatui::try_restore().context("cannot give the terminal back")?;
    drop(end);
    outcome
}

fn show_all(
    mut terminal: DefaultTerminal,
    seen: &Receiver<Seen>,
    signals: &Receiver<i32>,
    mut screen: Screen,
) -> Result<Outcome> {
    let mut is_stale = true;
    loop {
        while let Ok(seen) = seen.try_recv() {
            screen.update(seen);
            is_stale = true;
        }
        if std::mem::take(&mut is_stale) {
            terminal
                .draw(|frame| screen.draw(frame))
                .context("cannot draw on the terminal")?;
        }
        if let Ok(signal) = signals.try_recv() {
            return Ok(Outcome::Interrupted(signal));
        }
        if !event::poll(LOOK).context("cannot read keys")? {
            continue;
        }
        is_stale = true;
        match event::read().context("cannot read keys")? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match pressed(key) {
                Pressed::End => return Ok(Outcome::Complete),
                Pressed::Scroll(rows) => screen.scroll(rows),
                Pressed::Other => {}
            },
            // Another size, for one.
            _ => {}
        }
    }
}

/// What a key means.
enum Pressed {
    End,
    Scroll(isize),
    Other,
}

fn pressed(key: KeyEvent) -> Pressed {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => Pressed::End,
        KeyCode::Char('q') | KeyCode::Esc => Pressed::End,
        KeyCode::Down | KeyCode::Char('j') => Pressed::Scroll(1),
        KeyCode::Up | KeyCode::Char('k') => Pressed::Scroll(-1),
        KeyCode::PageDown => Pressed::Scroll(10),
        KeyCode::PageUp => Pressed::Scroll(-10),
        _ => Pressed::Other,
    }
}
