//! How an arbiter is reached by other programs.

use ipc_marshal::AuthKey;

use crate::Access;

/// How an arbiter is reached by other programs.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// Each key with the level it gives, if that does not depend on the socket.
    pub(super) keys: Vec<(AuthKey, Option<Access>)>,
    pub(super) strangers: bool,
    pub(super) connections_max: usize,
    pub(super) half_open_max: usize,
    pub(super) in_flight_max: usize,
    pub(super) bytes_max: usize,
    pub(super) payload_len_max: usize,
    pub(super) rate_max: u32,
    pub(super) strikes_max: u32,
}

impl Default for RemoteOptions {
    /// No key, no strangers, 64 connections and 64 at the door, 1024 messages and 8 MiB under way per
    /// connection, 64 KiB per message, 50,000 messages per second, 32 strikes.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            strangers: false,
            connections_max: 64,
            half_open_max: 64,
            in_flight_max: 1024,
            bytes_max: 8 << 20,
            payload_len_max: 64 << 10,
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
    pub fn key(mut self, key: AuthKey) -> Self {
        self.keys.push((key, None));
        self
    }

    /// Callers who know this key have this level, wherever they come from: [`Access::Peer`] for an
    /// operator who may stop things, for one.
    #[must_use]
    pub fn key_for(mut self, key: AuthKey, access: Access) -> Self {
        self.keys.push((key, Some(access)));
        self
    }

    /// Lets callers in that show no key, with [`Access::Public`]: `ping`, `echo` and the messages that
    /// were registered for everybody. They are not let in unless this is set.
    #[must_use]
    pub fn strangers(mut self, welcome: bool) -> Self {
        self.strangers = welcome;
        self
    }

    /// How many connections there may be of callers that were let in.
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

    /// The longest message, in bytes. Longer ones end the connection before they are read.
    #[must_use]
    pub fn payload_len_max(mut self, bytes: usize) -> Self {
        self.payload_len_max = bytes;
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
