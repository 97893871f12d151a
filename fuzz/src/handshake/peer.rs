//! The other side of a hand-shake: what an honest one would say, and what this one makes of it.

use std::io::ErrorKind;

use ipc_actors::Access;
use ipc_marshal::{AuthKey, Bincode, Codec, Decoder, FrameKind, Framing};
use serde::Serialize;

use super::line::{Script, Turn};
use super::ticket::Ticket;
use crate::tape::Tape;

const CHALLENGE: &[u8] = b"#CHALLENGE#";
const SHA256: &[u8] = b"{sha256}";
/// What an honest peer chooses; it need not be random to be judged.
const NONCE: [u8; 32] = *b"thirty-two bytes, not so random.";

/// Which hand-shake it is, named by what the side under test is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It accepts, and authenticates as Python's connections do.
    Listener,
    /// It connects, and authenticates so.
    Client,
    /// It is an arbiter that is called.
    Called,
    /// It calls an arbiter.
    Caller,
}

/// One end of a connection on which each frame may be what it should be, or something else.
#[derive(Debug)]
pub(super) struct Peer<'a> {
    role: Role,
    key: Option<AuthKey>,
    /// What the key belongs to, unless it is the arbiter's own.
    pub(super) ticket: Option<Ticket>,
    framing: Framing,
    /// What an honest one said on an earlier connection.
    recorded: &'a [Vec<u8>],
    tape: Tape<'a>,
    /// How long pieces are, at most; all at once if zero.
    pieces: usize,
    decoder: Decoder,
    /// What the side under test has said.
    pub(super) introduction: Option<Vec<u8>>,
    pub(super) heard: Vec<Vec<u8>>,
    /// What an honest one would have said so far.
    pub(super) honest: Vec<Vec<u8>>,
    pub(super) sent: Vec<u8>,
    /// Whether all it did was honest.
    pub(super) is_honest: bool,
    introduced: bool,
    turns: usize,
}

/// The payload of `value` as the arbiter's side encodes it.
pub(super) fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoded = Bincode.encode(value, &mut bytes);
    encoded.expect("numbers and arrays can be encoded");
    bytes
}

impl<'a> Peer<'a> {
    pub(super) fn new(
        role: Role,
        key: Option<AuthKey>,
        framing: Framing,
        pieces: u8,
        recorded: &'a [Vec<u8>],
        tape: Tape<'a>,
    ) -> Self {
        Self {
            role,
            key,
            ticket: None,
            framing,
            recorded,
            tape,
            pieces: pieces.into(),
            decoder: Decoder::new(framing, 1 << 20),
            introduction: None,
            heard: Vec::new(),
            honest: Vec::new(),
            sent: Vec::new(),
            is_honest: true,
            introduced: !framing.is_native(),
            turns: 0,
        }
    }

