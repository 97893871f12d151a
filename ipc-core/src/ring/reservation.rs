//! Writing in place.

use std::io::{self, Write};

use super::{RingReader, RingWriter};

/// Room in a ring to be written in place: [`RingWriter::reserve`].
///
/// Bytes go straight into the shared memory, once. The peer sees them all at once at
/// [`commit`](Self::commit), or never when this is dropped.
///
/// # Examples
///
/// A frame whose length is known only after its payload was encoded:
///
/// ```
/// use ipc_core::{Channel, Deadline, Ring};
/// use std::io::{Read, Write};
///
/// let (ours, mut theirs) = Ring::pair()?;
/// let (_, mut writer) = ours.split()?;
/// let mut frame = writer.reserve(64, Deadline::Never)?;
/// frame.write_all(&[0; 4])?;
/// frame.write_all(b"payload")?;
/// let len = frame.filled() as u32 - 4;
/// frame.put_at(0, &len.to_le_bytes());
/// frame.commit();
///
/// let mut buf = [0; 11];
/// theirs.read_exact(&mut buf)?;
/// assert_eq!(&buf, b"\x07\0\0\0payload");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent before `commit`"]
pub struct Reservation<'a> {
    writer: &'a mut RingWriter,
    len: usize,
    filled: usize,
}

impl<'a> Reservation<'a> {
    #[inline]
    pub(super) fn new(writer: &'a mut RingWriter, len: usize) -> Self {
        Self {
            writer,
            len,
            filled: 0,
        }
    }

    /// How many bytes may still be put.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.len - self.filled
    }

    /// How many bytes were put.
    #[inline]
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// Puts all of `bytes` behind what was put before; false, and nothing put, when they do not fit.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.remaining() {
            return false;
        }
        self.writer.put(self.filled, bytes);
        self.filled += bytes.len();
        true
    }

    /// Puts `len` unread bytes from `offset` on, which the caller has checked to be there.
    #[inline]
    pub(super) fn put_from(&mut self, reader: &RingReader, offset: usize, len: usize) -> bool {
        if len > self.remaining() {
            return false;
        }
        self.writer.put_from(self.filled, reader, offset, len);
        self.filled += len;
        true
    }

    /// Overwrites bytes that were put before.
    ///
    /// # Panics
    ///
    /// When `offset + bytes.len()` is more than [`filled`](Self::filled).
    #[inline]
    pub fn put_at(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(
            end.is_some_and(|end| end <= self.filled),
            "only what was put can be overwritten"
        );
        self.writer.put(offset, bytes);
    }

    /// Makes what was put visible to the peer, all at once, and wakes it if it sleeps. Answers how
    /// many bytes that were; the rest of the reservation is free again.
    #[inline]
    pub fn commit(self) -> usize {
        if self.filled > 0 {
            self.writer.commit(self.filled);
        }
        self.filled
    }
}

impl Write for Reservation<'_> {
    /// Puts what fits; 0 when the reservation is full.
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = buf.len().min(self.remaining());
        self.put(&buf[..len]);
        Ok(len)
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
