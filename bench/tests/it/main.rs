//! What the hot paths allocate, exactly, and that reports are written.

mod allocations;
mod counting;
mod report;