    /// What is left of the tape.
    pub(super) fn tape(&self) -> Tape<'a> {
        self.tape.clone()
    }

    fn sign(&self, parts: &[&[u8]]) -> Option<[u8; 32]> {
        self.key.as_ref().map(|key| key.sign(parts))
    }

    fn frame(&self, kind: FrameKind, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let frame = self.framing.begin(&mut bytes);
        bytes.extend_from_slice(payload);
        let framed = self.framing.finish(frame, kind, 0, &mut bytes);
        framed.expect("a short payload can be framed");
        bytes
    }

    /// What an honest peer says next; nothing if it would go.
    fn answer(&self) -> Option<Vec<u8>> {
        match self.role {
            Role::Listener | Role::Client => self.as_in_python(),
            Role::Called => self.as_caller(),
            Role::Caller => self.as_arbiter(),
        }
    }

    fn as_in_python(&self) -> Option<Vec<u8>> {
        let step = self.honest.len();
        let heard = |at: usize| self.heard.get(at).map(Vec::as_slice);
        let tagged = |challenge: &[u8]| -> Option<Vec<u8>> {
            Some([SHA256, self.sign(&[challenge])?.as_slice()].concat())
        };
        let own = [SHA256, &NONCE, &NONCE[..8]].concat();
        let verdict = |answer: Option<&[u8]>| -> Option<Vec<u8>> {
            let right = answer? == tagged(&own)?;
            Some(
                if right {
                    &b"#WELCOME#"[..]
                } else {
                    b"#FAILURE#"
                }
                .to_vec(),
            )
        };
        match (self.role, step) {
            (Role::Listener, 0) => tagged(heard(0)?.strip_prefix(CHALLENGE)?),
            (Role::Listener, 1) if heard(1)? == b"#WELCOME#" => Some([CHALLENGE, &own].concat()),
            (Role::Listener, 2) => verdict(heard(2)),
            (Role::Client, 0) => Some([CHALLENGE, &own].concat()),
            (Role::Client, 1) => verdict(heard(0)),
            (Role::Client, 2) => tagged(heard(1)?.strip_prefix(CHALLENGE)?),
            _ => None,
        }
    }

    /// Calls the arbiter under test.
    fn as_caller(&self) -> Option<Vec<u8>> {
        match self.honest.len() {
            0 => Some(encoded(&(2_u16, NONCE, self.key.is_some()))),
            1 => {
                let challenge = self.heard.first()?;
                let mac = self.sign(&[b"client", &self.honest[0], challenge]);
                Some(encoded(&(mac, &self.ticket)))
            }
            _ => None,
        }
    }

    /// Is the arbiter that is called.
    fn as_arbiter(&self) -> Option<Vec<u8>> {
        let (hello, proof) = (self.heard.first()?, self.heard.get(1));
        match self.honest.len() {
            0 => Some(encoded(&(2_u16, NONCE, 9_u64, self.key.is_some()))),
            1 => {
                let (challenge, proof) = (&self.honest[0], proof?);
                let mac = self.sign(&[b"client", hello, challenge]);
                let right = encoded(&(mac, &self.ticket));
                if *proof != right {
                    return None;
                }
                let level = Access::Authenticated;
                let parts: [&[u8]; 5] = [b"listener", hello, challenge, proof, &[level as u8]];
                Some(encoded(&(level, self.sign(&parts))))
            }
            _ => None,
        }
    }

    /// The one frame that proves that this end knows the key, if it has said `said` before.
    pub(super) fn proof(&self, said: &[Vec<u8>]) -> Option<(usize, Vec<u8>)> {
        let heard = |at: usize| self.heard.get(at).map(Vec::as_slice);
        let tagged = |challenge: &[u8]| -> Option<Vec<u8>> {
            let challenge = challenge.strip_prefix(CHALLENGE)?;
            Some([SHA256, self.sign(&[challenge])?.as_slice()].concat())
        };
        let mac = |parts: &[&[u8]]| self.sign(parts).map(Some);
        let first = said.first()?;
        Some(match self.role {
            Role::Listener => (0, tagged(heard(0)?)?),
            Role::Client => (2, tagged(heard(1)?)?),
            Role::Called => {
                let mac = mac(&[b"client", first, heard(0)?])?;
                (1, encoded(&(mac, &self.ticket)))
            }
            Role::Caller => {
                let level = Access::Authenticated;
                let parts: [&[u8]; 5] = [b"listener", heard(0)?, first, heard(1)?, &[level as u8]];
                (1, encoded(&(level, mac(&parts)?)))
            }
        })
    }

    /// The next thing, which is what an honest one would do unless the tape says otherwise.
    fn act(&mut self) -> Turn {
        let what = self.tape.next() % 10;
        // The other end of a native duct introduces itself by the same facts, so by the same bytes.
        let kind = if self.introduced {
            FrameKind::Message
        } else {
            FrameKind::Hello
        };
        let step = self.honest.len();
        let right = if self.introduced {
            let right = self.answer();
            self.honest.extend(right.clone());
            right
        } else {
            self.introduced = true;
            self.introduction.clone()
        };
        let right = right.map(|payload| self.frame(kind, &payload));
        if what <= 2 {
            return right.map_or(Turn::End, Turn::Bytes);
        }
        self.is_honest = false;
        match (what, right) {
            (3 | 4, Some(mut bytes)) => {
                let bit = self.tape.number() % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                Turn::Bytes(bytes)
            }
            (5, _) => {
                let reflected = self.heard.last().cloned().unwrap_or_default();
                Turn::Bytes(self.frame(kind, &reflected))
            }
            (6, _) => {
                let at = usize::from(self.tape.next() & 3).max(step);
                let replayed = self.recorded.get(at).cloned().unwrap_or_default();
                Turn::Bytes(self.frame(kind, &replayed))
            }
            (7, _) => {
                let len = self.tape.next();
                let payload = self.tape.take(len.into());
                Turn::Bytes(self.frame(kind, payload))
            }
            (8, _) => {
                let len = self.tape.number();
                Turn::Bytes(self.tape.take(len).to_vec())
            }
            (_, Some(mut bytes)) => {
                bytes.truncate(self.tape.number() % bytes.len());
                self.turns = TURNS_MAX;
                Turn::Bytes(bytes)
            }
            (_, None) => {
                let kinds = [
                    ErrorKind::ConnectionReset,
                    ErrorKind::TimedOut,
                    ErrorKind::BrokenPipe,
                    ErrorKind::Other,
                ];
                Turn::Error(kinds[usize::from(self.tape.next() & 3)])
            }
        }
    }
}

/// After how many turns it goes at the latest.
const TURNS_MAX: usize = 32;

impl Script for Peer<'_> {
    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
        loop {
            let next = self.decoder.next_frame();
            let Some(frame) = next.expect("the side under test keeps to the framing") else {
                break;
            };
            match frame.kind {
                FrameKind::Hello => self.introduction = Some(frame.payload.to_vec()),
                FrameKind::Message => self.heard.push(frame.payload.to_vec()),
                // A changed bit asked for it.
                FrameKind::Ack | FrameKind::Acked => {}
            }
        }
    }

    fn turn(&mut self) -> Turn {
        self.turns += 1;
        if self.turns > TURNS_MAX {
            return Turn::End;
        }
        let turn = self.act();
        if let Turn::Bytes(bytes) = &turn {
            self.sent.extend_from_slice(bytes);
        }
        turn
    }

    fn piece(&mut self) -> usize {
        if self.pieces == 0 {
            return usize::MAX;
        }
        // Any course through the lengths will do, as long as it is always the same.
        self.pieces = self.pieces * 37 % 251 + 1;
        self.pieces % 61 + 1
    }
}
