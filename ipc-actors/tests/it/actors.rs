//! The actors that the tests spawn.

use std::collections::BTreeMap;

use ipc_actors::{
    Access, Actor, ActorId, Commands, Context, ExitReason, Failure, Handler, Message, Proxy,
    Reference, Spec,
};
use serde::{Deserialize, Serialize};

/// Counts, and does what it is told to go wrong.
pub(crate) struct Counter {
    count: u64,
    hoard: Vec<u8>,
}

/// How a counter is made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) from: u64,
    pub(crate) fail: Option<String>,
    pub(crate) panic: bool,
    pub(crate) hang: bool,
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

/// Has the actor call another one by its proxy, and answer the process ids of both.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call(pub(crate) Proxy<Counter>);

impl Message for Call {
    type Reply = Result<(u32, u32), String>;
    const NAME: &'static str = "call";
}

impl Handler<Call> for Counter {
    fn handle(
        &mut self,
        Call(other): Call,
        _: &mut Context<'_, Self>,
    ) -> Result<(u32, u32), String> {
        other.send(Add(1)).map_err(|error| error.to_string())?;
        let pid = other.ask(Pid).wait().map_err(|error| error.to_string())?;
        Ok((std::process::id(), pid))
    }
}

/// Has the actor find another by its name, and answer its proxy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Find(pub(crate) String);

impl Message for Find {
    type Reply = Option<Proxy<Counter>>;
    const NAME: &'static str = "find";
}

impl Handler<Find> for Counter {
    fn handle(&mut self, Find(name): Find, ctx: &mut Context<'_, Self>) -> Option<Proxy<Counter>> {
        ctx.get_actor(&name).wait().ok().flatten()
    }
}

/// Has the actor spawn another of its kind, in a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hire(pub(crate) Start);

impl Message for Hire {
    type Reply = Result<Proxy<Counter>, String>;
    const NAME: &'static str = "hire";
}

impl Handler<Hire> for Counter {
    fn handle(
        &mut self,
        Hire(start): Hire,
        ctx: &mut Context<'_, Self>,
    ) -> Result<Proxy<Counter>, String> {
        let spec = Spec::<Counter>::new(start).process();
        ctx.spawn(spec).wait().map_err(|error| error.to_string())
    }
}

/// Has the actor count by alarms: one after so many milliseconds, and one again and again until it has
/// counted to ten more.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tick(pub(crate) u64);

impl Message for Tick {
    type Reply = ();
    const NAME: &'static str = "tick";
}

impl Handler<Tick> for Counter {
    fn handle(&mut self, Tick(ms): Tick, ctx: &mut Context<'_, Self>) {
        let after = std::time::Duration::from_millis(ms);
        ctx.alarm(after, |counter, _| counter.count += 100);
        let cancelled = ctx.alarm(after, |counter, _| counter.count += 1000);
        assert!(ctx.cancel(cancelled) && !ctx.cancel(cancelled));
        let mut left = 10;
        ctx.every(after, move |counter, _| {
            counter.count += 1;
            left -= 1;
            left > 0
        });
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
    /// Holds on to this many bytes more.
    Hoard(usize),
}

/// Has the actor start processes as long as there are numbers for them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bomb;

impl Message for Bomb {
    type Reply = ();
    const NAME: &'static str = "bomb";
}

impl Handler<Bomb> for Counter {
    fn handle(&mut self, _: Bomb, _: &mut Context<'_, Self>) {
        loop {
            drop(std::process::Command::new("sleep").arg("600").spawn());
        }
    }
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
        commands
            .on::<Bomb>()
            .on::<Call>()
            .on::<Find>()
            .on::<Hire>()
            .on::<Tick>();
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
        Ok(Self {
            count: start.from,
            hoard: Vec::new(),
        })
    }

    fn link_ended(&mut self, _: ActorId, _: &ExitReason, _: &mut Context<'_, Self>) {
        self.count += 7;
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
            // Written to, or it would not be resident.
            Harm::Hoard(bytes) => self.hoard.extend(std::iter::repeat_n(1, bytes)),
        }
    }
}
