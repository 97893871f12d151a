//! The root of the tree: the loop, what it supervises, and the handle by which it is reached.

mod config;
mod drain;
mod groups;
mod handle;
mod leaving;
mod node;
mod pool;
mod process;
mod report;
mod root;
mod shelter;
mod signals;
mod silence;
mod slot;
mod time;
mod tree;
mod watch;
mod wishes;

pub(crate) use config::{Configure, Exhausted};
pub(crate) use handle::find_here;
pub use handle::{Arbiter, Spawning};
pub use node::SupervisorSpec;
pub(crate) use pool::Crew;
pub use pool::PoolInfo;
pub(crate) use process::control_options;
pub use root::{ArbiterLoop, ArbiterOptions, ArbiterThread};
pub use shelter::OnArbiterDeath;
pub(crate) use slot::{AnySlot, Seed};
pub(crate) use tree::{NodeId, Tree};
pub use watch::Down;
pub(crate) use wishes::whereabouts;
