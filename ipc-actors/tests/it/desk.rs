//! An actor with a command of each level, and callers of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipc_actors::{
    Access, Actor, Arbiter, AskError, Commands, Context, Deferred, Failure, Handler, Listener,
    Message, Proxy, RemoteArbiter, RemoteOptions, Spec,
};
use ipc_core::Address;
use ipc_marshal::{AuthKey, Bincode, Codec};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Serialize, Serializer};

use crate::support::{LIMIT, spawn};

/// Answers what it is told, and writes down who has told it something.
pub(crate) struct Desk {
    journal: Journal,
}

/// Who has told a desk something, in order.
type Journal = Arc<Mutex<Vec<u64>>>;

/// The journals of this process; desks know theirs by its number.
static JOURNALS: Mutex<Vec<Journal>> = Mutex::new(Vec::new());

fn journals() -> MutexGuard<'static, Vec<Journal>> {
    JOURNALS.lock().unwrap_or_else(PoisonError::into_inner)
}

macro_rules! command {
    ($message:ident, $name:literal) => {
        #[derive(Debug, Serialize, Deserialize)]
        pub(crate) struct $message;

        impl Message for $message {
            type Reply = ();
            const NAME: &'static str = $name;
        }

        impl Handler<$message> for Desk {
            fn handle(&mut self, _: $message, _: &mut Context<'_, Self>) {}
        }
    };
}

command!(Look, "look");
command!(Read, "read");
command!(Write, "write");
command!(Inner, "inner");

/// What a desk does not know under this name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stranger;

impl Message for Stranger {
    type Reply = ();
    const NAME: &'static str = "stranger";
}

impl Handler<Stranger> for Desk {
    fn handle(&mut self, _: Stranger, _: &mut Context<'_, Self>) {}
}

/// A box in a box in a box.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Nest {
    End,
    More(Box<Nest>),
}

impl Message for Nest {
    type Reply = ();
    const NAME: &'static str = "nest";
}

impl Handler<Nest> for Desk {
    fn handle(&mut self, _: Nest, _: &mut Context<'_, Self>) {}
}

/// The bytes of so many boxes in each other, which nobody has to make for that.
#[derive(Debug, Deserialize)]
pub(crate) struct Nested(pub(crate) usize);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0)?;
        for _ in 0..self.0 {
            bytes.serialize_element(&1_u8)?;
        }
        bytes.end()
    }
}

impl Message for Nested {
    type Reply = ();
    const NAME: &'static str = "nest";
}

