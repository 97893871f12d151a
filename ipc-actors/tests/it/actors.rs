//! The actors that the tests spawn.

use std::collections::BTreeMap;

use ipc_actors::{
    Access, Actor, Commands, Context, ExitReason, Failure, Handler, Message, Reference,
};
use serde::{Deserialize, Serialize};

/// Counts, and does what it is told to go wrong.
pub(crate) struct Counter {
    count: u64,
}

/// How a counter is made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) from: u64,
    pub(crate) fail: Option<String>,
    pub(crate) panic: bool,
    pub(crate) hang: bool,
    /// Where to write down which hook ran, if anywhere.
    pub(crate) journal: Option<std::path::PathBuf>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Add(pub(crate) u64);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Read;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pid;

/// Has the actor call another one itself, and answer the process ids of both.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Visit(pub(crate) Reference<Counter>);

impl Message for Visit {
    type Reply = Result<(u32, u32), String>;
    const NAME: &'static str = "visit";
}

impl Handler<Visit> for Counter {
    fn handle(
        &mut self,
        Visit(other): Visit,
        _: &mut Context<'_, Self>,
    ) -> Result<(u32, u32), String> {
        let other = other.connect(None).map_err(|error| error.to_string())?;
        let pid = other.ask(Pid).wait().map_err(|error| error.to_string())?;
        Ok((std::process::id(), pid))
    }
}

/// What the actor does to itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Harm {
    Panic,
    Abort,
    Segfault,
    Exit(i32),
    Stop,
    /// Waits for this many milliseconds.
    Busy(u64),
    Loop,
}

impl Message for Add {
    type Reply = u64;
    const NAME: &'static str = "add";
}

impl Message for Read {
    type Reply = u64;
    const NAME: &'static str = "read";
}

impl Message for Pid {
    type Reply = u32;
    const NAME: &'static str = "pid";
}

impl Message for Harm {
    type Reply = ();
    const NAME: &'static str = "harm";
}

impl Actor for Counter {
    type Params = Start;
    const NAME: &'static str = "counter";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Add>().on::<Pid>().on::<Harm>().on::<Visit>();
        commands.on_access::<Read>(Access::Authenticated);
    }

    fn init(start: Start, _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        assert!(!start.panic, "told to panic");
        if let Some(text) = start.fail {
            return Err(text.into());
        }
        if start.hang {
            loop {
                std::thread::park();
            }
        }
        Ok(Self { count: start.from })
    }

    fn info(&self, info: &mut BTreeMap<String, String>) {
        info.insert("count".to_owned(), self.count.to_string());
    }
}

impl Handler<Add> for Counter {
    fn handle(&mut self, Add(by): Add, _: &mut Context<'_, Self>) -> u64 {
        self.count += by;
        self.count
    }
}

impl Handler<Read> for Counter {
    fn handle(&mut self, _: Read, _: &mut Context<'_, Self>) -> u64 {
        self.count
    }
}

impl Handler<Pid> for Counter {
    fn handle(&mut self, _: Pid, _: &mut Context<'_, Self>) -> u32 {
        std::process::id()
    }
}

impl Handler<Harm> for Counter {
    fn handle(&mut self, harm: Harm, ctx: &mut Context<'_, Self>) {
        match harm {
            Harm::Panic => panic!("told to panic"),
            Harm::Abort => std::process::abort(),
            Harm::Segfault => loop {
                // The first only takes the standard library's handler away.
                let pid = std::process::id().to_string();
                let killed = std::process::Command::new("kill")
                    .args(["-SEGV", &pid])
                    .status();
                drop(killed);
            },
            Harm::Exit(status) => std::process::exit(status),
            Harm::Stop => ctx.stop(ExitReason::Normal),
            Harm::Busy(ms) => {
                let end = std::time::Instant::now() + std::time::Duration::from_millis(ms);
                // Something else may have left word for this thread, which ends a wait early.
                while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
                    std::thread::park_timeout(left);
                }
            }
            Harm::Loop => loop {
                std::hint::spin_loop();
            },
        }
    }
}
