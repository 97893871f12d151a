//! The default codec.
//!
//! All that this workspace uses of the bincode crate is in this folder, so that another implementation
//! of the same format can replace it; the golden vectors in the tests pin the format: little-endian,
//! integers of variable length, no field names. Writing is the crate's; reading what a peer sent is
//! done in `reader`, within stricter bounds than the crate's size limit.

mod format;
mod reader;
mod writer;
