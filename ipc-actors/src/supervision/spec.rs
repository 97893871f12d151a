//! What a supervisor is told about itself and its children.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Backoff;

/// Whether a child that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Unless it ended cleanly ([`ExitReason::is_clean`](super::ExitReason::is_clean)).
    Transient,
    /// Never, not even when the supervisor itself stopped it because of a sibling. The
    /// specification is forgotten when the child ends.
    Temporary,
}

/// How long a child that was asked to stop may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Shutdown {
    /// It is not asked: it is killed at once.
    Kill,
    /// It is asked, and killed after this long.
    After(Duration),
    /// It is asked, and waited for without limit. For children that are supervisors, whose own
    /// children have limits.
    Unlimited,
}

impl Default for Shutdown {
    /// Five seconds, as OTP gives a worker.
    fn default() -> Self {
        Self::After(Duration::from_secs(5))
    }
}

/// What a supervisor knows of one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildPolicy {
    /// Whether it is started again when it ends.
    pub restart: Restart,
    /// How long its stop may take.
    pub shutdown: Shutdown,
    /// How long its start may take; `None` for no limit. Not in OTP, where a start that hangs blocks
    /// the supervisor.
    pub start_timeout: Option<Duration>,
    /// Whether its end by itself counts for [`AutoShutdown`]. Refused for permanent children.
    pub significant: bool,
}

impl Default for ChildPolicy {
    /// Permanent, five seconds to stop, ten to start, not significant.
    fn default() -> Self {
        Self {
            restart: Restart::Permanent,
            shutdown: Shutdown::default(),
            start_timeout: Some(Duration::from_secs(10)),
            significant: false,
        }
    }
}

/// Who else is restarted when a child fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Strategy {
    /// Nobody.
    #[default]
    OneForOne,
    /// Everybody: stopped in reverse order, started in order.
    OneForAll,
    /// Those that were started after it, in the same way.
    RestForOne,
}

/// Whether a supervisor ends when children end by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AutoShutdown {
    /// No; significant children are refused.
    #[default]
    Never,
    /// When any significant child has ended by itself.
    AnySignificant,
    /// When the last of the significant children has ended by itself.
    AllSignificant,
}

/// What a supervisor is told about itself. The defaults are OTP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorOptions {
    /// Who else is restarted when a child fails.
    pub strategy: Strategy,
    /// How many restarts are allowed within `period`; one more and the supervisor gives up. Zero
    /// means never to restart.
    pub intensity: u32,
    /// The length of the sliding window in which restarts are counted. A restart exactly `period`
    /// ago still counts.
    pub period: Duration,
    /// Whether the supervisor ends when its children end by themselves.
    pub auto_shutdown: AutoShutdown,
    /// How long restarts are put off. Not in OTP.
    pub backoff: Backoff,
}

impl Default for SupervisorOptions {
    fn default() -> Self {
        Self {
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
            backoff: Backoff::NONE,
        }
    }
}
