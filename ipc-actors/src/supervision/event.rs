//! What goes into a supervisor and comes out of it.

use super::ExitReason;

/// Names a child of one supervisor; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildKey(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Start the children, in order.
    Boot,
    /// The child finished its start.
    Started(ChildKey),
    /// The child finished its start by saying that it has nothing to do: OTP's `ignore`.
    Ignored(ChildKey),
    /// The child could not be started, or ended before its start was finished.
    StartFailed(ChildKey, ExitReason),
    /// The child ended.
    Exited(ChildKey, ExitReason),
    /// Time passed; see [`Supervisor::poll_timeout`](super::Supervisor::poll_timeout).
    Tick,
    /// Stop all children, then end with this reason. A second one changes nothing: the clocks of the
    /// children that are stopping already go on.
    Stop(ExitReason),
    /// Like `Stop`, but every child is killed at once.
    Kill(ExitReason),
}

/// What is to be done. Every `Start` is answered by `Started`, `Ignored`, `StartFailed` or `Exited`;
/// every `Stop` and `Kill` by `Exited`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the child.
    Start(ChildKey),
    /// Ask the child to stop.
    Stop(ChildKey),
    /// End the child without asking.
    Kill(ChildKey),
    /// A child added or restarted by hand could not be started.
    Rejected(ChildKey, ExitReason),
    /// The child is gone and so is its specification.
    Removed(ChildKey),
    /// All children given before [`Event::Boot`] are started.
    Ready,
    /// The child failed more often than the intensity allows; the supervisor is about to stop.
    GaveUp(ChildKey),
    /// No child is left: the supervisor has ended.
    Ended(ExitReason),
}

/// Why a child could not be added, stopped, restarted or deleted by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperviseError {
    /// There is a child with this name.
    #[error("a child with this name is already there")]
    AlreadyPresent,
    /// There is no such child.
    #[error("no such child")]
    NotFound,
    /// The child is running.
    #[error("the child is running")]
    Running,
    /// The child is being restarted.
    #[error("the child is being restarted")]
    Restarting,
    /// A permanent child cannot be significant, and nothing is significant to a supervisor that never
    /// ends by itself.
    #[error(
        "a permanent child, or a child of a supervisor without auto shutdown, is never significant"
    )]
    Significant,
    /// The supervisor is ending or has ended.
    #[error("the supervisor is ending")]
    Ending,
}
