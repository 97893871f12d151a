//! What signals mean to a program that is an arbiter: gunicorn's meanings.

use std::io;

use ipc_dispatch::Context;

use super::root::ArbiterLoop;
use super::tree::Tree;

const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
/// Ten on Linux, thirty on the BSDs and macOS.
const USR1: i32 = if cfg!(target_os = "linux") { 10 } else { 30 };
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
    /// | WINCH | retire all workers and keep the arbiter; HUP does not bring them back, TTIN does |
    /// | USR1 | what [`on_reopen`](ArbiterLoop::on_reopen) says |
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
        self.on(HUP, Tree::reload_all)?;
        self.on(TTIN, |ctx| Tree::resize_all(ctx, 1))?;
        self.on(TTOU, |ctx| Tree::resize_all(ctx, -1))?;
        self.on(WINCH, |ctx| Tree::resize_all(ctx, isize::MIN))
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
