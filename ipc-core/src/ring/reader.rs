//! The reading half of a ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::lane::{Lane, RingStats};
use super::position::handed_over;
use super::{View, Wait};
use crate::delegate::read_by_deadline;
use crate::sys::SharedMemory;
use crate::{Deadline, Inbound, Readiness};

/// Space is given back in pieces of this many bytes, so that the writer can go on meanwhile.
const PIECE_LEN: usize = 64 << 10;

/// The reading half of a [`Ring`](crate::Ring).
#[derive(Debug)]
pub struct RingReader {
    lane: Lane,
    /// How many bytes were ever read: authoritative; the shared word is a copy for the writer.
    head: u64,
    /// The writer's position as last seen and checked: `head <= tail <= head + capacity`.
    tail: u64,
    attachments_seen: u32,
    nonblocking: bool,
}

impl RingReader {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            head: 0,
            tail: 0,
            attachments_seen: 0,
            nonblocking: false,
        }
    }

    /// How many bytes can be read without waiting.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) when the peer forged its position.
    pub fn available(&mut self) -> io::Result<usize> {
        self.refresh()?;
        Ok(self.unread())
    }

    /// All that is unread, to be looked at in place, waiting until `deadline` for at least `len` bytes.
    ///
    /// There are fewer than `len` only when the peer has closed its end or died. With `len` 0 it never
    /// waits and may answer an empty view.
    ///
    /// The peer's writer may sleep until half of the ring is free. So `len` is at most half of the
    /// [`capacity`](Self::capacity), or both sides might wait for each other.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when `len` is more than half of the capacity, else
    /// as [`read_deadline`](Inbound::read_deadline); what has come by then stays unread.
    #[inline]
    pub fn view(&mut self, len: usize, deadline: Deadline) -> io::Result<View<'_>> {
        if len == 0 || self.unread() < len {
            self.fill_up(len, deadline)?;
        }
        let unread = self.unread();
        Ok(View::new(self, unread))
    }

    /// How many bytes this direction holds.
    pub fn capacity(&self) -> usize {
        self.lane.memory.capacity()
    }

    /// Counters of this half.
    pub fn stats(&self) -> RingStats {
        self.lane.stats
    }

    /// Changes how this half waits.
    pub fn set_wait(&mut self, wait: Wait) {
        self.lane.set_wait(wait);
    }

    pub(super) fn set_nonblocking(&mut self, nonblocking: bool) {
        self.nonblocking = nonblocking;
    }

    #[inline]
    fn deadline(&self) -> Deadline {
        if self.nonblocking {
            Deadline::Now
        } else {
            Deadline::Never
        }
    }

    #[inline]
    fn unread(&self) -> usize {
        // At most the capacity, which is a `usize`.
        self.tail.wrapping_sub(self.head) as usize
    }

    /// Looks at the writer's position, and believes it only if it is possible.
    #[inline]
    fn refresh(&mut self) -> io::Result<()> {
        // Acquire pairs with the release in the writer's `publish`: the bytes before the position
        // are there.
        let tail = self.lane.memory.tail().load(Ordering::Acquire);
        let told = tail.wrapping_sub(self.head);
        let capacity = self.lane.memory.capacity() as u64;
        handed_over(self.unread() as u64, told, capacity)?;
        if tail != self.tail {
            self.tail = tail;
            self.lane.progress();
        }
        Ok(())
    }

    /// Waits until there is a byte; false at the end of file.
    #[inline]
    fn fill(&mut self, deadline: Deadline) -> io::Result<bool> {
        if self.unread() > 0 {
            return Ok(true);
        }
        self.refresh()?;
        if self.unread() > 0 {
            return Ok(true);
        }
        let head = self.head;
        let ready = |memory: &SharedMemory| memory.tail().load(Ordering::Relaxed) != head;
        self.lane.wait(deadline, ready, ready)?;
        // When the peer is gone its last position is final and still has to be read.
        self.refresh()?;
        Ok(self.unread() > 0)
    }

    /// Waits until there are `len` bytes, or no more will come.
    fn fill_up(&mut self, len: usize, deadline: Deadline) -> io::Result<()> {
        let half = self.capacity() / 2;
        if len > half {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{len} bytes are more than the {half} that can be waited for"),
            ));
        }
        let mut has_waited = false;
        loop {
            // Looked at before the position, which is final then.
            let is_over = self.lane.peer_gone();
            self.refresh()?;
            if self.unread() >= len || is_over {
                return Ok(());
            }
            // A peer that sends byte by byte must not stretch the deadline.
            if has_waited && deadline.is_expired() {
                return Err(deadline.expired());
            }
            let (head, tail) = (self.head, self.tail);
            self.lane.wait(
                deadline,
                |memory| memory.tail().load(Ordering::Relaxed).wrapping_sub(head) >= len as u64,
                |memory| memory.tail().load(Ordering::Relaxed) != tail,
            )?;
            has_waited = true;
        }
    }

    #[inline]
    fn copy_out(&mut self, buf: &mut [u8]) {
        for piece in buf.chunks_mut(PIECE_LEN) {
            self.look(0, piece);
            self.release(piece.len());
        }
    }

    /// Copies unread bytes, which begin `offset` after the first one.
    #[inline]
    pub(super) fn look(&self, offset: usize, buf: &mut [u8]) {
        debug_assert!(offset + buf.len() <= self.unread(), "only what is unread");
        self.lane
            .memory
            .read(self.head.wrapping_add(offset as u64), buf);
    }

    /// Where unread bytes are, for a copy that this side does not look at.
    #[inline]
    pub(super) fn source(&self, offset: usize) -> (&SharedMemory, u64) {
        (&self.lane.memory, self.head.wrapping_add(offset as u64))
    }

    /// Gives the first `len` unread bytes back to the writer.
    #[inline]
    pub(super) fn release(&mut self, len: usize) {
        debug_assert!(len <= self.unread(), "only what is unread");
        self.head = self.head.wrapping_add(len as u64);
        // Release: the bytes were read before the writer may overwrite them. Pairs with the
        // acquire in the writer's `refresh`.
        self.lane.memory.head().store(self.head, Ordering::Release);
        let (tail, half) = (self.tail, self.lane.memory.capacity() as u64 / 2);
        let head = self.head;
        // A writer that waits for room is woken when half of the ring is free, not for each byte.
        self.lane.publish(|_| tail.wrapping_sub(head) <= half);
    }

    /// How many bytes may be read before those that the next descriptors belong to, and the
    /// descriptors of the next byte.
    fn attachment(&mut self) -> io::Result<(usize, Vec<OwnedFd>)> {
        // Relaxed: ordered by the acquire of the position, which was published after it.
        let sent = self.lane.memory.attachments().load(Ordering::Relaxed);
        if sent != self.attachments_seen {
            self.attachments_seen = sent;
            self.lane.drain()?;
        }
        let mut fds = Vec::new();
        let behind = |position: u64, head: u64| position.wrapping_sub(head).cast_signed() <= 0;
        while let Some(next) = self.lane.attached.pop_front() {
            if behind(next.position, self.head) {
                fds.extend(next.fds);
            } else {
                let gap = next.position.wrapping_sub(self.head);
                self.lane.attached.push_front(next);
                return Ok((usize::try_from(gap).unwrap_or(usize::MAX), fds));
            }
        }
        Ok((usize::MAX, fds))
    }
}

