//! Messages between two processes that do not pass through the arbiter.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ipc_actors::{
    Access, Actor, Arbiter, AskError, Commands, Context, Failure, Handler, Message, Placement,
    Proxy, SendError, Spec,
};
use serde::{Deserialize, Serialize};

use crate::support::{LIMIT, eventually, is_alive, signal, spawn, with_arbiter};

/// Notes numbers, and has others note some.
#[derive(Default)]
pub(crate) struct Clerk {
    noted: Vec<u64>,
    direct: Option<Proxy<Clerk>>,
}

macro_rules! message {
    ($name:ident $(($($field:ty),*))?, $text:literal, $reply:ty) => {
        #[derive(Debug, Serialize, Deserialize)]
        struct $name $(($($field),*))?;

        impl Message for $name {
            type Reply = $reply;
            const NAME: &'static str = $text;
        }
    };
}

type Told<T> = Result<T, String>;

message!(Note(u64), "note", u64);
message!(Noted, "noted", Vec<u64>);
message!(Open(Option<Proxy<Clerk>>), "open", Told<()>);
message!(Dictate(u64), "dictate", Told<()>);
message!(DictateInto(u64, PathBuf), "dictate_into", Told<()>);
message!(Lose(u64), "lose", Told<Vec<AskError>>);
message!(Tell(u64), "tell", Told<()>);
message!(Losses, "losses", u64);
message!(Hang, "hang", ());
message!(Await(PathBuf), "await", bool);
message!(Hidden, "hidden", ());
message!(Reach(Option<Proxy<Clerk>>), "reach", Result<(), AskError>);
message!(Pid, "pid", u32);
message!(Open0, "descriptors", u64);

impl Actor for Clerk {
    type Params = ();
    const NAME: &'static str = "clerk";

    fn commands(commands: &mut Commands<Self>) {
        commands.on::<Note>().on::<Noted>().on::<Open>();
        commands.on::<Dictate>().on::<DictateInto>().on::<Lose>();
        commands.on::<Tell>().on::<Losses>().on::<Hang>();
        commands
            .on_access::<Hidden>(Access::Supervisor)
            .on::<Reach>();
        commands.on::<Await>().on::<Pid>().on::<Open0>();
    }

    fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        Ok(Self::default())
    }
}

impl Clerk {
    fn other(&self) -> Told<&Proxy<Self>> {
        self.direct
            .as_ref()
            .ok_or_else(|| "there is no other".to_owned())
    }

    /// Has the other note so many numbers, some of them asked, and waits until it has.
    fn dictate(&self, count: u64) -> Told<()> {
        let other = self.other()?;
        for number in 0..count {
            if number % 97 == 0 {
                let answer = other.ask_timeout(Note(number), LIMIT);
                assert_eq!(answer, Ok(number));
            } else {
                other
                    .send(Note(number))
                    .map_err(|error| error.to_string())?;
            }
        }
        // Behind all of them.
        let last = other.ask_timeout(Pid, LIMIT);
        last.map(drop).map_err(|error| error.to_string())
    }
}

impl Handler<Note> for Clerk {
    fn handle(&mut self, Note(number): Note, _: &mut Context<'_, Self>) -> u64 {
        self.noted.push(number);
        number
    }
}

impl Handler<Noted> for Clerk {
    fn handle(&mut self, _: Noted, _: &mut Context<'_, Self>) -> Vec<u64> {
        std::mem::take(&mut self.noted)
    }
}

impl Handler<Open> for Clerk {
    fn handle(&mut self, Open(other): Open, _: &mut Context<'_, Self>) -> Told<()> {
        self.direct = None;
        let Some(other) = other else { return Ok(()) };
        let direct = other.direct().wait().map_err(|error| error.to_string())?;
        assert_eq!(direct, other);
        self.direct = Some(direct);
        Ok(())
    }
}

impl Handler<Dictate> for Clerk {
    fn handle(&mut self, Dictate(count): Dictate, _: &mut Context<'_, Self>) -> Told<()> {
        self.dictate(count)
    }
}

impl Handler<DictateInto> for Clerk {
    fn handle(&mut self, message: DictateInto, _: &mut Context<'_, Self>) -> Told<()> {
        let DictateInto(count, path) = message;
        self.dictate(count)?;
        self.other()?
            .ask_timeout(Noted, LIMIT)
            .map_err(|error| error.to_string())?;
        std::fs::write(path, "done").map_err(|error| error.to_string())
    }
}

