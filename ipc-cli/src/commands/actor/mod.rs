//! `ipc-cli actor`: an application of actors, and what an operator does with one.

mod args;
mod operate;
mod serve;
mod tree;

pub(crate) use args::{ActorArgs, Target};
pub(crate) use operate::{connect, run, show};
pub(crate) use tree::{pool_rows, rows, summary};
