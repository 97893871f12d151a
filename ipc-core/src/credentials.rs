//! Who is at the other end.

/// The process at the other end of a local channel, as the kernel recorded it when the channel was
/// made. It cannot be forged by the peer; the process may have ended since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process id; `None` on systems that do not tell.
    pub pid: Option<u32>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}
