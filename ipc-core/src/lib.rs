//! Channels of bytes between processes.

mod address;
mod channel;
mod credentials;
mod deadline;

pub use address::Address;
pub use channel::{Channel, Inbound, Outbound, Readiness};
pub use credentials::Credentials;
pub use deadline::Deadline;
