//! What signals mean to a program that is an arbiter: gunicorn's meanings.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::time::Duration;

use ipc_dispatch::{Context, Next};

use super::root::ArbiterLoop;
use super::tree::Tree;

const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
/// Ten on Linux, thirty on the BSDs and macOS.
const USR1: i32 = if cfg!(target_os = "linux") { 10 } else { 30 };
/// Twelve on Linux, thirty-one on the BSDs and macOS.
const USR2: i32 = if cfg!(target_os = "linux") { 12 } else { 31 };
const TERM: i32 = 15;
const TTIN: i32 = 21;
const TTOU: i32 = 22;
const WINCH: i32 = 28;

impl ArbiterLoop {
    /// Gives signals to this process their meaning, until the process ends:
    ///
    /// | signal | meaning |
    /// |---|---|
    /// | TERM | stop as the policies say; the exit status is 0. A second one kills what is left |
    /// | INT, QUIT | kill what is left at once; the exit status is 128 and the signal's number |
    /// | HUP | replace the workers of all pools, new ones first |
    /// | TTIN, TTOU | one worker more, one fewer, in every pool |
    /// | WINCH | retire all workers and keep the arbiter; HUP does not bring them back, TTIN does. Ignored while a standard stream is a terminal, whose window it is then about |
    /// | USR1 | what [`on_reopen`](ArbiterLoop::on_reopen) says |
    /// | USR2 | an [`Application`](crate::Application) starts its program anew beside itself; ignored by others |
    ///
    /// Processes of actors are in groups of their own and get none of the terminal's signals. A
    /// signal sent to one of them ends it, and its supervisor acts.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn handle_signals(&mut self) -> io::Result<()> {
        self.on(TERM, |ctx| Tree::stop(ctx, 0))?;
        for signal in [INT, QUIT] {
            self.on(signal, move |ctx| Tree::quit(ctx, 128 + signal))?;
        }
        self.on(HUP, Tree::hang_up)?;
        self.on(TTIN, |ctx| Tree::resize_all(ctx, 1))?;
        self.on(TTOU, |ctx| Tree::resize_all(ctx, -1))?;
        self.on(WINCH, |ctx| {
            let terminal = io::stdin().is_terminal()
                || io::stdout().is_terminal()
                || io::stderr().is_terminal();
            if !terminal {
                Tree::resize_all(ctx, isize::MIN);
            }
        })
    }

    /// Runs `hook` on the loop when HUP comes, before workers are replaced: if it says so.
    pub(crate) fn on_reload(&mut self, hook: impl FnMut() -> bool + 'static) {
        self.tree.on_hup = Some(Box::new(hook));
    }

    /// Runs `hook` on the loop when a setting was changed.
    pub(crate) fn on_configured(&mut self, hook: impl FnMut() + 'static) {
        self.tree.on_configured = Some(Box::new(hook));
    }

    /// Runs `hook` on the loop when HUP has come and all pools have been replaced.
    pub(crate) fn on_settled_after_reload(
        &mut self,
        hook: impl Fn() + Clone + 'static,
    ) -> io::Result<()> {
        self.on(HUP, move |ctx| {
            let hook = hook.clone();
            Tree::when_settled(ctx, hook);
        })
    }

    /// Runs `begin` on the loop when USR2 comes, and if it says so then `is_over` now and then until
    /// that says so.
    pub(crate) fn on_upgrade(
        &mut self,
        mut begin: impl FnMut() -> bool + 'static,
        is_over: impl FnMut() -> bool + 'static,
    ) -> io::Result<()> {
        let look = Duration::from_millis(100);
        let is_over = Rc::new(RefCell::new(is_over));
        self.on(USR2, move |ctx| {
            let is_over = Rc::clone(&is_over);
            if begin() {
                ctx.alarm(look, move |_| {
                    if is_over.borrow_mut()() {
                        Next::Done
                    } else {
                        Next::After(look)
                    }
                });
            }
        })
    }

    /// Runs `hook` on the loop after each `period`, until it answers that it is over.
    pub(crate) fn every(&mut self, period: Duration, mut hook: impl FnMut() -> bool + 'static) {
        self.selector
            .alarm(period, move |_: &mut Context<'_, Tree>| {
                if hook() {
                    Next::After(period)
                } else {
                    Next::Done
                }
            });
    }

    /// Runs `hook` on the loop when USR1 comes: the place to open log files anew.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn on_reopen(&mut self, mut hook: impl FnMut() + 'static) -> io::Result<()> {
        self.on(USR1, move |_| hook())
    }

    fn on(
        &mut self,
        signal: i32,
        mut handler: impl FnMut(&mut Context<'_, Tree>) + 'static,
    ) -> io::Result<()> {
        self.selector
            .on_signal(signal, move |ctx: &mut Context<'_, Tree>| handler(ctx))
            .map(drop)
    }
}

impl Tree {
    /// Ends everything without waiting.
    fn quit(ctx: &mut Context<'_, Self>, status: i32) {
        // As if it had been asked before.
        ctx.state.status.get_or_insert(status);
        Self::stop(ctx, status);
    }
}
