//! Messages by name, and who may send them.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ipc_marshal::{Bincode, Codec};
use serde::{Deserialize, Serialize};

use crate::reply::{BytesReply, Encode};
use crate::{Actor, AskError, Context, Message, Receive, Reply};

/// Who may use a command. Each level may also use those above it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Access {
    /// Anybody who can reach the actor.
    Public,
    /// Callers that have proved that they know the key.
    Authenticated,
    /// Actors of the same arbiter.
    #[default]
    Peer,
    /// The arbiter itself.
    Supervisor,
}

impl Access {
    /// All levels, in their order.
    pub(crate) const ALL: [Self; 4] = [
        Self::Public,
        Self::Authenticated,
        Self::Peer,
        Self::Supervisor,
    ];

    /// The level of this number; the lowest for one that there is not.
    pub(crate) fn from_u8(number: u8) -> Self {
        let level = Self::ALL.get(usize::from(number));
        level.copied().unwrap_or(Self::Public)
    }
}

/// Names a command on the wire: the hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct CommandId(pub(crate) u32);

impl CommandId {
    /// Not a message: all that was sent before it is handled.
    pub(crate) const DRAIN: Self = Self::of("drain");

    /// The command whose message and answer are in the default codec.
    pub(crate) const fn of(name: &str) -> Self {
        Self::hash(name, 0xcbf2_9ce4_8422_2325)
    }

    /// The same command with JSON in and out.
    pub(crate) const fn of_text(name: &str) -> Self {
        Self::hash(name, 0x6a73_6f6e_8422_2325)
    }

    const fn hash(name: &str, basis: u64) -> Self {
        let bytes = name.as_bytes();
        let mut hash = basis;
        let mut index = 0;
        while index < bytes.len() {
            hash ^= bytes[index] as u64;
            hash = hash.wrapping_mul(0x0100_0000_01b3);
            index += 1;
        }
        Self((hash ^ (hash >> 32)) as u32)
    }
}

