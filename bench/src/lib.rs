//! Measurements of the crates: see `benches/`.
