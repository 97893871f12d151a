//! How a port is found.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How a port is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A TCP endpoint.
    Tcp(SocketAddr),
    /// A unix socket at a path.
    Unix(PathBuf),
}
