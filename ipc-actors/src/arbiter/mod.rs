//! The root of the tree: the loop, what it supervises, and the handle by which it is reached.

mod handle;
mod process;
mod root;
mod slot;
mod tree;

pub use handle::{Arbiter, Spawning};
pub use root::{ArbiterLoop, ArbiterOptions, ArbiterThread};
pub(crate) use tree::Tree;
