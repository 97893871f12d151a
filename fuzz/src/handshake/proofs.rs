//! Who proves to know a key, and who does not.

use std::sync::OnceLock;

use ipc_actors::Access;
use ipc_core::Deadline;
use ipc_marshal::{AuthKey, AuthRole, Bincode, Decoder, Duct, DuctOptions, FrameKind, Framing};

use super::greeting::{self, GREETING_LEN_MAX, Greeted};
use super::introduction::introduction;
use super::line::Line;
use super::peer::{Peer, Role, encoded};
use super::seal::Seal;
use crate::tape::Tape;

type Wire<'a> = Duct<(), (), Bincode, Line<Peer<'a>>>;

fn key() -> AuthKey {
    AuthKey::new("what both ends know").sha256_only()
}

fn wire(framing: Framing, script: Peer<'_>) -> Wire<'_> {
    DuctOptions::new()
        .framing(framing)
        .handshake(true)
        .from_channel(Line::new(script))
}

/// Runs the side under test. With a key, what it makes of the peer; `Ok(None)` is success that leaves
/// nothing behind.
fn run(role: Role, key: Option<&AuthKey>, wire: &mut Wire<'_>) -> Result<Option<Greeted>, String> {
    let never = Deadline::Never;
    match role {
        Role::Listener | Role::Client => {
            let side = if role == Role::Listener {
                AuthRole::Listener
            } else {
                AuthRole::Client
            };
            let key = key.expect("these hand-shakes are for those who have one");
            let done = wire.authenticate(key, side, never);
            done.map(|()| None).map_err(|error| error.to_string())
        }
        Role::Called => {
            wire.limit_payload(GREETING_LEN_MAX);
            let keys: Vec<AuthKey> = key
                .into_iter()
                .flat_map(|key| [AuthKey::new("another"), key.clone()])
                .collect();
            let grant = |proved: Option<usize>| match proved {
                Some(_) => Some(Access::Authenticated),
                None => Some(Access::Public),
            };
            let greeted = greeting::receive(wire, &keys, 9, never, grant);
            greeted.map(Some).map_err(|error| error.to_string())
        }
        Role::Caller => {
            wire.limit_payload(GREETING_LEN_MAX);
            let greeted = greeting::greet(wire, key, never);
            greeted.map(Some).map_err(|error| error.to_string())
        }
    }
}

/// What an honest peer said on another connection, under the same key.
fn recorded(role: Role) -> &'static [Vec<u8>] {
    static RECORDS: [OnceLock<Vec<Vec<u8>>>; 4] = [const { OnceLock::new() }; 4];
    RECORDS[role as usize].get_or_init(|| {
        let framing = Framing::Native;
        let script = Peer::new(role, Some(key()), framing, 0, &[], Tape(&[]));
        let mut wire = wire(framing, script);
        let done = run(role, Some(&key()), &mut wire);
        assert!(done.is_ok(), "{role:?} refuses an honest peer");
        wire.channel().script.honest.clone()
    })
}

/// Any bytes from the peer, in any pieces, at any step, end in an error or a right hand-shake, in
/// bounded memory. Frames with a bit changed, reflected ones and those of another connection are
/// refused; what is sealed under the key of a connection is taken once, whole and in order.
///
/// The first byte chooses the hand-shake, the second its setting, the third how the bytes are cut;
/// those that follow say what the peer does.
pub fn handshake(data: &[u8]) {
    let Some((&[which, setting, pieces], rest)) = data.split_first_chunk() else {
        return;
    };
    let tape = Tape(rest);
    let role = match which % 5 {
        0 => return introduction(setting, pieces, tape),
        1 => Role::Listener,
        2 => Role::Client,
        3 => Role::Called,
        _ => Role::Caller,
    };
    let arbiters = matches!(role, Role::Called | Role::Caller);
    let framing = match setting & 3 {
        0 | 1 => Framing::Native,
        2 => Framing::NativeChecked,
        _ if arbiters => Framing::Native,
        _ => Framing::Multiprocessing,
    };
    let ours = (!arbiters || setting & 4 == 0).then(key);
    let theirs = match setting >> 3 & 3 {
        0 | 1 => ours.clone(),
        2 => Some(AuthKey::new("not what the other end knows")),
        _ => None,
    };
    let knows = setting >> 3 & 3 <= 1;
    let script = Peer::new(role, theirs, framing, pieces, recorded(role), tape);
    let mut wire = wire(framing, script);
    let done = run(role, ours.as_ref(), &mut wire);
    let peer = &wire.channel().script;
    let greeted = match done {
        Err(error) => {
            assert!(!error.is_empty());
            assert!(
                !(knows && peer.is_honest),
                "an honest peer was refused: {error}"
            );
            return;
        }
        Ok(greeted) => greeted,
    };
    let is_stranger = greeted
        .as_ref()
        .is_some_and(|greeted| greeted.access == Access::Public);
    let Some(key) = ours.filter(|_| role == Role::Caller || !is_stranger) else {
        return;
    };
    judge(role, framing, peer, knows);
    if let Some(greeted) = greeted {
        assert_eq!(greeted.access, Access::Authenticated);
        sealed(role, &key, peer, greeted);
    }
}

