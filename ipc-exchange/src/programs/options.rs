//! How programs are kept.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Programs;

/// Options of [`Programs`]: pprocess's `limit`, `continuous` and `autoclose`.
///
/// Its fourth, `reuse`, is for functions with one result:
/// [`ExchangeOptions::reuse`](crate::ExchangeOptions::reuse). A program is reused by talking to it.
#[derive(Clone, Debug)]
pub struct ProgramsOptions {
    pub(super) limit: usize,
    pub(super) continuous: bool,
    pub(super) autoclose: bool,
}

impl Default for ProgramsOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgramsOptions {
    /// As many programs at a time as this process may use processors, each of which may say any
    /// number of things and is forgotten once it has ended.
    pub fn new() -> Self {
        Self {
            limit: std::thread::available_parallelism().map_or(1, usize::from),
            continuous: true,
            autoclose: true,
        }
    }

    /// How many are alive at a time, at most; at least 1.
    pub fn limit(mut self, programs: usize) -> Self {
        self.limit = programs.max(1);
        self
    }

    /// Whether a program says more than one thing (the default). If not, its first message is its
    /// result: what it sends after that fails there as `Disconnected`. It keeps its place until its
    /// process has ended, so that there are never more of them than the limit.
    pub fn continuous(mut self, continuous: bool) -> Self {
        self.continuous = continuous;
        self
    }

    /// Whether a program that has ended is forgotten once all that it said was stored (the default).
    /// If not, [`Programs::exit`] tells how it ended until it was removed.
    pub fn autoclose(mut self, autoclose: bool) -> Self {
        self.autoclose = autoclose;
        self
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open<In, Out>(self) -> io::Result<Programs<In, Out>>
    where
        In: Serialize + Send + 'static,
        Out: DeserializeOwned + Send + 'static,
    {
        Programs::open(&self)
    }
}
