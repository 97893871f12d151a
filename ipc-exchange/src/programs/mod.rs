//! Many programs, a limited number at a time.

mod options;
mod owner;
mod state;
mod watch;

pub use options::ProgramsOptions;
pub use owner::{ProgramError, Programs};
