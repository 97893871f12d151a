//! How two programs show each other that they know the key, before anything else is said.
//!
//! | | frame | what it holds |
//! |---|---|---|
//! | 1 | client | version, 32 random bytes, whether it has a key |
//! | 2 | listener | version, 32 random bytes, its own number, whether it has keys |
//! | 3 | client | HMAC-SHA-256 over `client`, 1 and 2, and the ticket whose key that is, if it is one's |
//! | 4 | listener | the granted level, and the HMAC over `listener`, 1, 2, 3 and the level |
//!
//! Neither proof can be used in another connection (the random bytes), in the other direction (the
//! first word) or in place of another (the transcript). The key never travels. Each direction then has
//! a key of its own, made from the shared one and the transcript. The listener says nothing but an end
//! of file, after the same delay, whatever was wrong.
//!
//! Later a connection may prove another key, which raises its rights ([`Transcript::raise`]): the same
//! two proofs over the same frames and the number of the attempt, and new keys for both directions.

use std::fs::File;
use std::io::{self, Read};

use ipc_core::{AnyChannel, Channel, Deadline};
use ipc_marshal::{AuthKey, Bincode, Codec, Duct};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::seal::Seal;
use super::ticket::Ticket;
use crate::Access;

/// A connection before and after the greeting: frames are bytes.
pub(super) type Wire<Ch = AnyChannel> = Duct<(), (), Bincode, Ch>;

/// The longest frame before the peer is known, in bytes.
pub(super) const GREETING_LEN_MAX: usize = 4096;

const VERSION: u16 = 2;

#[derive(Serialize, Deserialize)]
struct Hello {
    version: u16,
    nonce: [u8; 32],
    keyed: bool,
}

#[derive(Serialize, Deserialize)]
struct Challenge {
    version: u16,
    nonce: [u8; 32],
    /// Which run of which arbiter this is.
    arbiter: u64,
    keyed: bool,
}

#[derive(Serialize, Deserialize)]
struct Proof {
    mac: Option<[u8; 32]>,
    /// What the key belongs to, unless it is one of the listener's own.
    ticket: Option<Ticket>,
}

#[derive(Serialize, Deserialize)]
struct Welcome {
    access: Access,
    mac: Option<[u8; 32]>,
}

/// Why there was no greeting. The listener never says which it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum GreetingError {
    #[error("it does not answer as an arbiter does")]
    Malformed,
    #[error("the caller is not welcome, or the key is wrong")]
    Refused,
    #[error("it does not know the key")]
    Impostor,
    #[error("random bytes cannot be had: {0}")]
    Random(#[from] io::Error),
}

/// What both ends know after the greeting.
pub(super) struct Greeted {
    pub(super) access: Access,
    pub(super) inbound: Seal,
    pub(super) outbound: Seal,
    pub(super) transcript: Transcript,
}

/// What a caller shows.
#[derive(Clone, Copy)]
pub(super) enum Shown<'a> {
    Nothing,
    Key(&'a AuthKey),
    Ticket(&'a Ticket, &'a AuthKey),
}

/// What a caller has proved.
pub(super) enum Proved {
    Nothing,
    /// The listener's key of this index.
    Key(usize),
    Ticket(Ticket),
}

/// What both sides have said before anything was proved, and how often more was proved since.
#[derive(Clone)]
pub(super) struct Transcript {
    frames: Vec<u8>,
    attempts: u64,
}

/// What a key is proved by after the greeting: the proofs of both sides, and the keys that follow.
pub(super) struct Raise<'a> {
    transcript: &'a Transcript,
    key: &'a AuthKey,
}

impl Transcript {
    fn new(hello: &[u8], challenge: &[u8]) -> Self {
        let frames = [hello, challenge].concat();
        Self {
            frames,
            attempts: 0,
        }
    }

    /// Both sides count alike.
    pub(super) fn attempt(&mut self) {
        self.attempts += 1;
    }

    pub(super) fn raise<'a>(&'a self, key: &'a AuthKey) -> Raise<'a> {
        let transcript = self;
        Raise { transcript, key }
    }
}

impl Raise<'_> {
    fn sign(&self, label: &[u8], more: &[u8]) -> [u8; 32] {
        let attempt = self.transcript.attempts.to_le_bytes();
        self.key
            .sign(&[label, &self.transcript.frames, &attempt, more])
    }

    fn verify(&self, label: &[u8], more: &[u8], mac: &[u8]) -> bool {
        let attempt = self.transcript.attempts.to_le_bytes();
        self.key
            .verify(&[label, &self.transcript.frames, &attempt, more], mac)
    }

    pub(super) fn claim(&self) -> [u8; 32] {
        self.sign(b"client again", &[])
    }

    pub(super) fn is_claim(&self, mac: &[u8; 32]) -> bool {
        self.verify(b"client again", &[], mac)
    }

    pub(super) fn welcome(&self, access: Access) -> [u8; 32] {
        self.sign(b"listener again", &[access as u8])
    }

    pub(super) fn is_welcome(&self, access: Access, mac: &[u8; 32]) -> bool {
        self.verify(b"listener again", &[access as u8], mac)
    }

    pub(super) fn to_client(&self) -> Seal {
        Seal::new(Some(AuthKey::new(
            self.sign(b"session again", b"to client"),
        )))
    }

    pub(super) fn to_listener(&self) -> Seal {
        let key = self.sign(b"session again", b"to listener");
        Seal::new(Some(AuthKey::new(key)))
    }
}

