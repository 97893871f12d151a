//! The actors of the scenarios.

use std::path::PathBuf;
use std::process;
use std::time::Duration;

use ipc_actors::{Access, Actor, Commands, Context, ExitReason, Failure, Handler, Message};
use serde::{Deserialize, Serialize};

use crate::tasks::{die, note, pause};

/// Works on what it is asked, in a process of its own.
pub(crate) struct Clerk {
    done: u64,
}

/// Does what its parameters say at each step of its life.
pub(crate) struct Fragile {
    habits: Habits,
}

/// Where an actor is struck down, and where it takes its time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Habits {
    /// Notes its process id here in the step that it is at.
    pub(crate) trace: Option<PathBuf>,
    /// The step that it never ends: `init`, `start`, `stop` or `exit`.
    pub(crate) hangs_in: String,
    /// The step that it dies in, while there is a token to be had.
    pub(crate) dies_in: String,
    pub(crate) token: Option<PathBuf>,
}

impl Habits {
    fn reach(&self, step: &str) {
        if self.dies_in == step
            && let Some(token) = &self.token
            && std::fs::remove_file(token).is_ok()
        {
            die();
        }
        if self.hangs_in == step {
            if let Some(trace) = &self.trace {
                note(trace, process::id().into());
            }
            pause(Duration::MAX);
        }
    }
}

/// Take so many microseconds over it, and answer who did it and what was asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Do {
    pub(crate) number: u64,
    pub(crate) us: u64,
    pub(crate) trace: Option<PathBuf>,
}

impl Message for Do {
    type Reply = (u32, u64);
    const NAME: &'static str = "do";
}

/// Be struck down while at it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fall;

impl Message for Fall {
    type Reply = ();
    const NAME: &'static str = "fall";
}

/// Takes so many bytes of memory; answers whether it got them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hoard(pub(crate) usize);

impl Message for Hoard {
    type Reply = bool;
    const NAME: &'static str = "hoard";
}

impl Actor for Clerk {
    type Params = ();
    const NAME: &'static str = "clerk";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Fall>().on::<Hoard>();
        commands.on_access::<Do>(Access::Authenticated);
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self { done: 0 })
    }
}

impl Handler<Do> for Clerk {
    fn handle(&mut self, order: Do, _: &mut Context<'_, Self>) -> (u32, u64) {
        if let Some(trace) = &order.trace {
            note(trace, order.number);
        }
        if order.us > 0 {
            pause(Duration::from_micros(order.us));
        }
        self.done += 1;
        (process::id(), order.number)
    }
}

impl Handler<Fall> for Clerk {
    fn handle(&mut self, _: Fall, _: &mut Context<'_, Self>) {
        die()
    }
}

impl Handler<Hoard> for Clerk {
    fn handle(&mut self, Hoard(bytes): Hoard, _: &mut Context<'_, Self>) -> bool {
        crate::tasks::hoard(bytes)
    }
}

impl Actor for Fragile {
    type Params = Habits;
    const NAME: &'static str = "fragile";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Do>();
    }

    fn init(habits: Habits, _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        habits.reach("init");
        Ok(Self { habits })
    }

    fn start(&mut self, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.habits.reach("start");
        Ok(())
    }

    fn stop(&mut self, _: &ExitReason, _: &mut Context<'_, Self>) {
        self.habits.reach("stop");
    }

    fn exit(self) {
        self.habits.reach("exit");
    }
}

impl Handler<Do> for Fragile {
    fn handle(&mut self, order: Do, _: &mut Context<'_, Self>) -> (u32, u64) {
        (process::id(), order.number)
    }
}