/// Decodes a message and has it handled; the reply is told what cannot be decoded.
pub(crate) type Invoke<A> = fn(&mut A, &[u8], &mut Context<'_, A>, BytesReply);

/// One entry of the table.
pub(crate) struct Command<A: Actor> {
    id: CommandId,
    pub(crate) name: &'static str,
    access: Access,
    /// The longest message of remote callers, in bytes.
    len_max: usize,
    pub(crate) invoke: Invoke<A>,
    /// The same command again, with JSON in and out.
    #[cfg(feature = "json")]
    text: bool,
}

/// The messages an actor understands, by name.
///
/// An actor that a remote caller reaches accepts only what is in this table, and the value a caller
/// sends is decoded as the type registered here: nothing received can name code that was not
/// registered.
pub struct Commands<A: Actor> {
    /// Sorted by id.
    table: Vec<Command<A>>,
}

/// The names that every actor answers without registering them.
pub(crate) const BUILT_IN: [&str; 6] = ["ping", "echo", "info", "stop", "kill", "drain"];

impl<A: Actor> Commands<A> {
    /// The table of this kind of actor.
    #[must_use]
    pub fn of_actor() -> Self {
        let mut commands = Self { table: Vec::new() };
        A::commands(&mut commands);
        commands
    }

    /// The same, made once for this process.
    pub(crate) fn shared() -> Arc<Self> {
        static TABLES: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>> =
            Mutex::new(BTreeMap::new());
        let lock = || TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = TypeId::of::<A>();
        let known = lock().get(&kind).cloned();
        let table = known.unwrap_or_else(|| {
            // Without the lock: what an actor does to register its commands is its own.
            let table: Arc<dyn Any + Send + Sync> = Arc::new(Self::of_actor());
            Arc::clone(lock().entry(kind).or_insert(table))
        });
        let shared = table.downcast();
        shared.unwrap_or_else(|_| unreachable!("it was put there for this type"))
    }

    /// Registers a message for actors of the same arbiter.
    ///
    /// # Panics
    ///
    /// If the name is registered already or is one of ping, echo, info, stop, kill and drain.
    pub fn on<M: Message>(&mut self) -> &mut Self
    where
        A: Receive<M>,
    {
        self.on_access::<M>(Access::default())
    }

    /// Registers a message for callers of this level and above.
    ///
    /// # Panics
    ///
    /// As [`on`](Commands::on).
    pub fn on_access<M: Message>(&mut self, access: Access) -> &mut Self
    where
        A: Receive<M>,
    {
        self.insert(Command {
            id: CommandId::of(M::NAME),
            name: M::NAME,
            access,
            len_max: usize::MAX,
            invoke: invoke::<A, M>,
            #[cfg(feature = "json")]
            text: false,
        });
        #[cfg(feature = "json")]
        self.insert(Command {
            id: CommandId::of_text(M::NAME),
            name: M::NAME,
            access,
            len_max: usize::MAX,
            invoke: invoke_text::<A, M>,
            text: true,
        });
        self
    }

    /// Takes this message from remote callers only up to this length, in bytes as it travels. Longer ones
    /// are refused before they are decoded, and held against the caller. What a connection accepts at
    /// all ([`RemoteOptions::payload_len_max`](crate::RemoteOptions::payload_len_max)) comes first.
    ///
    /// # Panics
    ///
    /// If the message is not registered.
    pub fn limit<M: Message>(&mut self, bytes: usize) -> &mut Self
    where
        A: Receive<M>,
    {
        let commands = self.table.iter_mut();
        let mut found = false;
        for command in commands.filter(|command| command.name == M::NAME) {
            command.len_max = bytes;
            found = true;
        }
        assert!(
            found,
            "{} limits {} without registering it",
            A::NAME,
            M::NAME
        );
        self
    }

    fn insert(&mut self, command: Command<A>) {
        let (id, name) = (command.id, command.name);
        let at = self.table.partition_point(|known| known.id < id);
        let free = self.table.get(at).is_none_or(|known| known.id != id);
        assert!(
            free && !BUILT_IN.contains(&name),
            "{} registers the command {name} twice, or one with the same hash",
            A::NAME,
        );
        self.table.insert(at, command);
    }

    /// The table without the second entries of commands that take JSON as well.
    fn entries(&self) -> impl Iterator<Item = &Command<A>> {
        #[cfg(feature = "json")]
        let entries = self.table.iter().filter(|command| !command.text);
        #[cfg(not(feature = "json"))]
        let entries = self.table.iter();
        entries
    }

    /// The commands of this level and below, by name.
    pub(crate) fn names_for(&self, access: Access) -> Vec<&'static str> {
        let allowed = self.entries().filter(|command| command.access <= access);
        let mut names: Vec<_> = allowed.map(|command| command.name).collect();
        names.sort_unstable();
        names
    }

    /// The names of the registered commands.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.names_for(Access::Supervisor)
    }

    /// Who may use a registered command; `None` if it is not registered.
    #[must_use]
    pub fn access(&self, name: &str) -> Option<Access> {
        self.find(CommandId::of(name)).map(|command| command.access)
    }

    /// Whether a remote caller of this level may send a message of this length; `allows` says whether
    /// the command's name is on the list of those that are allowed.
    pub(crate) fn check(
        &self,
        id: CommandId,
        len: usize,
        access: Access,
        allows: impl FnOnce(&str) -> bool,
    ) -> Result<(), AskError> {
        let Some(command) = self.find(id) else {
            return Err(AskError::UnknownCommand(format!("{:08x}", id.0)));
        };
        let name = command.name;
        if command.access > access || !allows(name) {
            return Err(AskError::Forbidden(name.to_owned()));
        }
        if len > command.len_max {
            let limit = command.len_max;
            let wrong = format!("{name} takes {limit} bytes, and not {len}");
            return Err(AskError::Codec(wrong));
        }
        Ok(())
    }

    pub(crate) fn find(&self, id: CommandId) -> Option<&Command<A>> {
        let at = self
            .table
            .binary_search_by_key(&id, |command| command.id)
            .ok()?;
        Some(&self.table[at])
    }
}

fn invoke<A: Receive<M>, M: Message>(
    actor: &mut A,
    body: &[u8],
    ctx: &mut Context<'_, A>,
    reply: BytesReply,
) {
    match decode::<M>(body) {
        Ok(message) => handle(actor, message, reply, encode, ctx),
        Err(error) => reply.resolve(Err(error)),
    }
}

fn handle<A: Receive<M>, M: Message>(
    actor: &mut A,
    message: M,
    reply: BytesReply,
    encode: Encode<M::Reply>,
    ctx: &mut Context<'_, A>,
) {
    match Reply::of_bytes(reply, encode) {
        Some(reply) => actor.receive(message, reply, ctx),
        None => actor.told(message, ctx),
    }
}

/// As [`invoke`], for callers that do not know the types: people at a command line, for one.
#[cfg(feature = "json")]
fn invoke_text<A: Receive<M>, M: Message>(
    actor: &mut A,
    body: &[u8],
    ctx: &mut Context<'_, A>,
    reply: BytesReply,
) {
    use ipc_marshal::Json;
    match Json.decode::<M>(body) {
        Ok(message) => handle(actor, message, reply, encode_text, ctx),
        Err(error) => reply.resolve(Err(AskError::Codec(error.to_string()))),
    }
}

#[cfg(feature = "json")]
fn encode_text<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), AskError> {
    let done = ipc_marshal::Json.encode(value, out);
    done.map_err(|error| AskError::Codec(error.to_string()))
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, AskError> {
    Bincode
        .decode(body)
        .map_err(|error| AskError::Codec(error.to_string()))
}

pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), AskError> {
    Bincode
        .encode(value, out)
        .map_err(|error| AskError::Codec(error.to_string()))
}

impl<A: Actor> fmt::Debug for Commands<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries().map(|command| command.name))
            .finish()
    }
}
