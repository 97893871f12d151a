//! The native framing's introduction, beside the rule in plain words.

use ipc_core::Deadline;
use ipc_marshal::{AnyCodec, Decoder, Duct, DuctOptions, FrameKind, Framing, SendError};

use super::line::Line;
use super::peer::{Peer, Role};
use crate::tape::Tape;

/// The longest introduction that is read.
const LEN_MAX: usize = 1024;

/// The longest message that this side takes.
const LIMIT: usize = 3000;

/// Whether what the peer sent begins with an introduction that fits to `ours`, and the longest message
/// that it takes.
fn fits(framing: Framing, sent: &[u8], ours: &[u8]) -> Option<u64> {
    let mut decoder = Decoder::new(framing, LEN_MAX);
    decoder.feed(sent);
    let frame = decoder.next_frame().ok()??;
    let theirs = frame.payload;
    let named = theirs.get(28).map(|len| usize::from(*len) + 29);
    let whole = frame.kind == FrameKind::Hello && named.is_some_and(|len| theirs.len() >= len);
    let (checks, verifies) = (
        |hello: &[u8]| hello[8] & 2 != 0,
        |hello: &[u8]| hello[8] & 1 != 0,
    );
    // Magic, version and codec; then the hash of what is spoken.
    let same = whole && theirs[..8] == ours[..8] && theirs[20..28] == ours[20..28];
    let sees = same && (!checks(theirs) || verifies(ours)) && (!checks(ours) || verifies(theirs));
    let limit = theirs.get(12..20)?.try_into().ok()?;
    sees.then_some(u64::from_le_bytes(limit))
}

/// Whatever comes first, it is taken for an introduction if and only if it is one that fits, and what
/// is sent after that keeps to the peer's limit.
pub(super) fn introduction(setting: u8, pieces: u8, tape: Tape<'_>) {
    let framing = if setting & 1 == 0 {
        Framing::Native
    } else {
        Framing::NativeChecked
    };
    let codec = AnyCodec::ALL[usize::from(setting >> 1) % AnyCodec::ALL.len()];
    let script = Peer::new(Role::Client, None, framing, pieces, &[], tape);
    let mut duct: Duct<(), (), AnyCodec, Line<Peer<'_>>> = DuctOptions::new()
        .framing(framing)
        .codec(codec)
        .schema(u64::from(setting >> 5))
        .payload_len_max(LIMIT)
        .handshake(true)
        .from_channel(Line::new(script));
    let greeted = duct.greet(std::time::Duration::MAX);
    let peer = &duct.channel().script;
    let ours = peer.introduction.as_deref();
    let theirs = ours.and_then(|ours| fits(framing, &peer.sent, ours));
    assert_eq!(greeted.is_ok(), theirs.is_some(), "{greeted:?}");
    if peer.is_honest {
        assert!(greeted.is_ok(), "an honest peer was refused: {greeted:?}");
    }
    let Some(limit) = theirs else {
        assert!(greeted.is_err_and(|error| !error.to_string().is_empty()));
        return;
    };
    for len in [0, 1, 100, LIMIT, LIMIT + 1] {
        let allowed = len <= LIMIT && len as u64 <= limit;
        match duct.send_bytes(&vec![0; len], Deadline::Never) {
            Ok(()) => assert!(allowed, "{len} bytes were sent, of at most {limit}"),
            Err(SendError::TooLarge { size, .. }) => assert!(!allowed && size == len),
            Err(error) => assert!(matches!(error, SendError::Disconnected(()))),
        }
    }
    // What follows are messages, an end or an error; errors may repeat, but the script ends.
    for _ in 0..64 {
        let received = duct.recv_with(Deadline::Never, |message| message.bytes().len());
        match received {
            Ok(len) => assert!(len <= LIMIT),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
