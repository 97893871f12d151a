//! Python's authentication between two who know a key, in both of its generations.
//!
//! CPython's `multiprocessing.connection` before 3.12 sends 20 random bytes and expects their bare
//! HMAC-MD5; from 3.12 it sends `{sha256}` and 40 random bytes and expects `{sha256}` and the
//! HMAC-SHA256 of all of that. The newer generation is understood by the older: to it the prefix is
//! random bytes like others. This end challenges as the newer one does and answers what it is asked.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use ipc_core::{Channel, Deadline};
use md5::Md5;
use sha2::Sha256;

use crate::{AuthError, Codec, ConnectError, Duct, RecvError, SendError};

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const WELCOME: &[u8] = b"#WELCOME#";
const FAILURE: &[u8] = b"#FAILURE#";
const SHA256: &[u8] = b"{sha256}";

/// How many random bytes a challenge has.
const NONCE: usize = 40;

/// The shortest challenge that is answered: that of the older generation.
const CHALLENGE_MIN: usize = 20;

/// The lengths of the older generation's answers and challenges, which have no prefix.
const BARE: [usize; 2] = [16, 20];

/// The longest message of an authentication that is accepted, in bytes.
const LEN_MAX: usize = 256;

/// A secret that both ends know: Python's `authkey`.
///
/// It is not shown by `Debug`.
#[derive(Clone)]
pub struct AuthKey {
    secret: Arc<[u8]>,
    md5: bool,
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AuthKey")
            .field("md5", &self.md5)
            .finish_non_exhaustive()
    }
}

impl AuthKey {
    /// A key of any length.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self {
            secret: secret.as_ref().into(),
            md5: true,
        }
    }

    /// Refuses peers that know only HMAC-MD5, as CPython before 3.12 does.
    pub fn sha256_only(mut self) -> Self {
        self.md5 = false;
        self
    }

    /// The HMAC-SHA-256 of `parts`, one after the other, under this key: for protocols that do more
    /// than [`Duct::authenticate`]. Parts of changing length need a length before them, or two
    /// divisions of the same bytes have the same tag.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.mac_of(parts).finalize().into_bytes().into()
    }

    /// Whether `tag` is what [`sign`](Self::sign) answers, in constant time.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.mac_of(parts).verify_slice(tag).is_ok()
    }

    fn mac_of(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.mac::<Hmac<Sha256>>(&[]);
        parts.iter().for_each(|part| mac.update(part));
        mac
    }

    /// The answer to what followed `#CHALLENGE#`.
    fn answer(&self, challenge: &[u8]) -> Result<Vec<u8>, AuthError> {
        if challenge.len() < CHALLENGE_MIN {
            return Err(AuthError::Malformed);
        }
        if digest(challenge)? == Digest::Md5 {
            self.allow_md5()?;
            let mac = self.mac::<Hmac<Md5>>(challenge);
            return Ok(mac.finalize().into_bytes().to_vec());
        }
        let mut answer = SHA256.to_vec();
        let mac = self.mac::<Hmac<Sha256>>(challenge);
        answer.extend_from_slice(&mac.finalize().into_bytes());
        Ok(answer)
    }

    /// Whether `answer` is the right one to `challenge`, in constant time.
    fn check(&self, challenge: &[u8], answer: &[u8]) -> Result<(), AuthError> {
        let equal = match digest(answer)? {
            Digest::Md5 => {
                self.allow_md5()?;
                self.mac::<Hmac<Md5>>(challenge).verify_slice(answer)
            }
            Digest::Sha256 => {
                let mac = self.mac::<Hmac<Sha256>>(challenge);
                mac.verify_slice(&answer[SHA256.len()..])
            }
        };
        equal.map_err(|_| AuthError::WrongKey)
    }

    fn allow_md5(&self) -> Result<(), AuthError> {
        if self.md5 {
            return Ok(());
        }
        Err(AuthError::Digest("md5".to_owned()))
    }

    fn mac<M: Mac + KeyInit>(&self, message: &[u8]) -> M {
        let mut mac =
            <M as KeyInit>::new_from_slice(&self.secret).expect("an HMAC takes keys of any length");
        mac.update(message);
        mac
    }
}

#[derive(PartialEq, Eq)]
enum Digest {
    Md5,
    Sha256,
}

/// Which digest a challenge or an answer speaks of.
fn digest(message: &[u8]) -> Result<Digest, AuthError> {
    if BARE.contains(&message.len()) {
        return Ok(Digest::Md5);
    }
    if message.starts_with(SHA256) {
        return Ok(Digest::Sha256);
    }
    let name = message.strip_prefix(b"{").and_then(|rest| {
        let end = rest.iter().take(16).position(|&byte| byte == b'}')?;
        std::str::from_utf8(&rest[..end]).ok()
    });
    Err(name.map_or(AuthError::Malformed, |name| {
        AuthError::Digest(name.to_owned())
    }))
}

/// Who asks first in [`Duct::authenticate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRole {
    /// The end that connected: it answers first.
    Client,
    /// The end that accepted: it asks first.
    Listener,
}

