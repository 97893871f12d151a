//! Properties of the crates that hold for any bytes: each function panics when its own does not.
//!
//! A fuzz target calls one of them; `tests/it` replays the committed corpora through all.

mod address;
mod codecs;
mod frames;
mod journal;
#[cfg(not(test))]
mod placement;
mod ring;
mod scheduler;
mod selector;

pub use address::address;
pub use codecs::codecs;
pub use frames::{foreign_frames, native_frames};
pub use journal::journal;
#[cfg(not(test))]
pub use placement::placement;
pub use ring::ring;
pub use scheduler::scheduler;
pub use selector::selector;

/// The exchange's placement has no public face: it is pure, so its files compile here too, without
/// their tests.
#[cfg(not(test))]
#[path = "../../ipc-exchange/src/plan/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "it is whole there, and here only what the property needs is used"
)]
mod plan;
