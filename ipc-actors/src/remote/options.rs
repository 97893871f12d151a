//! How an arbiter is reached by other programs.

use std::time::Duration;

use ipc_marshal::AuthKey;

use crate::Access;

/// How an arbiter is reached by other programs.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    pub(super) keys: Vec<Known>,
    pub(super) strangers: bool,
    pub(super) connections_max: usize,
    pub(super) half_open_max: usize,
    pub(super) in_flight_max: usize,
    pub(super) bytes_max: usize,
    pub(super) payload_len_max: usize,
    pub(super) peer_payload_len_max: usize,
    pub(super) at_once_max: usize,
    pub(super) write_timeout: Duration,
    pub(super) abstract_names: bool,
    pub(super) rate_max: u32,
    pub(super) strikes_max: u32,
}

/// A key that callers may prove.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) key: AuthKey,
    /// What it is called where it is told who has done something.
    pub(super) name: String,
    /// The level that it gives, if that does not depend on the socket.
    pub(super) access: Option<Access>,
}

impl Default for RemoteOptions {
    /// No key, no strangers, no abstract names, 64 connections and 64 at the door, 1024 messages and
    /// 8 MiB under way per connection, of which an actor has 32 at a time, 64 KiB per message and 1 MiB
    /// for peers, 50,000 messages per second, two seconds to take an answer, 32 strikes.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            strangers: false,
            connections_max: 64,
            half_open_max: 64,
            in_flight_max: 1024,
            bytes_max: 8 << 20,
            payload_len_max: 64 << 10,
            peer_payload_len_max: 1 << 20,
            at_once_max: 32,
            write_timeout: Duration::from_secs(2),
            abstract_names: false,
            rate_max: 50_000,
            strikes_max: 32,
        }
    }
}

impl RemoteOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Callers must know this key, or another one that is given. Both sides prove it by HMAC-SHA-256
    /// over what both have said, random bytes of either among it; it never travels. Every frame after
    /// that is signed; nothing is encrypted. Take 32 random bytes: a word can be guessed from a
    /// recording.
    ///
    /// It gives [`Access::Authenticated`], and to callers of the same user on a unix socket
    /// [`Access::Peer`].
    #[must_use]
    pub fn key(self, key: AuthKey) -> Self {
        self.know(key, None, None)
    }

    /// Callers who know this key have this level, wherever they come from: [`Access::Peer`] for an
    /// operator who may stop things, for one.
    #[must_use]
    pub fn key_for(self, key: AuthKey, access: Access) -> Self {
        self.know(key, None, Some(access))
    }

    /// As [`key_for`](Self::key_for), and the [audit](crate::Arbiter::audit) calls whoever has proved it
    /// by this name.
    #[must_use]
    pub fn key_named(self, name: &str, key: AuthKey, access: Access) -> Self {
        self.know(key, Some(name), Some(access))
    }

    fn know(mut self, key: AuthKey, name: Option<&str>, access: Option<Access>) -> Self {
        let name = name.map_or_else(|| format!("key {}", self.keys.len()), str::to_owned);
        self.keys.push(Known { key, name, access });
        self
    }

    /// Lets callers in that show no key, with [`Access::Public`]: `ping`, `echo` and the messages that
    /// were registered for everybody. They are not let in unless this is set.
    #[must_use]
    pub fn strangers(mut self, welcome: bool) -> Self {
        self.strangers = welcome;
        self
    }

    /// Lets [`listen`](crate::Arbiter::listen) take an abstract name (`unix:@NAME`). Such a name has no
    /// file whose permissions would keep other users out, and whoever is first can take it: callers of
    /// other users are still refused by what the kernel says of them, but they can knock.
    #[must_use]
    pub fn abstract_names(mut self, allowed: bool) -> Self {
        self.abstract_names = allowed;
        self
    }

    /// How many connections there may be of callers that were let in. Strangers get half of them.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count;
        self
    }

    /// How many connections there may be of callers that have not shown yet who they are; they have
    /// two seconds for that.
    #[must_use]
    pub fn half_open_max(mut self, count: usize) -> Self {
        self.half_open_max = count;
        self
    }

    /// How many messages of one connection may be under way; more are answered with
    /// [`Full`](crate::AskError::Full).
    #[must_use]
    pub fn in_flight_max(mut self, count: usize) -> Self {
        self.in_flight_max = count;
        self
    }

    /// How many bytes of one connection's messages may be under way; more are answered with
    /// [`Full`](crate::AskError::Full). A caller that lets as many bytes of answers pile up is cut off.
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// The longest message, in bytes. Longer ones end the connection before they are read. A command can
    /// have a lower limit ([`Commands::limit`](crate::Commands::limit)).
    #[must_use]
    pub fn payload_len_max(mut self, bytes: usize) -> Self {
        self.payload_len_max = bytes;
        self
    }

    /// The longest message of callers with [`Access::Peer`], in bytes, if that is more.
    #[must_use]
    pub fn peer_payload_len_max(mut self, bytes: usize) -> Self {
        self.peer_payload_len_max = bytes;
        self
    }

    /// How many messages of all callers together an actor has at a time. The rest waits outside its
    /// mailbox, which so always has room for others, and the callers take turns.
    #[must_use]
    pub fn at_once_max(mut self, count: usize) -> Self {
        self.at_once_max = count.max(1);
        self
    }

    /// How long a caller may take to make room for one answer before it is cut off.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How many messages of one connection are taken per second; the rest waits with the caller.
    #[must_use]
    pub fn rate_max(mut self, per_second: u32) -> Self {
        self.rate_max = per_second.max(1);
        self
    }

    /// How often a connection may ask for what it may not, what is not there or what cannot be read,
    /// before it is cut off; one is forgiven per second.
    #[must_use]
    pub fn strikes_max(mut self, count: u32) -> Self {
        self.strikes_max = count.max(1);
        self
    }
}