/// It said yes: rightly?
fn judge(role: Role, framing: Framing, peer: &Peer<'_>, knows: bool) {
    assert!(knows, "a peer that does not know the key was let in");
    let mut decoder = Decoder::new(framing, 1 << 20);
    decoder.feed(&peer.sent);
    let mut said = Vec::new();
    while let Ok(Some(frame)) = decoder.next_frame() {
        if matches!(frame.kind, FrameKind::Message | FrameKind::Acked) {
            said.push(frame.payload.to_vec());
        }
    }
    let (at, proof) = peer.proof(&said).expect("it has come so far");
    assert_eq!(said.get(at), Some(&proof), "a proof that is none");
    // In the arbiters' greeting the proofs cover all else that is said.
    if matches!(role, Role::Called | Role::Caller) {
        assert_eq!(said, peer.honest, "a frame was changed, and taken");
    }
}

/// The frames after the greeting of remote actors, in both directions.
fn sealed(role: Role, key: &AuthKey, peer: &Peer<'_>, mut greeted: Greeted) {
    let (hello, challenge) = match role {
        Role::Called => (&peer.honest[0], &peer.heard[0]),
        _ => (&peer.heard[0], &peer.honest[0]),
    };
    if role == Role::Called {
        let (proof, level) = (&peer.honest[1], Access::Authenticated);
        let parts: [&[u8]; 5] = [b"listener", hello, challenge, proof, &[level as u8]];
        let welcome = encoded(&(level, Some(key.sign(&parts))));
        assert_eq!(peer.heard.get(1), Some(&welcome));
    }
    let session = |label: &[u8]| AuthKey::new(key.sign(&[b"session", label, hello, challenge]));
    let (mut to, mut from) = (session(b"to listener"), session(b"to client"));
    if role == Role::Caller {
        std::mem::swap(&mut to, &mut from);
    }
    let sealed = |key: &AuthKey, number: u64, payload: &[u8]| {
        [&key.sign(&[&number.to_le_bytes(), payload])[..], payload].concat()
    };
    let mut tape = peer.tape();
    let (mut number, mut answered) = (0_u64, 0_u64);
    let mut earlier: Vec<Vec<u8>> = Vec::new();
    while !tape.0.is_empty() {
        let what = tape.next();
        let len = usize::from(tape.next() & 31);
        let payload = tape.take(len);
        let right = sealed(&to, number, payload);
        let frame = match what % 8 {
            0 | 1 => right.clone(),
            2 => {
                let mut changed = right.clone();
                let bit = tape.number() % (changed.len() * 8);
                changed[bit / 8] ^= 1 << (bit % 8);
                changed
            }
            3 => {
                let at = usize::from(tape.next()) % earlier.len().max(1);
                earlier.get(at).cloned().unwrap_or_default()
            }
            4 => sealed(&to, number + 1 + u64::from(tape.next()), payload),
            5 => answer(&mut greeted.outbound, &from, &mut answered, payload),
            6 => right[..tape.number() % right.len()].to_vec(),
            _ => [&right[..32], payload, &[0]].concat(),
        };
        let opened = greeted.inbound.open(&frame);
        assert_eq!(
            opened,
            (frame == right).then_some(payload),
            "frame {number}"
        );
        if opened.is_some() {
            number += 1;
            earlier.push(right);
        }
    }
}

/// Seals a frame of the side under test, as the peer knows that it must be.
fn answer(outbound: &mut Seal, key: &AuthKey, number: &mut u64, payload: &[u8]) -> Vec<u8> {
    let frame = outbound.seal(payload.to_vec());
    let tag = key.sign(&[&number.to_le_bytes(), payload]);
    assert_eq!(frame, [&tag[..], payload].concat());
    outbound.sent();
    *number += 1;
    frame
}
