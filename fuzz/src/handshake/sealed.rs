//! What follows the greeting of remote actors.

use ipc_actors::Access;
use ipc_marshal::AuthKey;

use super::greeting::Greeted;
use super::peer::{Peer, Role, encoded};
use super::seal::Seal;
use crate::tape::Tape;

/// The frames after the greeting of remote actors, in both directions.
pub(super) fn sealed<'a>(
    role: Role,
    key: &AuthKey,
    peer: &Peer<'a>,
    mut greeted: Greeted,
) -> Tape<'a> {
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
        if what >= 0xf0 {
            break;
        }
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
    tape
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
