//! The rules for frames, without any input or output: bytes in, frames out, and back.

mod decoder;
mod ductworks;
mod header;
mod length;
mod multiprocessing;
mod native;
mod rule;

pub use decoder::{Decoder, Frame};
pub use header::FrameKind;
pub use length::{ByteOrder, LengthWidth};
pub use rule::{Framing, OpenFrame};
