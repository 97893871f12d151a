//! References that give rights, and can only be made to give fewer.
//!
//! A ticket names an actor and lists what narrows its use, the first entry being what the listener
//! granted. Its key is an HMAC chain: under the listener's secret over the actor, then under that over
//! the first entry, and so on. Whoever holds the key can add an entry and make the key of that; nobody
//! can go back. The key does not travel when a ticket is used: it is proved, as any other key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipc_marshal::AuthKey;
use serde::{Deserialize, Serialize};

use crate::command::encode;
use crate::{Access, ActorId};

/// How many entries a ticket may have.
const ENTRIES_MAX: usize = 16;

/// What the holder of a [`Reference`](crate::Reference) may do with its actor.
///
/// ```
/// use ipc_actors::{Access, Rights};
/// use std::time::Duration;
///
/// let rights = Rights::new()
///     .access(Access::Peer)
///     .commands(["read", "add"])
///     .lifetime(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    access: Access0,
    commands: Option<Vec<String>>,
    /// Milliseconds since 1970.
    until: Option<u64>,
    incarnation: Option<u32>,
}

/// [`Access`] with the other default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Access0(Access);

impl Default for Access0 {
    fn default() -> Self {
        Self(Access::Public)
    }
}

impl Rights {
    /// To ping it, and what everybody may do ([`Access::Public`]), for as long as the listener is there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that the reference gives already, for [`Reference::narrow`](crate::Reference::narrow).
    #[must_use]
    pub fn all() -> Self {
        Self::new().access(Access::Supervisor)
    }

    /// The commands of this level and below. No reference gives more than [`Access::Peer`].
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = Access0(access);
        self
    }

    /// Of these, only the ones named here; `info` and `stop` are named like others.
    #[must_use]
    pub fn commands<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.commands = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// For this long from now, by the clock on the wall, which both sides must have set alike.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        self.until(SystemTime::now().checked_add(lifetime))
    }

    fn until(mut self, end: Option<SystemTime>) -> Self {
        self.until = end.map(millis);
        self
    }

    /// For this incarnation of the actor and no later one.
    #[must_use]
    pub fn incarnation(mut self, number: u32) -> Self {
        self.incarnation = Some(number);
        self
    }
}

fn millis(time: SystemTime) -> u64 {
    let passed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}

/// What a reference shows when it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ticket {
    pub(super) actor: ActorId,
    pub(super) name: String,
    entries: Vec<Rights>,
}

impl Ticket {
    /// A new one and its key.
    pub(super) fn grant(
        secret: &AuthKey,
        actor: ActorId,
        name: &str,
        mut rights: Rights,
    ) -> (Self, [u8; 32]) {
        rights.access.0 = rights.access.0.min(Access::Peer);
        let name = name.to_owned();
        let ticket = Self {
            actor,
            name,
            entries: vec![rights],
        };
        let key = ticket.key(secret);
        (ticket, key)
    }

    /// The same with one more entry, and its key, which takes the key before.
    pub(super) fn narrow(mut self, key: [u8; 32], rights: Rights) -> (Self, [u8; 32]) {
        let key = link(&key, &rights);
        self.entries.push(rights);
        (self, key)
    }

    /// The key that whoever was given this ticket has.
    pub(super) fn key(&self, secret: &AuthKey) -> [u8; 32] {
        let actor = self.actor.to_u64().to_le_bytes();
        let first = secret.sign(&[b"ticket", &actor, self.name.as_bytes()]);
        self.entries
            .iter()
            .fold(first, |key, rights| link(&key, rights))
    }

    /// What it gives altogether; `None` for one that nobody made like that.
    pub(super) fn warrant(self) -> Option<Warrant> {
        let count = self.entries.len();
        if count == 0 || count > ENTRIES_MAX {
            return None;
        }
        let access = self.entries.iter().map(|rights| rights.access.0).min()?;
        let until = self.entries.iter().filter_map(|rights| rights.until).min();
        Some(Warrant {
            actor: self.actor,
            name: self.name,
            access,
            until,
            entries: self.entries,
        })
    }
}

fn link(key: &[u8; 32], rights: &Rights) -> [u8; 32] {
    let mut entry = Vec::new();
    encode(rights, &mut entry).expect("numbers and names can be encoded");
    AuthKey::new(key).sign(&[&entry])
}

/// What a connection that came with a ticket may do.
#[derive(Clone, Debug)]
pub(super) struct Warrant {
    pub(super) actor: ActorId,
    pub(super) name: String,
    pub(super) access: Access,
    until: Option<u64>,
    entries: Vec<Rights>,
}

impl Warrant {
    pub(super) fn is_over(&self) -> bool {
        self.until
            .is_some_and(|until| millis(SystemTime::now()) >= until)
    }

    /// Whether it holds for this command.
    pub(super) fn names(&self, command: &str) -> bool {
        let mut lists = self
            .entries
            .iter()
            .filter_map(|rights| rights.commands.as_ref());
        lists.all(|names| names.iter().any(|name| name == command))
    }

    /// Whether it holds for this incarnation.
    pub(super) fn holds_for(&self, incarnation: u32) -> bool {
        let mut numbers = self.entries.iter().filter_map(|rights| rights.incarnation);
        numbers.all(|number| number == incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_can_be_narrowed_and_not_widened() {
        let secret = AuthKey::new("of the listener");
        let rights = Rights::new()
            .access(Access::Supervisor)
            .commands(["read", "add"]);
        let (ticket, key) = Ticket::grant(&secret, ActorId(7), "desk", rights);
        assert_eq!(ticket.key(&secret), key);
        let wide = ticket.clone().warrant().expect("one that was made");
        assert_eq!(wide.access, Access::Peer, "no more than that");
        let less = Rights::all().commands(["read", "stop"]).incarnation(3);
        let (narrow, narrow_key) = ticket.clone().narrow(key, less);
        assert_eq!(narrow.key(&secret), narrow_key);
        assert_ne!(narrow_key, key);
        let warrant = narrow.clone().warrant().expect("one that was made");
        assert!(warrant.names("read") && !warrant.names("add") && !warrant.names("stop"));
        assert!(warrant.holds_for(3) && !warrant.holds_for(4));

        // Without the key before, an entry cannot be taken away or changed.
        let mut forged = narrow.clone();
        forged.entries.pop();
        assert_ne!(forged.key(&secret), narrow_key);
        let mut forged = narrow;
        forged.entries[1] = Rights::all();
        assert_ne!(forged.key(&secret), narrow_key);
        let mut forged = ticket;
        forged.actor = ActorId(8);
        assert_ne!(forged.key(&secret), key);
        forged.entries.clear();
        assert!(forged.warrant().is_none());
    }

    #[test]
    fn a_ticket_ends_with_the_first_of_its_ends() {
        let secret = AuthKey::new("of the listener");
        let long = Rights::new().lifetime(Duration::from_secs(3600));
        let (ticket, key) = Ticket::grant(&secret, ActorId(7), "desk", long);
        assert!(!ticket.clone().warrant().expect("whole").is_over());
        let (over, _) = ticket.narrow(key, Rights::all().lifetime(Duration::ZERO));
        let (still, _) = over.narrow(key, Rights::all().lifetime(Duration::from_secs(9)));
        assert!(still.warrant().expect("whole").is_over());
    }
}
