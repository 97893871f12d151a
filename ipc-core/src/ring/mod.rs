//! Channels in shared memory.
//!
//! A ring is two lanes, one per direction, and each lane is one memfd and one socket. Bytes go through
//! the memory; the socket is the lifeline (end of file means that the other side is gone) and the
//! doorbell (a packet wakes a side that sleeps in an event loop). The two lanes share nothing, so the
//! halves of a split ring never meet.

mod budget;
mod channel;
mod handshake;
mod lane;
mod position;
mod reader;
mod reservation;
mod view;
mod writer;

pub use budget::Wait;
pub use channel::{Ring, RingOptions};
pub use lane::RingStats;
pub use reader::RingReader;
pub use reservation::Reservation;
pub use view::{Chunks, View};
pub use writer::RingWriter;

pub(crate) use handshake::join;