impl<Tx, Rx, C: Codec, Ch: Channel> Duct<Tx, Rx, C, Ch> {
    /// Shows the peer that this end knows `key`, and has the peer show it too, as the first thing on
    /// a duct. [`DuctOptions::auth`](crate::DuctOptions::auth) does it in `connect` and `accept`.
    ///
    /// It keeps strangers out. It does not encrypt, and it does not protect what follows from someone
    /// who can change it on its way. Blocks until `deadline`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Auth`] when one of the two does not know the key, and see [`ConnectError`].
    pub fn authenticate(
        &mut self,
        key: &AuthKey,
        role: AuthRole,
        deadline: Deadline,
    ) -> Result<(), ConnectError> {
        self.greet_by(deadline)?;
        let limit = self.limit_payload(LEN_MAX);
        let done = match role {
            AuthRole::Listener => self
                .challenge(key, deadline)
                .and_then(|()| self.respond(key, deadline)),
            AuthRole::Client => self
                .respond(key, deadline)
                .and_then(|()| self.challenge(key, deadline)),
        };
        self.limit_payload(limit);
        done
    }

    fn challenge(&mut self, key: &AuthKey, deadline: Deadline) -> Result<(), ConnectError> {
        let mut message = CHALLENGE.to_vec();
        message.extend_from_slice(SHA256);
        message.extend_from_slice(&random()?);
        self.say(&message, deadline)?;
        let answer = self.hear(deadline)?;
        match key.check(&message[CHALLENGE.len()..], &answer) {
            Ok(()) => self.say(WELCOME, deadline),
            Err(error) => {
                // The peer learns it if it still listens; the verdict is the same.
                let _ = self.say(FAILURE, deadline);
                Err(ConnectError::Auth(error))
            }
        }
    }

    fn respond(&mut self, key: &AuthKey, deadline: Deadline) -> Result<(), ConnectError> {
        let message = self.hear(deadline)?;
        let answer = message
            .strip_prefix(CHALLENGE)
            .ok_or(AuthError::Malformed)
            .and_then(|challenge| key.answer(challenge))
            .map_err(ConnectError::Auth)?;
        self.say(&answer, deadline)?;
        match self.hear(deadline)?.as_slice() {
            WELCOME => Ok(()),
            FAILURE => Err(ConnectError::Auth(AuthError::Rejected)),
            _ => Err(ConnectError::Auth(AuthError::Malformed)),
        }
    }

    fn say(&mut self, message: &[u8], deadline: Deadline) -> Result<(), ConnectError> {
        self.send_bytes(message, deadline)
            .map_err(|error| match error {
                SendError::Timeout(()) => ConnectError::Timeout,
                SendError::Io { source, .. } => ConnectError::Io(source),
                SendError::Handshake { source, .. } => ConnectError::Handshake(source),
                _ => ConnectError::Disconnected,
            })
    }

    fn hear(&mut self, deadline: Deadline) -> Result<Vec<u8>, ConnectError> {
        let heard = self.recv_with(deadline, |message| message.bytes().to_vec());
        heard.map_err(|error| match error {
            RecvError::Timeout => ConnectError::Timeout,
            RecvError::Io(error) => ConnectError::Io(error),
            RecvError::Handshake(why) => ConnectError::Handshake(why),
            RecvError::Disconnected | RecvError::Truncated { .. } => ConnectError::Disconnected,
            _ => ConnectError::Auth(AuthError::Malformed),
        })
    }
}

fn random() -> io::Result<[u8; NONCE]> {
    let mut bytes = [0; NONCE];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What CPython's `hmac` answers for the key `secret`.
    #[test]
    fn answers_are_cpythons() {
        let key = AuthKey::new("secret");
        let hex = |bytes: Vec<u8>| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let old = key.answer(b"01234567890123456789").unwrap();
        assert_eq!(hex(old), "de61a9de5e6f82b81cfa00ca66947d3c");
        let new = key
            .answer(b"{sha256}0123456789012345678901234567890123456789")
            .unwrap();
        assert_eq!(
            hex(new),
            "7b7368613235367d57221c32cd0aa3e90893e11ffda2be7449c1517591a532039a0a1ee16b4b0f5b"
        );
    }

    /// RFC 4231, test case 2.
    #[test]
    fn signatures_are_hmac_sha256() {
        let key = AuthKey::new("Jefe");
        let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        let tag = key.sign(&parts);
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(key.verify(&parts, &tag));
        assert!(!key.verify(&parts[..1], &tag));
        assert!(!key.verify(&parts, &tag[..31]));
    }

    #[test]
    fn other_digests_are_named() {
        let key = AuthKey::new("secret");
        assert_eq!(
            key.answer(b"{sha3_256}0123456789012345678901234567890123456789"),
            Err(AuthError::Digest("sha3_256".to_owned()))
        );
        assert_eq!(key.answer(b"short"), Err(AuthError::Malformed));
        assert_eq!(
            key.sha256_only().answer(b"01234567890123456789"),
            Err(AuthError::Digest("md5".to_owned()))
        );
    }
}
