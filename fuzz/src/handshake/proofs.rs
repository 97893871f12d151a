//! Who proves to know a key, and who does not.

use std::sync::OnceLock;

use ipc_actors::Access;
use ipc_core::Deadline;
use ipc_marshal::{
    AuthKey, AuthRole, Bincode, Codec, Decoder, Duct, DuctOptions, FrameKind, Framing,
};

use super::greeting::{self, GREETING_LEN_MAX, Greeted, Proved, Shown};
use super::introduction::introduction;
use super::line::Line;
use super::peer::{Peer, Role};
use super::raise::raised;
use super::sealed::sealed;
use super::ticket::{Rights, Ticket};
use crate::tape::Tape;

type Wire<'a> = Duct<(), (), Bincode, Line<Peer<'a>>>;

fn key() -> AuthKey {
    AuthKey::new("what both ends know").sha256_only()
}

/// What the keys of tickets are made from.
fn secret() -> AuthKey {
    AuthKey::new("of the arbiter alone")
}

/// A ticket, narrowed as often as `times` says, and its key.
fn ticket(times: u8) -> (Ticket, AuthKey) {
    let actor = Bincode.decode(&[7]).expect("a number is an id");
    let rights = Rights::new().access(Access::Peer);
    let mut given = Ticket::grant(&secret(), actor, "desk", rights);
    for number in 0..times {
        let less = Rights::all()
            .commands(["read", "add"])
            .incarnation(number.into());
        given = given.0.narrow(given.1, less);
    }
    (given.0, AuthKey::new(given.1))
}

/// What this side has, and what the peer has.
struct Keys {
    ours: Option<AuthKey>,
    theirs: Option<AuthKey>,
    ticket: Option<Ticket>,
    /// Whether the peer has what it needs.
    is_right: bool,
}

impl Keys {
    fn new(role: Role, setting: u8) -> Self {
        let arbiters = matches!(role, Role::Called | Role::Caller);
        let (ticket, right) = if arbiters && setting & 0x20 != 0 {
            let (ticket, right) = ticket(setting >> 6);
            (Some(ticket), Some(right))
        } else {
            (None, (!arbiters || setting & 4 == 0).then(key))
        };
        let is_right = setting >> 3 & 3 <= 1;
        let theirs = match setting >> 3 & 3 {
            0 | 1 => right.clone(),
            2 => Some(AuthKey::new("not what the other end knows")),
            _ => None,
        };
        Self {
            ours: right,
            theirs,
            ticket,
            is_right,
        }
    }
}

fn wire(framing: Framing, script: Peer<'_>) -> Wire<'_> {
    DuctOptions::new()
        .framing(framing)
        .handshake(true)
        .from_channel(Line::new(script))
}

/// Runs the side under test, and answers what it makes of the peer; nothing is left behind where
/// Python's connections authenticate.
fn run(role: Role, keys: &Keys, wire: &mut Wire<'_>) -> Result<Option<Greeted>, String> {
    let never = Deadline::Never;
    let ours = keys.ours.as_ref();
    match role {
        Role::Listener | Role::Client => {
            let side = if role == Role::Listener {
                AuthRole::Listener
            } else {
                AuthRole::Client
            };
            let key = ours.expect("these hand-shakes are for those who have one");
            let done = wire.authenticate(key, side, never);
            done.map(|()| None).map_err(|error| error.to_string())
        }
        Role::Called => {
            wire.limit_payload(GREETING_LEN_MAX);
            let ours = ours.filter(|_| keys.ticket.is_none());
            let known: Vec<AuthKey> = ours
                .into_iter()
                .flat_map(|key| [AuthKey::new("another"), key.clone()])
                .collect();
            let grant = |proved: Proved| match proved {
                Proved::Nothing => Some((Access::Public, ())),
                Proved::Key(index) => (index == 1).then_some((Access::Authenticated, ())),
                Proved::Ticket(ticket) => {
                    assert_eq!(
                        Some(&ticket),
                        keys.ticket.as_ref(),
                        "a ticket out of nothing"
                    );
                    ticket.warrant().map(|_| (Access::Authenticated, ()))
                }
            };
            let greeted = greeting::receive(wire, &known, &secret(), 9, never, grant);
            greeted
                .map(|(greeted, ())| Some(greeted))
                .map_err(|error| error.to_string())
        }
        Role::Caller => {
            wire.limit_payload(GREETING_LEN_MAX);
            let shown = match (ours, &keys.ticket) {
                (Some(key), Some(ticket)) => Shown::Ticket(ticket, key),
                (Some(key), None) => Shown::Key(key),
                (None, _) => Shown::Nothing,
            };
            let greeted = greeting::greet(wire, shown, never);
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
        let done = run(role, &Keys::new(role, 0), &mut wire);
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
    let keys = Keys::new(role, setting);
    let theirs = keys.theirs.clone();
    let mut script = Peer::new(role, theirs, framing, pieces, recorded(role), tape);
    script.ticket.clone_from(&keys.ticket);
    let mut wire = wire(framing, script);
    let done = run(role, &keys, &mut wire);
    let peer = &wire.channel().script;
    let greeted = match done {
        Err(error) => {
            assert!(!error.is_empty());
            assert!(
                !(keys.is_right && peer.is_honest),
                "an honest peer was refused: {error}"
            );
            return;
        }
        Ok(greeted) => greeted,
    };
    let is_stranger = greeted
        .as_ref()
        .is_some_and(|greeted| greeted.access == Access::Public);
    let Some(key) = keys.ours.filter(|_| role == Role::Caller || !is_stranger) else {
        return;
    };
    judge(role, framing, peer, keys.is_right);
    if let Some(greeted) = greeted {
        assert_eq!(greeted.access, Access::Authenticated);
        let transcript = greeted.transcript.clone();
        let tape = sealed(role, &key, peer, greeted);
        raised(role, peer, transcript, tape);
    }
}

/// It said yes: rightly?
fn judge(role: Role, framing: Framing, peer: &Peer<'_>, is_right: bool) {
    assert!(is_right, "a peer that does not know the key was let in");
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
