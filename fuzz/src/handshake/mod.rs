//! The hand-shakes: of the native framing, of Python's connections, and of remote actors.

mod introduction;
mod line;
mod peer;
mod proofs;
mod raise;
mod sealed;

pub use proofs::handshake;

/// The greeting of remote actors has no public face without an arbiter and its threads: its files
/// compile here too, and run over a channel in memory.
#[path = "../../../ipc-actors/src/remote/greeting.rs"]
mod greeting;
#[path = "../../../ipc-actors/src/remote/seal.rs"]
#[expect(
    dead_code,
    reason = "it is whole there, and here only what the property needs is used"
)]
mod seal;
#[path = "../../../ipc-actors/src/remote/ticket.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is whole there, and here only what the property needs is used"
)]
mod ticket;