impl Handler<Nested> for Desk {
    fn handle(&mut self, _: Nested, _: &mut Context<'_, Self>) {}
}

/// Something of any length, of which the desk takes 64 bytes at most.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note(pub(crate) Vec<u8>);

impl Message for Note {
    type Reply = u64;
    const NAME: &'static str = "note";
}

impl Handler<Note> for Desk {
    fn handle(&mut self, Note(text): Note, _: &mut Context<'_, Self>) -> u64 {
        text.len() as u64
    }
}

/// Work of so many microseconds, for the caller of this number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Work(pub(crate) u64, pub(crate) u64);

impl Message for Work {
    type Reply = ();
    const NAME: &'static str = "work";
}

impl Handler<Work> for Desk {
    fn handle(&mut self, Work(caller, micros): Work, _: &mut Context<'_, Self>) {
        self.journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(caller);
        let end = std::time::Instant::now() + std::time::Duration::from_micros(micros);
        while std::time::Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

/// Answers what it is given.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Back<T>(pub(crate) T);

macro_rules! back {
    ($type:ty, $name:literal) => {
        impl Message for Back<$type> {
            type Reply = $type;
            const NAME: &'static str = $name;
        }

        impl Handler<Back<$type>> for Desk {
            fn handle(&mut self, Back(value): Back<$type>, _: &mut Context<'_, Self>) -> $type {
                value
            }
        }
    };
}

back!(u64, "number");
back!(Option<u8>, "option");
back!(bool, "flag");
back!(Vec<u8>, "list");
back!(String, "text");
back!((), "unit");

impl Actor for Desk {
    /// The number of its journal; none is kept for a number without one.
    type Params = usize;
    const NAME: &'static str = "desk";

    fn commands(commands: &mut Commands<Self>) {
        commands.on_access::<Look>(Access::Public);
        commands.on_access::<Read>(Access::Authenticated);
        commands.on::<Write>().on::<Work>().on::<Nest>();
        commands.on_access::<Inner>(Access::Supervisor);
        commands.on_access::<Note>(Access::Public).limit::<Note>(64);
        commands.on::<Back<u64>>().on::<Back<Option<u8>>>();
        commands.on::<Back<bool>>().on::<Back<Vec<u8>>>();
        commands.on::<Back<String>>().on::<Back<()>>();
    }

    fn init(number: usize, _: &mut Context<'_, Self>) -> Result<Self, Failure> {
        let journal = journals().get(number).cloned().unwrap_or_default();
        Ok(Self { journal })
    }
}

/// A new journal and its number.
pub(crate) fn journal() -> (usize, Journal) {
    let (mut journals, journal) = (journals(), Journal::default());
    journals.push(Arc::clone(&journal));
    (journals.len() - 1, journal)
}

/// What is in a journal.
pub(crate) fn read(journal: &Journal) -> Vec<u64> {
    journal
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// A desk without a journal.
pub(crate) fn plain() -> Spec<Desk> {
    Spec::new(usize::MAX).thread()
}

pub(crate) fn operator() -> AuthKey {
    AuthKey::new(b"what the operators know")
}

pub(crate) fn clerk() -> AuthKey {
    AuthKey::new(b"what the clerks know")
}

/// A desk, and a listener on TCP where strangers, clerks (`Authenticated`) and operators (`Peer`) are
/// let in.
pub(crate) fn open(arbiter: &Arbiter, options: RemoteOptions) -> (Listener, Proxy<Desk>) {
    open_with(arbiter, options.strangers(true), plain())
}

/// The same with this desk, and with strangers only if the options say so.
pub(crate) fn open_with(
    arbiter: &Arbiter,
    options: RemoteOptions,
    desk: Spec<Desk>,
) -> (Listener, Proxy<Desk>) {
    let desk = spawn(arbiter, desk.name("desk"));
    let address: Address = "tcp:127.0.0.1:0".parse().expect("an address");
    let listener = arbiter.listen(&address, secured(options));
    (listener.expect("a listener"), desk)
}

/// Lets clerks and operators in.
pub(crate) fn secured(options: RemoteOptions) -> RemoteOptions {
    options
        .key_named("clerk", clerk(), Access::Authenticated)
        .key_named("operator", operator(), Access::Peer)
}

/// A connection, and the desk as it sees it.
pub(crate) fn enter(listener: &Listener, key: Option<&AuthKey>) -> (RemoteArbiter, Proxy<Desk>) {
    let remote = RemoteArbiter::connect(listener.address(), key).expect("welcome");
    let desk = remote.get_actor("desk").expect("the desk");
    (remote, desk)
}

/// What becomes of each of the desk's commands, of `info` and of `tree`: whether it is forbidden.
pub(crate) fn allowed(remote: &RemoteArbiter, desk: &Proxy<Desk>) -> Vec<&'static str> {
    fn is_allowed<T: Send + 'static>(answer: Deferred<T, AskError>) -> bool {
        match answer.wait_timeout(LIMIT) {
            Ok(Ok(_)) => true,
            Ok(Err(AskError::Forbidden(_))) => false,
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => panic!("no answer"),
        }
    }
    let all = [
        ("look", is_allowed(desk.ask(Look))),
        ("read", is_allowed(desk.ask(Read))),
        ("write", is_allowed(desk.ask(Write))),
        ("inner", is_allowed(desk.ask(Inner))),
        ("info", is_allowed(desk.info())),
        ("tree", is_allowed(remote.tree())),
        ("kill", is_allowed(remote.kill_actor(missing()))),
    ];
    let allowed = all.into_iter().filter(|(_, allowed)| *allowed);
    allowed.map(|(name, _)| name).collect()
}

/// The id of no actor.
pub(crate) fn missing() -> ipc_actors::ActorId {
    Bincode.decode(&[0]).expect("a number")
}
