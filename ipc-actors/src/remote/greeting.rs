//! How two programs show each other that they know the key, before anything else is said.
//!
//! | | frame | what it holds |
//! |---|---|---|
//! | 1 | client | version, 32 random bytes, whether it has a key |
//! | 2 | listener | version, 32 random bytes, its own number, whether it has keys |
//! | 3 | client | HMAC-SHA-256 over `client`, 1 and 2 |
//! | 4 | listener | the granted level, and the HMAC over `listener`, 1, 2, 3 and the level |
//!
//! Neither proof can be used in another connection (the random bytes), in the other direction (the
//! first word) or in place of another (the transcript). The key never travels. Each direction then has
//! a key of its own, made from the shared one and the transcript. The listener says nothing but an end
//! of file, after the same delay, whatever was wrong.

use std::fs::File;
use std::io::{self, Read};

use ipc_core::Deadline;
use ipc_marshal::{AuthKey, Bincode, Codec, Duct};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::seal::Seal;
use crate::Access;

/// A connection before and after the greeting: frames are bytes.
pub(super) type Wire = Duct<(), ()>;

/// The longest frame before the peer is known, in bytes.
pub(super) const GREETING_LEN_MAX: usize = 256;

const VERSION: u16 = 1;

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
}

/// Greets a listener. With a key, the listener must prove that it knows it.
pub(super) fn greet(
    wire: &mut Wire,
    key: Option<&AuthKey>,
    deadline: Deadline,
) -> Result<Greeted, GreetingError> {
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
    if key.is_some() && !challenge.keyed {
        return Err(GreetingError::Impostor);
    }
    let mac = key.map(|key| key.sign(&[b"client", &hello, &second]));
    let third = encode(&Proof { mac });
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
    })
}

/// Receives a caller: `grant` says what one may do that has proved the key of this index, or none.
pub(super) fn receive(
    wire: &mut Wire,
    keys: &[AuthKey],
    arbiter: u64,
    deadline: Deadline,
    grant: impl FnOnce(Option<usize>) -> Option<Access>,
) -> Result<Greeted, GreetingError> {
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
    let proof: Proof = decode(&third)?;
    let mut proved = None;
    if let Some(mac) = proof.mac {
        // All are looked at: how long it takes does not tell which it was.
        for (index, key) in keys.iter().enumerate() {
            if key.verify(&[b"client", &first, &second], &mac) {
                proved = Some(index);
            }
        }
        if proved.is_none() {
            return Err(GreetingError::Refused);
        }
    }
    let access = grant(proved).ok_or(GreetingError::Refused)?;
    let key = proved.and_then(|index| keys.get(index));
    let level = [access as u8];
    let mac = key.map(|key| key.sign(&[b"listener", &first, &second, &third, &level]));
    say(wire, &encode(&Welcome { access, mac }), deadline)?;
    let derive = |label: &[u8]| Seal::new(key.map(|key| session(key, label, &first, &second)));
    Ok(Greeted {
        access,
        inbound: derive(b"to listener"),
        outbound: derive(b"to client"),
    })
}

fn session(key: &AuthKey, label: &[u8], hello: &[u8], challenge: &[u8]) -> AuthKey {
    AuthKey::new(key.sign(&[b"session", label, hello, challenge]))
}

fn say(wire: &mut Wire, frame: &[u8], deadline: Deadline) -> Result<(), GreetingError> {
    wire.send_bytes(frame, deadline)
        .map_err(|_| GreetingError::Refused)
}

fn hear(wire: &mut Wire, deadline: Deadline) -> Result<Vec<u8>, GreetingError> {
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

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