impl Inbound for RingReader {
    fn inbound(&self) -> BorrowedFd<'_> {
        self.lane.socket.as_fd()
    }

    #[inline]
    fn read_deadline(&mut self, buf: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        if buf.is_empty() || !self.fill(deadline)? {
            return Ok(0);
        }
        let len = buf.len().min(self.unread());
        self.copy_out(&mut buf[..len]);
        Ok(len)
    }

    fn read_with_fds(
        &mut self,
        buf: &mut [u8],
        fds: &mut Vec<OwnedFd>,
        deadline: Deadline,
    ) -> io::Result<usize> {
        if buf.is_empty() || !self.fill(deadline)? {
            return Ok(0);
        }
        let (until_next, attached) = self.attachment()?;
        fds.extend(attached);
        let len = buf.len().min(self.unread()).min(until_next);
        self.copy_out(&mut buf[..len]);
        Ok(len)
    }

    fn arm_inbound(&mut self) -> io::Result<Readiness> {
        if self.unread() > 0 {
            return Ok(Readiness::Ready);
        }
        let head = self.head;
        self.lane
            .arm(|memory| memory.tail().load(Ordering::Relaxed) != head)
    }

    #[inline]
    fn poll_inbound(&mut self) -> Option<bool> {
        // Relaxed: whoever reads next looks again, with an acquire.
        let tail = self.lane.memory.tail().load(Ordering::Relaxed);
        Some(tail != self.head || self.lane.peer_gone())
    }
}

read_by_deadline!(RingReader);
