//! What went wrong, as a value that can travel.

use std::any::Any;
use std::error::Error;
use std::fmt;

/// Why there will be no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "marshal", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum FailureKind {
    /// The operation answered an error.
    Failed,
    /// The operation panicked.
    Panicked,
    /// Whoever was to complete it is gone.
    Abandoned,
}

/// A failure with its chain of causes and, if it happened elsewhere, the backtrace from there.
///
/// It is text rather than the error itself, so that it can be cloned, compared and sent to another
/// process, where the error's type may not exist. For the same reason [`Error::source`] is none: the
/// causes are in [`causes`](Self::causes).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "marshal", derive(serde::Serialize, serde::Deserialize))]
pub struct Failure {
    kind: FailureKind,
    message: String,
    causes: Vec<String>,
    backtrace: Option<String>,
}

/// Deeper chains are cut: an error may be its own source.
const CAUSES_MAX: usize = 32;

impl Failure {
    /// A failure that is explained by `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Failed,
            message: message.into(),
            causes: Vec::new(),
            backtrace: None,
        }
    }

    /// The failure that a panic is, with what it said if it was text.
    pub fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self {
            kind: FailureKind::Panicked,
            message: text.unwrap_or("a panic without a message").to_owned(),
            causes: Vec::new(),
            backtrace: None,
        }
    }

    /// The failure of an operation that nobody will complete any more.
    pub fn abandoned() -> Self {
        Self {
            kind: FailureKind::Abandoned,
            ..Self::new("nobody will complete it any more")
        }
    }

    /// Adds the backtrace of where it happened.
    #[must_use]
    pub fn with_backtrace(mut self, backtrace: impl Into<String>) -> Self {
        self.backtrace = Some(backtrace.into());
        self
    }

    /// What happened in general.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What happened, without the causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The causes, the nearest first.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        self.causes.iter().map(String::as_str)
    }

    /// The backtrace of where it happened, if it was taken.
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// Takes an error's message and those of its sources.
impl From<&(dyn Error + 'static)> for Failure {
    fn from(error: &(dyn Error + 'static)) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next.filter(|_| causes.len() < CAUSES_MAX) {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self {
            causes,
            ..Self::new(error.to_string())
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::from(&error as &(dyn Error + 'static))
    }
}
