//! Frames out of any bytes, in any pieces.

use ipc_marshal::{ByteOrder, Decoder, FrameError, FrameKind, Framing, LengthWidth};

/// The longest payload that the decoders here accept, in bytes.
const LIMIT: usize = 1 << 20;

/// How much memory a decoder may hold beyond what was fed to it.
const SLACK: usize = 256 * 1024;

/// Any bytes, in any pieces, give the same native frames and the same error, in bounded memory.
pub fn native_frames(data: &[u8]) {
    same_in_any_pieces(Framing::Native, data);
}

/// The same for the framings of others; the first byte chooses one.
pub fn foreign_frames(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let width =
        [LengthWidth::U16, LengthWidth::U32, LengthWidth::U64][usize::from(choice >> 4) % 3];
    let framing = match choice % 4 {
        0 => Framing::Ductworks,
        1 => Framing::Multiprocessing,
        2 => Framing::Length {
            width,
            order: ByteOrder::Little,
        },
        _ => Framing::Length {
            width,
            order: ByteOrder::Big,
        },
    };
    same_in_any_pieces(framing, data);
}

/// Feeds `data` at once and in pieces whose lengths the data itself gives.
fn same_in_any_pieces(framing: Framing, data: &[u8]) {
    let whole = decode(framing, std::iter::once(data));
    let mut rest = data;
    let mut step = data.len() % 7;
    let pieces = std::iter::from_fn(|| {
        let first = *rest.first()?;
        step = (step + usize::from(first)) % 37;
        let (piece, later) = rest.split_at((step + 1).min(rest.len()));
        rest = later;
        Some(piece)
    });
    let split = decode(framing, pieces);
    assert_eq!(whole, split, "{framing:?} depends on how the bytes arrive");
}

type Decoded = (Vec<(FrameKind, Vec<u8>)>, Result<(), FrameError>);

fn decode<'a>(framing: Framing, pieces: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(framing, LIMIT);
    let mut frames = Vec::new();
    let mut fed = 0;
    for piece in pieces {
        decoder.feed(piece);
        fed += piece.len();
        assert!(
            decoder.capacity() <= 2 * fed + SLACK,
            "{} bytes held after {fed} were fed",
            decoder.capacity()
        );
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    assert!(frame.payload.len() <= LIMIT);
                    frames.push((frame.kind, frame.payload.to_vec()));
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame().err(), Some(error), "an error stays");
                    return (frames, Err(error));
                }
            }
        }
    }
    (frames, decoder.finish())
}
