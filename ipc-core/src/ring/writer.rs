//! The writing half of a ring.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::lane::{Lane, RingStats};
use super::position::handed_over;
use super::reservation::Reservation;
use super::{RingReader, Wait};
use crate::delegate::write_by_deadline;
use crate::sys::{self, Interest, SharedMemory};
use crate::{Deadline, Outbound, Readiness, wait};

/// Bytes are published in pieces of this many, so that the reader can begin meanwhile.
const PIECE_LEN: usize = 64 << 10;

/// The writing half of a [`Ring`](crate::Ring). Dropping it ends its direction.
#[derive(Debug)]
pub struct RingWriter {
    lane: Lane,
    /// How many bytes were ever written: authoritative; the shared word is a copy for the reader.
    tail: u64,
    /// The reader's position as last seen and checked: `tail - capacity <= head <= tail`.
    head: u64,
    attachments: u32,
    nonblocking: bool,
}

impl RingWriter {
    pub(super) fn new(lane: Lane) -> Self {
        Self {
            lane,
            tail: 0,
            head: 0,
            attachments: 0,
            nonblocking: false,
        }
    }

    /// Reserves `len` bytes of the ring to be written in place, waiting until `deadline` for room.
    ///
    /// Nothing is visible to the peer before [`Reservation::commit`]; a reservation that is dropped
    /// never happened.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when `len` is more than the capacity, else as
    /// [`write_deadline`](Outbound::write_deadline).
    #[inline]
    pub fn reserve(&mut self, len: usize, deadline: Deadline) -> io::Result<Reservation<'_>> {
        if len > self.capacity() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{len} bytes are more than the ring's {}", self.capacity()),
            ));
        }
        self.make_room(len, deadline)?;
        Ok(Reservation::new(self, len))
    }

    /// Reserves all that is free now, perhaps nothing.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the peer is gone,
    /// [`InvalidData`](io::ErrorKind::InvalidData) when it forged its position.
    #[inline]
    pub fn reserve_free(&mut self) -> io::Result<Reservation<'_>> {
        self.check_open()?;
        // Half of the ring is enough for most; the peer's position is a cache line to fetch.
        if self.free() < self.capacity() / 2 {
            self.refresh()?;
        }
        let len = self.free();
        Ok(Reservation::new(self, len))
    }

    /// How many bytes this direction holds.
    #[inline]
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
    fn free(&self) -> usize {
        // The difference is at most the capacity.
        self.capacity() - self.tail.wrapping_sub(self.head) as usize
    }

    #[inline]
    fn check_open(&self) -> io::Result<()> {
        if self.lane.is_closed() || self.lane.peer_gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Looks at the reader's position, and believes it only if it is possible.
    #[inline]
    fn refresh(&mut self) -> io::Result<()> {
        // Acquire pairs with the release in the reader's `copy_out`: it is done with those bytes.
        let head = self.lane.memory.head().load(Ordering::Acquire);
        let capacity = self.capacity() as u64;
        // The room: how far the reader's position is past the one that fills the ring.
        let told = head.wrapping_sub(self.tail.wrapping_sub(capacity));
        handed_over(self.free() as u64, told, capacity)?;
        if head != self.head {
            self.head = head;
            self.lane.progress();
        }
        Ok(())
    }

    /// Waits until `len` bytes are free.
    #[inline]
    fn make_room(&mut self, len: usize, deadline: Deadline) -> io::Result<()> {
        self.check_open()?;
        if self.free() >= len {
            return Ok(());
        }
        self.make_room_slow(len, deadline)
    }

    #[cold]
    #[inline(never)]
    fn make_room_slow(&mut self, len: usize, deadline: Deadline) -> io::Result<()> {
        let capacity = self.capacity();
        let mut has_waited = false;
        loop {
            self.refresh()?;
            if self.free() >= len {
                return Ok(());
            }
            // A position that comes and goes must not stretch the deadline.
            if has_waited && deadline.is_expired() {
                return Err(deadline.expired());
            }
            let tail = self.tail;
            let free = |memory: &SharedMemory| {
                let head = memory.head().load(Ordering::Relaxed);
                // A forged position is found out by `refresh`.
                capacity.saturating_sub(tail.wrapping_sub(head) as usize)
            };
            let enough = len.max(capacity / 8);
            self.lane.wait(
                deadline,
                |memory| free(memory) >= enough,
                |memory| free(memory) >= len,
            )?;
            self.check_open()?;
            has_waited = true;
        }
    }

    /// Copies the first `len` of `bufs` behind the tail and publishes them piece by piece.
    #[inline]
    fn copy_in(&mut self, bufs: &[IoSlice<'_>], mut len: usize) {
        for buf in bufs {
            let buf = &buf[..buf.len().min(len)];
            len -= buf.len();
            for piece in buf.chunks(PIECE_LEN) {
                self.lane.memory.write(self.tail, piece);
                self.tail = self.tail.wrapping_add(piece.len() as u64);
                if piece.len() == PIECE_LEN {
                    self.publish();
                }
            }
        }
        self.publish();
    }

    #[inline]
    fn publish(&mut self) {
        // Release: the bytes before the position are there for who reads it. Pairs with the acquire
        // in the reader's `refresh`.
        self.lane.memory.tail().store(self.tail, Ordering::Release);
        self.lane.publish(|_| true);
    }

    /// Writes into the reserved part; `offset` and the bytes are within it.
    #[inline]
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.lane
            .memory
            .write(self.tail.wrapping_add(offset as u64), bytes);
    }

    /// Copies unread bytes of another ring into the reserved part; all lies within the one and the other.
    #[inline]
    pub(super) fn put_from(&mut self, offset: usize, reader: &RingReader, from: usize, len: usize) {
        let (source, from) = reader.source(from);
        let position = self.tail.wrapping_add(offset as u64);
        self.lane.memory.write_from(position, source, from, len);
    }

    /// Publishes the first `len` reserved bytes.
    #[inline]
    pub(super) fn commit(&mut self, len: usize) {
        self.tail = self.tail.wrapping_add(len as u64);
        self.publish();
    }

    /// Sends descriptors ahead of the byte they belong to.
    fn attach(&mut self, fds: &[BorrowedFd<'_>], deadline: Deadline) -> io::Result<()> {
        let packet = self.tail.to_le_bytes();
        let socket = self.lane.socket.as_fd();
        self.lane.stats.system_calls += 1;
        // A full queue of packets is waited for like a full ring.
        let sent = wait::until(socket, Interest::Write, deadline, |_| {
            sys::send_packet(socket, &packet, fds)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            sent => sent?,
        }
        self.attachments = self.attachments.wrapping_add(1);
        // Relaxed: the position that is published next carries it along.
        self.lane
            .memory
            .attachments()
            .store(self.attachments, Ordering::Relaxed);
        Ok(())
    }
}

impl Outbound for RingWriter {
    fn outbound(&self) -> BorrowedFd<'_> {
        self.lane.socket.as_fd()
    }

    fn is_doorbell(&self) -> bool {
        true
    }

    #[inline]
    fn write_deadline(&mut self, bufs: &[IoSlice<'_>], deadline: Deadline) -> io::Result<usize> {
        let len = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if len == 0 {
            return Ok(0);
        }
        // A message that fits is waited for whole, a long one in large parts: byte by byte both
        // sides would trip over each other.
        let wanted = if deadline == Deadline::Now {
            1
        } else {
            len.min(self.capacity() / 8)
        };
        match self.make_room(wanted, deadline) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && self.free() > 0 => {}
            result => result?,
        }
        if self.free() < len {
            self.refresh()?;
        }
        let len = len.min(self.free());
        self.copy_in(bufs, len);
        Ok(len)
    }

    fn write_with_fds(
        &mut self,
        bufs: &[IoSlice<'_>],
        fds: &[BorrowedFd<'_>],
        deadline: Deadline,
    ) -> io::Result<usize> {
        if fds.is_empty() {
            return self.write_deadline(bufs, deadline);
        }
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "descriptors need a byte to go with",
            ));
        }
        // Room first: descriptors must not be on their way without their byte.
        self.make_room(1, deadline)?;
        self.attach(fds, deadline)?;
        self.write_deadline(bufs, Deadline::Now)
    }

    #[inline]
    fn in_place(&mut self) -> io::Result<Option<Reservation<'_>>> {
        self.reserve_free().map(Some)
    }

    fn arm_outbound(&mut self) -> io::Result<Readiness> {
        let (tail, half) = (self.tail, self.capacity() as u64 / 2);
        // The same half that makes the reader ring the bell.
        self.lane
            .arm(|memory| tail.wrapping_sub(memory.head().load(Ordering::Relaxed)) <= half)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.lane.close();
        Ok(())
    }
}

write_by_deadline!(RingWriter);
