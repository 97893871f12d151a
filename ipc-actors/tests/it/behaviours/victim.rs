//! An actor that comes to grief in every way that a process can.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipc_actors::{Actor, Commands, Context, Failure, Handler, Message};
use serde::{Deserialize, Serialize};

/// Holds what it was told to take.
pub(crate) struct Victim {
    hoard: Vec<u8>,
    files: Vec<File>,
    ticks: u64,
    tally: u64,
}

/// What it does to itself; it answers what it has to tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Deed {
    Pid,
    /// Writes this to standard error.
    Say(String),
    /// Raises this signal, again and again: the standard library has a handler for some.
    Raise(String),
    Abort,
    Overflow,
    Exit(i32),
    Panic,
    /// Panics where that cannot be caught, as everywhere in a program built with `panic=abort`.
    PanicForGood,
    /// Holds on to so many bytes more.
    Hoard(usize),
    /// Computes for so many milliseconds.
    Burn(u64),
    /// Computes and says that it makes progress, for so many milliseconds.
    Progress(u64),
    Loop,
    /// Waits for bytes that never come.
    Read,
    /// Waits for a lock that it has.
    Deadlock,
    /// Opens files until it cannot; answers how many.
    Open,
    /// The numbers of its descriptors and what they are.
    Descriptors,
    /// Starts processes that sleep, at most so many; answers their ids.
    Fork(u32),
    /// Who it is, and what it was given: lines of the kernel's about its user and groups, and the names of the
    /// variables in its environment as it was started.
    Who,
    /// Answers how long this is.
    Take(Vec<u8>),
    /// Writes anything anywhere into the rings that it shares, by this seed, for so many milliseconds.
    Scribble(u64, u64),
    /// Starts a process that sleeps and is in another process group.
    Daemon,
    /// Adds one and answers how many it has.
    Tally,
    /// Counts from now on, a hundred times a second; answers how far it is.
    Count,
}

impl Message for Deed {
    type Reply = Result<String, String>;
    const NAME: &'static str = "deed";
}

impl Actor for Victim {
    type Params = ();
    const NAME: &'static str = "victim";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Deed>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self {
            hoard: Vec::new(),
            files: Vec::new(),
            ticks: 0,
            tally: 0,
        })
    }
}

impl Handler<Deed> for Victim {
    fn handle(&mut self, deed: Deed, ctx: &mut Context<'_, Self>) -> Result<String, String> {
        let told = |text: std::io::Result<String>| text.map_err(|error| error.to_string());
        match deed {
            Deed::Pid => Ok(std::process::id().to_string()),
            Deed::Say(text) => {
                let said = std::io::stderr().write_all(text.as_bytes());
                told(said.map(|()| String::new()))
            }
            Deed::Raise(signal) => loop {
                let id = std::process::id().to_string();
                drop(Command::new("kill").args([&signal, &id]).status());
            },
            Deed::Abort => std::process::abort(),
            Deed::Overflow => Ok(overflow(1).to_string()),
            Deed::Exit(status) => std::process::exit(status),
            Deed::Panic => panic!("told to panic"),
            Deed::PanicForGood => {
                panics_for_good();
                Ok(String::new())
            }
            Deed::Hoard(bytes) => {
                // Written to, or it would not be resident.
                self.hoard.extend(std::iter::repeat_n(1, bytes));
                Ok(self.hoard.len().to_string())
            }
            Deed::Burn(ms) => {
                burn(ms);
                Ok(String::new())
            }
            Deed::Progress(ms) => {
                let until = Instant::now() + Duration::from_millis(ms);
                while Instant::now() < until {
                    burn(5);
                    ctx.progress();
                }
                Ok(String::new())
            }
            Deed::Loop => loop {
                std::hint::spin_loop();
            },
            Deed::Read => {
                let (mut reader, _writer) = std::io::pipe().map_err(|error| error.to_string())?;
                let mut text = String::new();
                told(std::io::Read::read_to_string(&mut reader, &mut text).map(|_| text))
            }
            Deed::Deadlock => {
                let lock = std::sync::Mutex::new(());
                let (_first, _second) = (lock.lock(), lock.lock());
                Ok(String::new())
            }
            Deed::Open => Ok(self.open_all().to_string()),
            Deed::Descriptors => told(ipc_core::descriptors().map(|found| {
                let found = found.into_iter();
                let named = found.map(|one| (one.number, one.target.unwrap_or_default()));
                named
                    .map(|(number, target)| format!("{number} {}\n", target.display()))
                    .collect()
            })),
            Deed::Fork(count) => {
                let started = (0..count).map_while(|_| sleeper(None).ok());
                Ok(started.collect::<Vec<_>>().join(" "))
            }
            Deed::Who => told(who()),
            Deed::Take(bytes) => Ok(bytes.len().to_string()),
            Deed::Scribble(seed, ms) => told(scribble(seed, ms).map(|()| String::new())),
            Deed::Daemon => told(sleeper(Some(0))),
            Deed::Tally => {
                self.tally += 1;
                Ok(self.tally.to_string())
            }
            Deed::Count => Ok(self.count(ctx).to_string()),
        }
    }
}

