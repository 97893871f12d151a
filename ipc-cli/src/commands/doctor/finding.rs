//! One limit or feature, and how it stands here.

use serde::Serialize;

/// How a limit or feature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Nothing to say.
    Ok,
    /// It works, at the cost that the finding names.
    Limited,
    /// What needs it does not work.
    Missing,
    /// This system does not tell.
    Unknown,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }

    /// `Ok` or [`State::Limited`].
    pub(super) fn enough(is: bool) -> Self {
        if is { Self::Ok } else { Self::Limited }
    }
}

/// What was looked at, what was found, and what it costs to lack it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    #[serde(rename = "finding")]
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) found: String,
    /// What it costs to lack it, or to have too little of it.
    #[serde(rename = "without")]
    pub(super) cost: &'static str,
}

impl Finding {
    pub(super) fn new(
        name: &'static str,
        state: State,
        found: impl Into<String>,
        cost: &'static str,
    ) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            cost,
        }
    }

    /// Of something that this system does not tell.
    pub(super) fn unknown(name: &'static str, cost: &'static str) -> Self {
        Self::new(name, State::Unknown, "not told here", cost)
    }
}
