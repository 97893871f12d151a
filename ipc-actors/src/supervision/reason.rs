//! Why an actor ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why an actor ended.
///
/// `Normal`, `Shutdown` and `ShutdownWith` are the clean ends of OTP, after which a transient child is
/// not restarted; everything else is a failure. The variants beyond OTP's say what happened to a
/// process, which a virtual machine never has to ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// The actor finished its work.
    Normal,
    /// It was asked to stop and did.
    Shutdown,
    /// It stopped cleanly and gave this as its reason: OTP's `{shutdown, Term}`.
    ShutdownWith(String),
    /// A hook or handler answered with an error.
    Failed(String),
    /// A hook or handler panicked with this text.
    Panicked(String),
    /// Its start failed with this text.
    StartFailed(String),
    /// It had not said it was ready when its start time-out had passed.
    StartTimeout,
    /// It was ended by its supervisor because it did not stop within its shutdown time-out.
    Killed,
    /// It was ended because it was alive and made no progress with one message within its time-out.
    Stuck,
    /// It was ended because it gave no sign of life within its time-out: stopped by a signal, say, or
    /// without a processor.
    Silent,
    /// Its process exited with this status without saying goodbye.
    Exited(i32),
    /// Its process was ended by a signal.
    Signalled {
        /// The number of the signal.
        signal: i32,
        /// Whether the system wrote a core file.
        core: bool,
    },
    /// The system killed its process because memory ran out: for all, or in the control group that
    /// limits it.
    OutOfMemory,
    /// The connection to it was lost, or how its process ended is not known.
    LinkLost,
    /// There is no such actor: OTP's `noproc`.
    NoSuchActor,
    /// An actor linked to it ended with the reason inside.
    Linked(Box<ExitReason>),
}

impl ExitReason {
    /// Whether a transient child that ends so is left alone.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("finished"),
            Self::Shutdown => f.write_str("shut down"),
            Self::ShutdownWith(text) => write!(f, "shut down: {text}"),
            Self::Failed(text) => write!(f, "failed: {text}"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::StartFailed(text) => write!(f, "start failed: {text}"),
            Self::StartTimeout => f.write_str("did not start in time"),
            Self::Killed => f.write_str("killed after its shutdown time-out"),
            Self::Stuck => f.write_str("killed because it was stuck"),
            Self::Silent => f.write_str("killed because it gave no sign of life"),
            Self::Exited(status) => write!(f, "process exited with status {status}"),
            Self::Signalled { signal, core } => {
                write!(f, "process ended by signal {signal}")?;
                if let Some(name) = signal_name(*signal) {
                    write!(f, " ({name})")?;
                }
                if *core {
                    f.write_str(" with a core file")
                } else {
                    Ok(())
                }
            }
            Self::OutOfMemory => f.write_str("process killed because memory ran out"),
            Self::LinkLost => f.write_str("connection lost"),
            Self::NoSuchActor => f.write_str("no such actor"),
            Self::Linked(reason) => write!(f, "a linked actor ended: {reason}"),
        }
    }
}

/// The name of a signal that ends processes, where its number is the same on all systems or known for
/// this one.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        7 if cfg!(target_os = "linux") => "SIGBUS",
        31 if cfg!(target_os = "linux") => "SIGSYS",
        _ => return None,
    })
}
