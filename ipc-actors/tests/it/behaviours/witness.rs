//! An actor that writes down what its hooks see, and fails by plan.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use ipc_actors::{Actor, Chaos, Commands, Context, ExitReason, Failure, Handler, Message, Spec};
use serde::{Deserialize, Serialize};

/// What a hook does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Does {
    #[default]
    Nothing,
    Exit(i32),
    Fail,
    Panic,
    Hang,
}

/// What a witness is made from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Where all with this plan write, a line for each thing they see.
    pub(crate) journal: PathBuf,
    /// What the `init` of the first lives does, and that of all after them.
    pub(crate) inits: Vec<Does>,
    pub(crate) then: Does,
    /// What `stop` does.
    pub(crate) stop: Does,
    /// What goes wrong with its jobs.
    pub(crate) chaos: Chaos,
}

/// A line of the journal: when, who, and what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: Duration,
    pub(crate) pid: u32,
    pub(crate) what: String,
}

impl Plan {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            journal: folder.join("journal"),
            ..Self::default()
        }
    }

    pub(crate) fn spec(&self, name: &str) -> Spec<Witness> {
        Spec::new(self.clone()).process().name(name)
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(&self.journal).unwrap_or_default();
        let line = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
            let (at, pid) = (number().expect("a time"), number().expect("a number"));
            Line {
                at: Duration::from_nanos(at),
                pid: u32::try_from(pid).expect("a process id"),
                what: parts.next().unwrap_or_default().to_owned(),
            }
        };
        text.lines().map(line).collect()
    }

    /// What was seen, without who and when, of the lines that begin with one of these.
    pub(crate) fn seen(&self, begins: &[&str]) -> Vec<String> {
        let lines = self.lines().into_iter().map(|line| line.what);
        lines
            .filter(|what| begins.iter().any(|begin| what.starts_with(begin)))
            .collect()
    }

    fn note(&self, what: &str) {
        let journal = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.journal);
        // A test that is over has taken its folder along.
        let Ok(mut file) = journal else { return };
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after the epoch");
        let line = format!("{} {} {what}\n", now.as_nanos(), std::process::id());
        file.write_all(line.as_bytes()).expect("a line");
    }
}

pub(crate) struct Witness {
    plan: Plan,
    name: String,
}

/// Ends the process with this status.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fall(pub(crate) i32);

/// Works for so many milliseconds and then writes the number down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job(pub(crate) u64, pub(crate) u64);

impl Message for Fall {
    type Reply = ();
    const NAME: &'static str = "fall";
}

impl Message for Job {
    type Reply = (u64, u32);
    const NAME: &'static str = "job";
}

fn act(does: Does) -> Result<(), Failure> {
    match does {
        Does::Nothing => Ok(()),
        Does::Exit(status) => std::process::exit(status),
        Does::Fail => Err("as planned".into()),
        Does::Panic => panic!("as planned"),
        Does::Hang => loop {
            thread::park();
        },
    }
}

impl Actor for Witness {
    type Params = Plan;
    const NAME: &'static str = "witness";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Fall>().on::<Job>();
    }

    fn init(plan: Plan, ctx: &mut Context<'_, Self>) -> Result<Self, Failure> {
        plan.note(&format!("init {}", ctx.name()));
        let mut lines = plan.lines();
        lines.retain(|line| line.what.starts_with("init "));
        let own = lines.iter().position(|line| line.pid == std::process::id());
        let life = own.expect("it is written");
        act(plan.inits.get(life).copied().unwrap_or(plan.then))?;
        let name = ctx.name().to_owned();
        Ok(Self { plan, name })
    }

    fn start(&mut self, _: &mut Context<'_, Self>) -> Result<(), Failure> {
        self.plan.note(&format!("+{}", self.name));
        Ok(())
    }

    fn stop(&mut self, _: &ExitReason, _: &mut Context<'_, Self>) {
        self.plan.note(&format!("-{}", self.name));
        act(self.plan.stop).expect("a stop cannot say that it fails");
    }

    fn exit(self) {
        self.plan.note(&format!("exit {}", self.name));
    }
}

impl Handler<Fall> for Witness {
    fn handle(&mut self, Fall(status): Fall, _: &mut Context<'_, Self>) {
        std::process::exit(status);
    }
}

impl Handler<Job> for Witness {
    fn handle(&mut self, Job(number, ms): Job, _: &mut Context<'_, Self>) -> (u64, u32) {
        self.plan.chaos.message();
        let end = std::time::Instant::now() + Duration::from_millis(ms);
        while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
            thread::park_timeout(left);
        }
        self.plan.note(&format!("job {number}"));
        (number, std::process::id())
    }
}
