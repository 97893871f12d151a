//! Properties of the crates that hold for any bytes: each function panics when its own does not.
//!
//! A fuzz target calls one of them; `tests/it` replays the committed corpora through all.

mod address;
mod codecs;
mod frames;
mod ring;
mod scheduler;
mod selector;

pub use address::address;
pub use codecs::codecs;
pub use frames::{foreign_frames, native_frames};
pub use ring::ring;
pub use scheduler::scheduler;
pub use selector::selector;
