//! The hot paths, each ready to be done over and over.
//!
//! What they cost is looked at three ways: `benches/gate.rs` counts instructions, `tests/it` counts
//! allocations, the criterion benches take the time.

pub mod channels;
pub mod events;
pub mod frames;
pub mod mailboxes;
#[cfg(not(test))]
pub mod placement;

/// The exchange's placement, which has no public face: it is pure, so its files compile here too,
/// without its tests.
#[cfg(not(test))]
#[path = "../../../ipc-exchange/src/plan/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "it is whole there, and here only the way of one task through it is taken"
)]
mod plan;

/// How often an operation is done before it counts: buffers have grown to their size by then.
const WARM_UP: usize = 100;

/// One operation, warmed up.
pub struct Hot(Box<dyn FnMut()>);

impl Hot {
    fn new(operation: impl FnMut() + 'static) -> Self {
        let mut hot = Self(Box::new(operation));
        hot.times(WARM_UP);
        hot
    }

    /// Does it once.
    #[inline]
    pub fn once(&mut self) {
        (self.0)();
    }

    /// Does it `count` times.
    #[inline]
    pub fn times(&mut self, count: usize) {
        for _ in 0..count {
            self.once();
        }
    }
}

impl std::fmt::Debug for Hot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hot").finish_non_exhaustive()
    }
}