/// Asks for notes, for a message without end and for more notes, and tells what became of it.
impl Handler<Lose> for Clerk {
    fn handle(&mut self, Lose(count): Lose, _: &mut Context<'_, Self>) -> Told<Vec<AskError>> {
        let other = self.other()?;
        let before: Vec<_> = (0..count).map(|number| other.ask(Note(number))).collect();
        let hung = other.ask(Hang);
        let after: Vec<_> = (0..count).map(|number| other.ask(Note(number))).collect();
        for answer in before {
            answer.wait().map_err(|error| error.to_string())?;
        }
        let mut errors = vec![hung.wait().err().ok_or("it has ended")?];
        errors.extend(after.into_iter().filter_map(|answer| answer.wait().err()));
        Ok(errors)
    }
}

impl Handler<Tell> for Clerk {
    fn handle(&mut self, Tell(number): Tell, _: &mut Context<'_, Self>) -> Told<()> {
        let told = self.other()?.send(Note(number));
        told.map_err(|error: SendError<Note>| error.to_string())
    }
}

impl Handler<Losses> for Clerk {
    fn handle(&mut self, _: Losses, _: &mut Context<'_, Self>) -> u64 {
        self.direct.as_ref().map_or(0, Proxy::lost)
    }
}

impl Handler<Hang> for Clerk {
    fn handle(&mut self, _: Hang, _: &mut Context<'_, Self>) {
        loop {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Keeps whatever thread it runs on until there is such a file. Answers whether there was, in time.
impl Handler<Await> for Clerk {
    fn handle(&mut self, Await(path): Await, _: &mut Context<'_, Self>) -> bool {
        let until = Instant::now() + LIMIT;
        while !path.exists() && Instant::now() < until {
            thread::park_timeout(Duration::from_millis(1));
        }
        path.exists()
    }
}

impl Handler<Hidden> for Clerk {
    fn handle(&mut self, _: Hidden, _: &mut Context<'_, Self>) {}
}

/// Asks for what it may not, directly or by this way.
impl Handler<Reach> for Clerk {
    fn handle(&mut self, Reach(way): Reach, _: &mut Context<'_, Self>) -> Result<(), AskError> {
        let way = way.as_ref().or(self.direct.as_ref()).expect("a way");
        way.ask_timeout(Hidden, LIMIT)
    }
}

impl Handler<Pid> for Clerk {
    fn handle(&mut self, _: Pid, _: &mut Context<'_, Self>) -> u32 {
        std::process::id()
    }
}

impl Handler<Open0> for Clerk {
    fn handle(&mut self, _: Open0, _: &mut Context<'_, Self>) -> u64 {
        ipc_core::descriptors().map_or(0, |found| found.len() as u64)
    }
}

fn clerk(arbiter: &Arbiter, name: &str, placement: Placement) -> Proxy<Clerk> {
    spawn(
        arbiter,
        Spec::<Clerk>::new(()).name(name).placement(placement),
    )
}

/// Two in processes of their own, the first of which has a lane to the second.
fn pair(arbiter: &Arbiter) -> (Proxy<Clerk>, Proxy<Clerk>) {
    let first = clerk(arbiter, "first", Placement::Process);
    let second = clerk(arbiter, "second", Placement::Process);
    open(&first, &second);
    (first, second)
}

fn open(first: &Proxy<Clerk>, second: &Proxy<Clerk>) {
    let opened = first.ask_timeout(Open(Some(second.clone())), LIMIT);
    assert_eq!(opened, Ok(Ok(())));
}

fn pid(clerk: &Proxy<Clerk>) -> u32 {
    clerk.ask_timeout(Pid, LIMIT).expect("a process")
}

fn kill(clerk: &Proxy<Clerk>) {
    let pid = pid(clerk);
    signal(pid, "KILL");
    eventually(|| !is_alive(pid));
}

#[test]
fn messages_keep_their_order_and_none_is_lost() {
    with_arbiter(|arbiter| {
        let (first, second) = pair(arbiter);
        let both = [first.ask(Dictate(20_000)), first.ask(Dictate(1))];
        for done in both {
            assert_eq!(done.wait_timeout(3 * LIMIT).expect("in time"), Ok(Ok(())));
        }
        let expected: Vec<u64> = (0..20_000).chain([0]).collect();
        assert!(second.ask_timeout(Noted, LIMIT).expect("an answer") == expected);
        // And back, over a lane of its own.
        open(&second, &first);
        assert_eq!(second.ask_timeout(Dictate(1000), LIMIT), Ok(Ok(())));
        let expected: Vec<u64> = (0..1000).collect();
        assert!(first.ask_timeout(Noted, LIMIT).expect("an answer") == expected);
        assert_eq!(first.ask_timeout(Losses, LIMIT), Ok(0));
    });
}

#[test]
fn two_converse_while_the_arbiter_does_something_else() {
    with_arbiter(|arbiter| {
        let (first, _second) = pair(arbiter);
        let folder = tempfile::tempdir().expect("a folder");
        let done: &Path = &folder.path().join("done");
        let local = clerk(arbiter, "local", Placement::Local);
        // The loop is the local actor's until the other two are done with each other.
        let dictated = first.ask(DictateInto(500, done.into()));
        let waited = local.ask(Await(done.into()));
        assert_eq!(waited.wait_timeout(2 * LIMIT).expect("in time"), Ok(true));
        assert_eq!(dictated.wait_timeout(LIMIT).expect("in time"), Ok(Ok(())));
    });
}

#[test]
fn the_death_of_the_other_ends_every_question_and_the_lane() {
    with_arbiter(|arbiter| {
        let (first, second) = pair(arbiter);
        let pid = pid(&second);
        let asked = first.ask(Lose(20));
        // The first asks take no time, and what follows has none.
        eventually(|| {
            let info = second.info().wait_timeout(LIMIT).expect("in time");
            info.is_ok_and(|info| info.busy_us.is_some_and(|us| us > 50_000))
        });
        signal(pid, "KILL");
        let errors = asked
            .wait_timeout(LIMIT)
            .expect("in time")
            .expect("an answer");
        let mut expected = vec![AskError::NotStarted; 21];
        expected[0] = AskError::Started;
        assert_eq!(errors, Ok(expected));
        // The lane was that incarnation's; the next has another.
        let told = first.ask_timeout(Tell(1), LIMIT).expect("an answer");
        assert!(told.is_err(), "{told:?}");
        eventually(|| second.ask_timeout(Noted, LIMIT) == Ok(Vec::new()));
        open(&first, &second);
        assert_eq!(first.ask_timeout(Tell(2), LIMIT), Ok(Ok(())));
        eventually(|| second.ask_timeout(Noted, LIMIT) == Ok(vec![2]));
    });
}

#[test]
fn nothing_is_left_of_a_lane_whose_maker_has_gone() {
    with_arbiter(|arbiter| {
        let first = clerk(arbiter, "first", Placement::Process);
        let second = clerk(arbiter, "second", Placement::Process);
        let before = [&first, &second].map(|clerk| clerk.ask_timeout(Open0, LIMIT));
        for _ in 0..5 {
            open(&first, &second);
            assert_eq!(first.ask_timeout(Dictate(100), LIMIT), Ok(Ok(())));
            assert_eq!(first.ask_timeout(Open(None), LIMIT), Ok(Ok(())));
        }
        eventually(|| first.ask_timeout(Open0, LIMIT) == before[0]);
        eventually(|| second.ask_timeout(Open0, LIMIT) == before[1]);
        for _ in 0..3 {
            open(&first, &second);
            kill(&first);
            eventually(|| first.ask_timeout(Pid, LIMIT).is_ok());
        }
        eventually(|| second.ask_timeout(Open0, LIMIT) == before[1]);
    });
}

#[test]
fn an_incarnation_has_so_many_lanes_and_no_more() {
    with_arbiter(|arbiter| {
        let (first, second) = pair(arbiter);
        let mut opened = 1;
        let refused = loop {
            match first.ask_timeout(Open(Some(second.clone())), LIMIT) {
                Ok(Ok(())) => opened += 1,
                refused => break refused,
            }
            assert!(opened < 1000, "no end of lanes");
        };
        assert!(matches!(refused, Ok(Err(_))), "{refused:?}");
        // The usual way is there as ever.
        assert_eq!(second.ask_timeout(Note(1), LIMIT), Ok(1));
    });
}

#[test]
fn a_lane_gives_no_more_rights_than_the_arbiter() {
    with_arbiter(|arbiter| {
        let (first, second) = pair(arbiter);
        let refused = Ok(Err(AskError::Forbidden("hidden".to_owned())));
        assert_eq!(first.ask_timeout(Reach(None), LIMIT), refused);
        assert_eq!(first.ask_timeout(Reach(Some(second)), LIMIT), refused);
        // It goes on.
        assert_eq!(first.ask_timeout(Tell(7), LIMIT), Ok(Ok(())));
    });
}

#[test]
fn other_ways_are_direct_as_they_are() {
    with_arbiter(|arbiter| {
        for placement in crate::support::PLACEMENTS {
            let clerk = clerk(arbiter, &placement.to_string(), placement);
            let direct = clerk
                .direct()
                .wait_timeout(LIMIT)
                .expect("in time")
                .expect("a proxy");
            assert_eq!(direct, clerk);
            assert_eq!(direct.ask_timeout(Note(3), LIMIT), Ok(3));
        }
    });
}
