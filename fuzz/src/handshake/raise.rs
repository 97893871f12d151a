//! Keys that are proved later on a connection.

use ipc_actors::Access;
use ipc_marshal::AuthKey;

use super::greeting::Transcript;
use super::peer::{Peer, Role};
use crate::tape::Tape;

/// Both sides prove a key to each other as often as they like; a proof counts for its own attempt, side
/// and level, and the keys that follow are new.
pub(super) fn raised(role: Role, peer: &Peer<'_>, mut transcript: Transcript, mut tape: Tape<'_>) {
    let (hello, challenge) = match role {
        Role::Called => (&peer.honest[0], &peer.heard[0]),
        _ => (&peer.heard[0], &peer.honest[0]),
    };
    let frames = [hello.as_slice(), challenge.as_slice()].concat();
    let levels = [
        Access::Public,
        Access::Authenticated,
        Access::Peer,
        Access::Supervisor,
    ];
    let mut before = None;
    for attempt in 1..=u64::from(tape.next() % 4) {
        transcript.attempt();
        let key = AuthKey::new([tape.next() & 1]);
        let sign =
            |label: &[u8], more: &[u8]| key.sign(&[label, &frames, &attempt.to_le_bytes(), more]);
        let raise = transcript.raise(&key);
        let level = levels[usize::from(tape.next() & 3)];
        let (claim, welcome) = (raise.claim(), raise.welcome(level));
        assert_eq!(claim, sign(b"client again", &[]));
        assert_eq!(welcome, sign(b"listener again", &[level as u8]));
        assert!(raise.is_claim(&claim) && raise.is_welcome(level, &welcome));
        assert!(!raise.is_claim(&welcome) && !raise.is_welcome(level, &claim));
        let mut changed = claim;
        let bit = tape.number() % 256;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!raise.is_claim(&changed), "bit {bit}");
        for other in levels {
            assert_eq!(raise.is_welcome(other, &welcome), other == level);
        }
        let (mut inbound, mut outbound) = (raise.to_client(), raise.to_client());
        let frame = outbound.seal(b"to client".to_vec());
        outbound.sent();
        assert_eq!(raise.to_listener().open(&frame), None, "it was turned back");
        assert_eq!(inbound.open(&frame), Some(&b"to client"[..]));
        if let Some((claim, frame)) = before.replace((claim, frame)) {
            assert!(!raise.is_claim(&claim), "a proof of the attempt before");
            let opened = raise.to_client().open(&frame);
            assert_eq!(opened, None, "a frame from before");
        }
    }
}
