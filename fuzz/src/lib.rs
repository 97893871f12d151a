//! Properties of the crates that hold for any bytes: each function panics when its own does not.
//!
//! A fuzz target calls one of them; `tests/it` replays the committed corpora through all.

// Files of other crates compile here too, without their tests.
#![cfg(not(test))]

mod address;
mod codecs;
mod duct;
mod frames;
mod handshake;
mod journal;
mod placement;
mod restart;
mod ring;
mod scheduler;
mod selector;
mod tape;

pub use address::address;
pub use codecs::codecs;
pub use duct::duct_input;
pub use frames::{foreign_frames, native_frames};
pub use handshake::handshake;
pub use journal::journal;
pub use placement::placement;
pub use restart::restart;
pub use ring::ring;
pub use scheduler::scheduler;
pub use selector::selector;

/// The exchange's placement has no public face: it is pure, so its files compile here too.
#[path = "../../ipc-exchange/src/plan/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is whole there, and here only what the property needs is used"
)]
mod plan;

/// What the files of the actors know by these paths.
use ipc_actors::{Access, ActorId};
mod command {
    use ipc_marshal::{Bincode, Codec, EncodeError};
    use serde::Serialize;

    pub(crate) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Bincode.encode(value, out)
    }
}
