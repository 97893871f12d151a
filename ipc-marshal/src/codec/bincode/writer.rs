//! Where the crate writes to.

use std::mem;

use bincode::enc::write::Writer;
use ipc_core::Reservation;

/// How much room is made at first, and at most at once.
const ROOM_MIN: usize = 256;
const ROOM_MAX: usize = 64 * 1024;

/// Writes at the end of a buffer into room that was made before: much faster than growing a vector by
/// each of a message's small fields. It owns the buffer while it writes, so that its length and
/// place can stay in registers.
pub(super) struct Append<'a> {
    home: &'a mut Vec<u8>,
    /// What is written, and behind it zeros.
    out: Vec<u8>,
    /// Where the zeros begin.
    at: usize,
}

impl<'a> Append<'a> {
    #[inline]
    pub(super) fn new(home: &'a mut Vec<u8>) -> Self {
        let mut out = mem::take(home);
        let at = out.len();
        out.resize(at + ROOM_MIN, 0);
        Self { home, out, at }
    }
}

/// Also when a `Serialize` panics: what was in the buffer before must not be lost.
impl Drop for Append<'_> {
    #[inline]
    fn drop(&mut self) {
        self.out.truncate(self.at);
        mem::swap(self.home, &mut self.out);
    }
}

#[cold]
fn grown(mut out: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let room = at.clamp(ROOM_MIN, ROOM_MAX);
    out.truncate(at);
    out.extend_from_slice(bytes);
    out.resize(out.len() + room, 0);
    out
}

impl Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        let end = self.at + bytes.len();
        match self.out.get_mut(self.at..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.out = grown(mem::take(&mut self.out), self.at, bytes),
        }
        self.at = end;
        Ok(())
    }
}

/// How many bytes of small fields are gathered before they go to the channel's memory, where each
/// copy has a cost of its own.
const STAGE: usize = 256;

/// Writes straight into a channel's memory. Dropping it writes the last of it.
pub(super) struct Put<'r, 'a> {
    room: &'r mut Reservation<'a>,
    overflowed: &'r mut bool,
    stage: [u8; STAGE],
    staged: usize,
}

impl<'r, 'a> Put<'r, 'a> {
    /// `overflowed` becomes true when something does not fit.
    #[inline]
    pub(super) fn new(room: &'r mut Reservation<'a>, overflowed: &'r mut bool) -> Self {
        Self {
            room,
            overflowed,
            stage: [0; STAGE],
            staged: 0,
        }
    }
}

/// Puts what is staged, and then a part that is too long to be staged.
#[cold]
fn put(room: &mut Reservation<'_>, staged: &[u8], long: &[u8]) -> bool {
    room.put(staged) && room.put(long)
}

impl Writer for Put<'_, '_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        let end = self.staged + bytes.len();
        if let Some(stage) = self.stage.get_mut(self.staged..end) {
            stage.copy_from_slice(bytes);
            self.staged = end;
            return Ok(());
        }
        let fitted = put(self.room, &self.stage[..self.staged], bytes);
        self.staged = 0;
        if fitted {
            return Ok(());
        }
        *self.overflowed = true;
        Err(bincode::error::EncodeError::UnexpectedEnd)
    }
}

impl Drop for Put<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if !self.room.put(&self.stage[..self.staged]) {
            *self.overflowed = true;
        }
    }
}
