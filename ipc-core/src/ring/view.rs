//! Reading in place.

use std::fmt;
use std::ops::Range;

use super::{Reservation, RingReader};

/// How many bytes [`Chunks`] copies at a time: little enough to stay in the nearest cache.
const CHUNK_LEN: usize = 1024;

/// Unread bytes of a ring, looked at where they are: [`RingReader::view`].
///
/// The peer can change these bytes at any time, so there is never a reference to them: each method
/// copies what it looks at and answers from the copy. Two looks at the same byte may differ. What
/// must stay as it was checked is copied first, with [`get`](Self::get) or
/// [`copy_to`](Self::copy_to), and used from there.
///
/// Dropping a view leaves everything unread; [`consume`](Self::consume) says how much is done with.
/// All of it is contiguous, wherever in the ring it lies.
///
/// # Examples
///
/// A frame is passed on from one ring to another with one copy, and only its header is looked at:
///
/// ```
/// use ipc_core::{Deadline, Ring};
/// use std::io::{Read, Write};
///
/// let (mut near, mut middle) = Ring::pair()?;
/// let (mut onward, mut far) = Ring::pair()?;
/// near.write_all(b"\x07\0\0\0payload")?;
///
/// let view = middle.reader().view(4, Deadline::Never)?;
/// let len = 4 + u32::from_le_bytes(view.get(0).expect("four bytes are there")) as usize;
/// let view = middle.reader().view(len, Deadline::Never)?;
/// let mut place = onward.writer().reserve(len, Deadline::Never)?;
/// assert!(view.put_into(0..len, &mut place));
/// place.commit();
/// view.consume(len);
///
/// let mut buf = [0; 11];
/// far.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"\x07\0\0\0payload");
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "nothing is done with before `consume`"]
pub struct View<'a> {
    reader: &'a mut RingReader,
    len: usize,
}

impl<'a> View<'a> {
    #[inline]
    pub(super) fn new(reader: &'a mut RingReader, len: usize) -> Self {
        Self { reader, len }
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of the `N` bytes from `offset` on; `None` when they are not all there.
    #[inline]
    pub fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        (end <= self.len).then(|| {
            let mut bytes = [0; N];
            self.reader.look(offset, &mut bytes);
            bytes
        })
    }

    /// Copies the bytes from `offset` on into all of `buf`.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    #[inline]
    pub fn copy_to(&self, offset: usize, buf: &mut [u8]) {
        self.check(offset, buf.len());
        self.reader.look(offset, buf);
    }

    /// Whether `bytes` is what lies from `offset` on; false also when there are fewer.
    pub fn matches(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(end) = offset.checked_add(bytes.len()) else {
            return false;
        };
        if end > self.len {
            return false;
        }
        let (mut chunks, mut rest) = (self.chunks(offset..end), bytes);
        while let Some(chunk) = chunks.next_chunk() {
            let (expected, later) = rest.split_at(chunk.len());
            if chunk != expected {
                return false;
            }
            rest = later;
        }
        true
    }

    /// The bytes of `range`, copied piece by piece into a small buffer, each once.
    ///
    /// # Panics
    ///
    /// When `range` does not lie within the view.
    pub fn chunks(&self, range: Range<usize>) -> Chunks<'_> {
        self.check(range.start, range.end.saturating_sub(range.start));
        Chunks {
            reader: self.reader,
            range,
            buf: [0; CHUNK_LEN],
        }
    }

    /// Combines the bytes of `range`, piece by piece, into one value: a checksum, a count, a search.
    ///
    /// # Examples
    ///
    /// ```
    /// use ipc_core::{Deadline, Ring};
    /// use std::io::Write;
    ///
    /// let (mut ours, mut theirs) = Ring::pair()?;
    /// ours.write_all(&[3; 5000])?;
    /// let view = theirs.reader().view(5000, Deadline::Never)?;
    /// let add = |sum, piece: &[u8]| sum + piece.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    /// assert_eq!(view.fold(0..5000, 0, add), 15_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// When `range` does not lie within the view.
    pub fn fold<T>(&self, range: Range<usize>, init: T, mut f: impl FnMut(T, &[u8]) -> T) -> T {
        let mut chunks = self.chunks(range);
        let mut value = init;
        while let Some(chunk) = chunks.next_chunk() {
            value = f(value, chunk);
        }
        value
    }

    /// Puts the bytes of `range` into another ring, in one copy; false, and nothing put, when they do
    /// not fit.
    ///
    /// # Panics
    ///
    /// When `range` does not lie within the view.
    #[inline]
    pub fn put_into(&self, range: Range<usize>, place: &mut Reservation<'_>) -> bool {
        let len = range.end.saturating_sub(range.start);
        self.check(range.start, len);
        place.put_from(self.reader, range.start, len)
    }

    /// Is done with the first `len` bytes: the peer may write there again.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    #[inline]
    pub fn consume(self, len: usize) {
        self.check(0, len);
        self.reader.release(len);
    }

    #[inline]
    #[track_caller]
    fn check(&self, offset: usize, len: usize) {
        let end = offset.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.len),
            "{len} bytes from {offset} on are not within the {} of the view",
            self.len
        );
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("len", &self.len).finish()
    }
}

/// Copies of the bytes of a [`View`], one after the other: [`View::chunks`].
///
/// It lends each from a buffer of its own, so it is no [`Iterator`].
pub struct Chunks<'a> {
    reader: &'a RingReader,
    range: Range<usize>,
    buf: [u8; CHUNK_LEN],
}

impl Chunks<'_> {
    /// The next bytes, at most 1 KiB of them and never none; `None` at the end.
    pub fn next_chunk(&mut self) -> Option<&[u8]> {
        let len = self.range.len().min(CHUNK_LEN);
        if len == 0 {
            return None;
        }
        let chunk = &mut self.buf[..len];
        self.reader.look(self.range.start, chunk);
        self.range.start += len;
        Some(chunk)
    }
}

impl fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("range", &self.range)
            .finish()
    }
}
