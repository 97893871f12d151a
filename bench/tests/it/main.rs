//! What the hot paths allocate, exactly, what the cells print, and that reports are written.

mod allocations;
mod cells;
mod counting;
mod report;
