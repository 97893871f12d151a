//! Python's pickles, plain data only.
//!
//! Writing is the serde-pickle crate's. Reading is done here: that crate reads classes as good as it
//! can, and a few hostile bytes make it allocate gigabytes (each `MARK` reserves room for 128 values)
//! or run for ever (memo entries are copied at every use).

mod format;
mod machine;
mod value;

pub use format::Pickle;
