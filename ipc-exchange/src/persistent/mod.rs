//! Background tasks that outlive the process that started them.

mod message;
mod publisher;
mod reader;
mod start;

pub use publisher::Publisher;
pub(crate) use publisher::run_detached;
pub use reader::{Reader, ReaderError};
pub use start::start_persistent;
