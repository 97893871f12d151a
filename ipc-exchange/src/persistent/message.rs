//! What a background process and its reader say to each other.

use serde::{Deserialize, Serialize};

use crate::payload::Payload;

/// From a background process to its reader.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToReader {
    /// A result; it is kept until it is acknowledged.
    Item { seq: u64, value: Payload },
    /// Every result was acknowledged and no more will come.
    End,
    /// The reader will get nothing, and why.
    Refused(String),
}

/// From a reader to the background process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromReader {
    /// The first message: what the reader takes the results to be.
    Hello { protocol: u32, types: String },
    /// Results up to this one were taken.
    Ack { seq: u64 },
}
