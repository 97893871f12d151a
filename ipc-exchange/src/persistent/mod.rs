//! Background tasks that outlive the process that started them.

mod publisher;
mod reader;
mod start;

pub use publisher::Publisher;
pub(crate) use publisher::run_detached;
pub use reader::{Reader, ReaderError};
pub use start::start_persistent;

use serde::{Deserialize, Serialize};

use crate::wire::Payload;

/// From a background process to its reader.
#[derive(Debug, Serialize, Deserialize)]
enum ToReader {
    /// A result; it is kept until it is acknowledged.
    Item { seq: u64, value: Payload },
    /// Every result was acknowledged and no more will come.
    End,
    /// The reader will get nothing, and why.
    Refused(String),
}

/// From a reader to the background process.
#[derive(Debug, Serialize, Deserialize)]
enum FromReader {
    /// The first message: what the reader takes the results to be.
    Hello { protocol: u32, types: String },
    /// Results up to this one were taken.
    Ack { seq: u64 },
}