/// Greets a listener. With a key, the listener must prove that it knows it.
pub(super) fn greet<Ch: Channel>(
    wire: &mut Wire<Ch>,
    shown: Shown<'_>,
    deadline: Deadline,
) -> Result<Greeted, GreetingError> {
    let (key, ticket) = match shown {
        Shown::Nothing => (None, None),
        Shown::Key(key) => (Some(key), None),
        Shown::Ticket(ticket, key) => (Some(key), Some(ticket.clone())),
    };
    let hello = encode(&Hello {
        version: VERSION,
        nonce: random()?,
        keyed: key.is_some(),
    });
    say(wire, &hello, deadline)?;
    let second = hear(wire, deadline)?;
    let challenge: Challenge = decode(&second)?;
    if challenge.version != VERSION {
        return Err(GreetingError::Malformed);
    }
    if key.is_some() && ticket.is_none() && !challenge.keyed {
        return Err(GreetingError::Impostor);
    }
    let mac = key.map(|key| key.sign(&[b"client", &hello, &second]));
    let third = encode(&Proof { mac, ticket });
    say(wire, &third, deadline)?;
    let welcome: Welcome = decode(&hear(wire, deadline)?)?;
    if let Some(key) = key {
        let level = [welcome.access as u8];
        let known = welcome
            .mac
            .is_some_and(|mac| key.verify(&[b"listener", &hello, &second, &third, &level], &mac));
        if !known {
            return Err(GreetingError::Impostor);
        }
    }
    let derive = |label: &[u8]| Seal::new(key.map(|key| session(key, label, &hello, &second)));
    Ok(Greeted {
        access: welcome.access,
        inbound: derive(b"to client"),
        outbound: derive(b"to listener"),
        transcript: Transcript::new(&hello, &second),
    })
}

/// Receives a caller: `grant` says what one may do that has proved this; `secret` is what the keys of
/// tickets are made from.
pub(super) fn receive<T, Ch: Channel>(
    wire: &mut Wire<Ch>,
    keys: &[AuthKey],
    secret: &AuthKey,
    arbiter: u64,
    deadline: Deadline,
    grant: impl FnOnce(Proved) -> Option<(Access, T)>,
) -> Result<(Greeted, T), GreetingError> {
    let first = hear(wire, deadline)?;
    let hello: Hello = decode(&first)?;
    if hello.version != VERSION {
        return Err(GreetingError::Malformed);
    }
    let second = encode(&Challenge {
        version: VERSION,
        nonce: random()?,
        arbiter,
        keyed: !keys.is_empty(),
    });
    say(wire, &second, deadline)?;
    let third = hear(wire, deadline)?;
    let Proof { mac, ticket } = decode(&third)?;
    let is_proof = |key: &AuthKey| {
        let said: [&[u8]; 3] = [b"client", &first, &second];
        mac.is_some_and(|mac| key.verify(&said, &mac))
    };
    let (proved, key) = match ticket {
        Some(ticket) => {
            let key = AuthKey::new(ticket.key(secret));
            if !is_proof(&key) {
                return Err(GreetingError::Refused);
            }
            (Proved::Ticket(ticket), Some(key))
        }
        None => {
            // All are looked at: how long it takes does not tell which it was.
            let proofs = keys.iter().enumerate().filter(|(_, key)| is_proof(key));
            match proofs.fold(None, |_, proved| Some(proved)) {
                Some((index, key)) => (Proved::Key(index), Some(key.clone())),
                None if mac.is_some() => return Err(GreetingError::Refused),
                None => (Proved::Nothing, None),
            }
        }
    };
    let (access, granted) = grant(proved).ok_or(GreetingError::Refused)?;
    let level = [access as u8];
    let key = key.as_ref();
    let mac = key.map(|key| key.sign(&[b"listener", &first, &second, &third, &level]));
    say(wire, &encode(&Welcome { access, mac }), deadline)?;
    let derive = |label: &[u8]| Seal::new(key.map(|key| session(key, label, &first, &second)));
    let greeted = Greeted {
        access,
        inbound: derive(b"to listener"),
        outbound: derive(b"to client"),
        transcript: Transcript::new(&first, &second),
    };
    Ok((greeted, granted))
}

fn session(key: &AuthKey, label: &[u8], hello: &[u8], challenge: &[u8]) -> AuthKey {
    AuthKey::new(key.sign(&[b"session", label, hello, challenge]))
}

fn say<Ch: Channel>(
    wire: &mut Wire<Ch>,
    frame: &[u8],
    deadline: Deadline,
) -> Result<(), GreetingError> {
    wire.send_bytes(frame, deadline)
        .map_err(|_| GreetingError::Refused)
}

fn hear<Ch: Channel>(wire: &mut Wire<Ch>, deadline: Deadline) -> Result<Vec<u8>, GreetingError> {
    wire.recv_with(deadline, |message| message.bytes().to_vec())
        .map_err(|_| GreetingError::Refused)
}

fn encode<T: Serialize>(frame: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    Bincode
        .encode(frame, &mut bytes)
        .expect("numbers and arrays can be encoded");
    bytes
}

fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, GreetingError> {
    Bincode.decode(frame).map_err(|_| GreetingError::Malformed)
}

/// Bytes that nobody can guess.
pub(super) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