impl Victim {
    /// Counts from now on; answers how far it is.
    fn count(&mut self, ctx: &mut Context<'_, Self>) -> u64 {
        if self.ticks == 0 {
            ctx.every(Duration::from_millis(10), |victim, _| {
                victim.ticks += 1;
                true
            });
        }
        self.ticks
    }

    /// Opens files until it cannot, and closes them; answers how many.
    fn open_all(&mut self) -> usize {
        while let Ok(file) = File::open("/dev/null") {
            self.files.push(file);
        }
        self.files.drain(..).count()
    }
}

/// Through a file, as by another program: nothing here refers to that memory.
fn scribble(mut seed: u64, ms: u64) -> std::io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let rings = maps.lines().filter(|line| line.contains("ipc-ring"));
    let bounds = rings.filter_map(|line| line.split_whitespace().next()?.split_once('-'));
    let rings: Vec<_> = bounds
        .filter_map(|(from, to)| {
            let number = |text| u64::from_str_radix(text, 16).ok();
            Some((number(from)?, number(to)?))
        })
        .collect();
    let memory = File::options().write(true).open("/proc/self/mem")?;
    let until = Instant::now() + Duration::from_millis(ms);
    while !rings.is_empty() && Instant::now() < until {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let (from, to) = rings[(seed >> 40) as usize % rings.len()];
        // Mostly the words at its beginning, now and then what it carries.
        let len = if seed & 14 == 0 { to - from } else { 704 };
        let at = from + (seed >> 8) % len;
        memory.write_all_at(&(seed >> (seed & 31)).to_ne_bytes(), at & !7)?;
    }
    Ok(())
}

fn who() -> std::io::Result<String> {
    // Of this thread: the others of a test have no part in it.
    let status = std::fs::read_to_string("/proc/thread-self/status")?;
    let begins = ["Uid:", "Gid:", "Groups:", "NoNewPrivs:"];
    let lines = status
        .lines()
        .filter(|line| begins.iter().any(|begin| line.starts_with(begin)));
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut lines: Vec<_> = lines.collect();
    lines.extend(std::env::vars().map(|(name, _)| format!("${name}")));
    Ok(lines.join("\n"))
}

fn burn(ms: u64) {
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until {
        black_box(ms);
    }
}

/// Starts a process that sleeps until it is ended; nobody waits for it.
fn sleeper(group: Option<i32>) -> std::io::Result<String> {
    let mut command = Command::new("sleep");
    command.arg("60").stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(group) = group {
        std::os::unix::process::CommandExt::process_group(&mut command, group);
    }
    command.spawn().map(|child| child.id().to_string())
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn overflow(depth: u64) -> u64 {
    let page = black_box([depth; 512]);
    overflow(depth + 1) + page[(depth % 512) as usize]
}

extern "C" fn panics_for_good() {
    panic!("told to panic for good");
}
