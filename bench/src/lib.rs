//! Measurements of the crates: see `benches/`.

pub mod events;
pub mod gate;
pub mod hot;
pub mod record;
pub mod report;
