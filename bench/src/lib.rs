//! Measurements of the crates: see `benches/`.

pub mod events;
