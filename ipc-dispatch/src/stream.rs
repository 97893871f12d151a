//! Bytes through buffers, without blocking.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::os::fd::BorrowedFd;

use ipc_core::{AnyChannel, Channel, Deadline, Readiness};

use crate::{Completer, Deferred, Failure, Source};

/// How much one call takes from the system at most, so that one busy peer does not hold the loop.
const FILL_MAX: usize = 256 * 1024;

/// The least room that is made before reading.
const CHUNK: usize = 16 * 1024;

/// Limits of a [`Stream`].
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    input_max: usize,
    output_max: usize,
    high_water: usize,
    low_water: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            input_max: 1 << 20,
            output_max: 16 << 20,
            high_water: 256 * 1024,
            low_water: 64 * 1024,
        }
    }
}

impl StreamOptions {
    /// The defaults: 1 MiB of input, 16 MiB of output, water marks at 256 and 64 KiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes are read ahead of the user. More stay with the peer.
    #[must_use]
    pub fn input_max(mut self, bytes: usize) -> Self {
        self.input_max = bytes.max(1);
        self
    }

    /// How many bytes are queued for a peer that does not read.
    #[must_use]
    pub fn output_max(mut self, bytes: usize) -> Self {
        self.output_max = bytes.max(1);
        self
    }

    /// With how many bytes queued the stream [is congested](Stream::is_congested), and with how many
    /// it no longer is and handlers for writing run.
    #[must_use]
    pub fn water_marks(mut self, low: usize, high: usize) -> Self {
        self.low_water = low;
        self.high_water = high.max(low);
        self
    }

    /// A stream over a channel.
    pub fn open<C: Channel>(self, channel: C) -> Stream<C> {
        Stream {
            channel,
            options: self,
            input: Vec::new(),
            taken: 0,
            scanned: 0,
            sought: Vec::new(),
            ended: false,
            output: VecDeque::new(),
            accepted: 0,
            flushed: 0,
            marks: VecDeque::new(),
            congested: false,
            closing: false,
            broken: None,
        }
    }
}

/// A channel with buffers: what has come and was not taken yet, and what is to go.
///
/// No call blocks. As a source of a [`Selector`](crate::Selector) its output is flushed by the loop,
/// and its handlers for writing run when the queue has sunk to the low-water mark. A handler for
/// reading takes what it can use until it is told `None`:
///
/// ```
/// use ipc_core::Socket;
/// use ipc_dispatch::{Selector, Stream};
/// use std::io::{self, Write};
///
/// let (ours, mut theirs) = Socket::pair()?;
/// theirs.write_all(b"one\ntwo\n")?;
/// drop(theirs);
///
/// let mut selector = Selector::<Vec<String>>::new()?;
/// let key = selector.add(Stream::new(ours));
/// selector.on_readable(key, |stream: &mut Stream<Socket>, ctx| {
///     while let Some(line) = stream.try_read_until(b"\n")? {
///         ctx.state.push(String::from_utf8_lossy(&line).into_owned());
///     }
///     io::Result::Ok(!stream.is_ended())
/// })?;
/// let mut lines = Vec::new();
/// selector.run(&mut lines)?;
/// assert_eq!(lines, ["one\n", "two\n"]);
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stream<C = AnyChannel> {
    channel: C,
    options: StreamOptions,
    input: Vec<u8>,
    /// How much of `input` the user has taken.
    taken: usize,
    /// How much of what is buffered was searched already, and for which delimiter.
    scanned: usize,
    sought: Vec<u8>,
    ended: bool,
    output: VecDeque<u8>,
    /// How many bytes were ever accepted, and how many of them the system has.
    accepted: u64,
    flushed: u64,
    /// Who waits for the system to have that many.
    marks: VecDeque<(u64, Completer<()>)>,
    congested: bool,
    /// Whether the direction is to end when the queue is empty.
    closing: bool,
    broken: Option<ErrorKind>,
}

impl<C: Channel> Stream<C> {
    /// A stream with the default [limits](StreamOptions).
    pub fn new(channel: C) -> Self {
        StreamOptions::new().open(channel)
    }

    /// The channel under it.
    pub fn channel(&self) -> &C {
        &self.channel
    }

    /// What has come and was not taken yet.
    pub fn buffered(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// Takes the first `count` bytes of [`buffered`](Self::buffered), or all.
    pub fn consume(&mut self, count: usize) {
        self.taken = self.input.len().min(self.taken + count);
        self.scanned = 0;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
    }

    /// Takes everything that is buffered.
    pub fn take_buffered(&mut self) -> Vec<u8> {
        let bytes = self.buffered().to_vec();
        self.consume(bytes.len());
        bytes
    }

    /// Whether the peer has ended its direction and everything it sent is buffered or taken.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Reads what is there, at most 256 KiB and as far as the input limit allows; answers how much
    /// that was. Zero when nothing is there, at the end, and at the limit.
    ///
    /// # Errors
    ///
    /// What the system says; a connection that was reset is an end.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut total = 0;
        while !self.ended && total < FILL_MAX {
            let room = self.options.input_max.saturating_sub(self.buffered().len());
            if room == 0 {
                break;
            }
            if self.taken > 0 {
                self.input.drain(..self.taken);
                self.taken = 0;
            }
            let length = self.input.len();
            self.input.resize(length + room.min(CHUNK), 0);
            let read = self
                .channel
                .read_deadline(&mut self.input[length..], Deadline::Now);
            let count = *read.as_ref().unwrap_or(&0);
            self.input.truncate(length + count);
            match read {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    total += count;
                    if count < CHUNK {
                        // A short read has drained it, and if not, the loop says so again.
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Takes what is buffered up to and including `delimiter`, reading if it must. `None` when it has
    /// not come yet, or will not: at the end the rest stays buffered.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](ErrorKind::InvalidData) when the input limit is reached without it;
    /// [`InvalidInput`](ErrorKind::InvalidInput) when it is empty; what the system says.
    pub fn try_read_until(&mut self, delimiter: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if delimiter.is_empty() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "the delimiter is empty",
            ));
        }
        if self.sought != delimiter {
            self.scanned = 0;
            delimiter.clone_into(&mut self.sought);
        }
        loop {
            let bytes = &self.input[self.taken..];
            let mut windows = bytes[self.scanned..].windows(delimiter.len());
            if let Some(found) = windows.position(|window| window == delimiter) {
                let count = self.scanned + found + delimiter.len();
                let line = bytes[..count].to_vec();
                self.consume(count);
                return Ok(Some(line));
            }
            let length = bytes.len();
            // Looked through but for a delimiter that has begun to come.
            self.scanned = length.saturating_sub(delimiter.len() - 1);
            if length >= self.options.input_max {
                let limit = self.options.input_max;
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("no delimiter within the limit of {limit} bytes"),
                ));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes exactly `count` bytes, reading if it must. `None` when they have not come yet, or will
    /// not.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) when that is more than the input limit; what the
    /// system says.
    pub fn try_read_exact(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        if count > self.options.input_max {
            let limit = self.options.input_max;
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("{count} bytes exceed the limit of {limit}"),
            ));
        }
        while self.buffered().len() < count {
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
        let bytes = self.buffered()[..count].to_vec();
        self.consume(count);
        Ok(Some(bytes))
    }

    /// How many bytes are queued.
    pub fn queued(&self) -> usize {
        self.output.len()
    }

    /// Whether the queue has risen above the high-water mark and not sunk to the low one since: the
    /// time to stop producing, until a handler for writing runs.
    pub fn is_congested(&self) -> bool {
        self.congested
    }

    /// Accepts all of `bytes` or none, and hands over at once what there is room for.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](ErrorKind::WouldBlock) when the queue has no room for them;
    /// [`BrokenPipe`](ErrorKind::BrokenPipe) when the peer is gone or the direction was ended.
    pub fn try_write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.options.output_max.saturating_sub(self.output.len()) {
            self.check_open()?;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.accept(bytes)
    }

    /// Like [`try_write_all`](Self::try_write_all), and tells when the system has all of them.
    ///
    /// # Errors
    ///
    /// As [`try_write_all`](Self::try_write_all).
    pub fn write_deferred(&mut self, bytes: &[u8]) -> io::Result<Deferred<()>> {
        self.try_write_all(bytes)?;
        let (completer, deferred) = Deferred::pair();
        if self.flushed == self.accepted {
            completer.complete(());
        } else {
            self.marks.push_back((self.accepted, completer));
        }
        Ok(deferred)
    }

    /// Ends this direction when what is queued has gone. The other goes on.
    ///
    /// # Errors
    ///
    /// What the system says, if nothing is queued.
    pub fn shutdown(&mut self) -> io::Result<()> {
        if self.closing {
            return Ok(());
        }
        self.closing = true;
        if self.output.is_empty() && self.broken.is_none() {
            self.channel.shutdown()?;
        }
        Ok(())
    }

    fn check_open(&self) -> io::Result<()> {
        match self.broken {
            Some(kind) => Err(kind.into()),
            None if self.closing => Err(ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }

    fn accept(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check_open()?;
        let mut rest = bytes;
        if self.output.is_empty() {
            let written = self.hand_over(&[IoSlice::new(bytes)])?;
            self.flushed += written as u64;
            rest = &bytes[written..];
        }
        self.accepted += bytes.len() as u64;
        self.output.extend(rest);
        self.congested |= self.output.len() > self.options.high_water;
        Ok(())
    }

    fn hand_over(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.channel.write_deadline(bytes, Deadline::Now) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => {
                self.give_up(&error);
                Err(error)
            }
        }
    }

    /// Nothing will go any more.
    fn give_up(&mut self, error: &io::Error) {
        self.broken = Some(error.kind());
        self.output.clear();
        self.congested = false;
        let failure = Failure::from(error as &(dyn std::error::Error + 'static));
        for (_, completer) in self.marks.drain(..) {
            completer.fail(failure.clone());
        }
    }

    fn flush_some(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            let (front, back) = self.output.as_slices();
            let bytes = [IoSlice::new(front), IoSlice::new(back)];
            let count = match self.channel.write_deadline(&bytes, Deadline::Now) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.give_up(&error);
                    return Err(error);
                }
            };
            self.output.drain(..count);
            self.flushed += count as u64;
        }
        if self.output.len() <= self.options.low_water {
            self.congested = false;
        }
        while self
            .marks
            .front()
            .is_some_and(|mark| mark.0 <= self.flushed)
        {
            if let Some((_, completer)) = self.marks.pop_front() {
                completer.complete(());
            }
        }
        if self.closing && self.output.is_empty() {
            self.channel.shutdown()?;
        }
        Ok(())
    }
}

/// Reads what is buffered, then from the channel.
impl<C: Channel> Read for Stream<C> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.buffered().is_empty() && self.fill()? == 0 && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = buf.len().min(self.buffered().len());
        buf[..count].copy_from_slice(&self.buffered()[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// Accepts as much as the queue has room for; `flush` answers
/// [`WouldBlock`](ErrorKind::WouldBlock) while some of it is queued.
impl<C: Channel> Write for Stream<C> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = self.options.output_max.saturating_sub(self.output.len());
        let count = room.min(buf.len());
        if count == 0 && !buf.is_empty() {
            self.check_open()?;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.accept(&buf[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush_some()?;
        if self.output.is_empty() {
            Ok(())
        } else {
            Err(ErrorKind::WouldBlock.into())
        }
    }
}

impl<C: Channel + 'static> Source for Stream<C> {
    fn inbound(&self) -> Option<BorrowedFd<'_>> {
        Some(self.channel.inbound())
    }

    fn outbound(&self) -> Option<BorrowedFd<'_>> {
        Some(self.channel.outbound())
    }

    fn is_doorbell(&self) -> bool {
        self.channel.is_doorbell()
    }

    fn poll_inbound(&mut self) -> Option<bool> {
        self.channel.poll_inbound()
    }

    fn arm_inbound(&mut self) -> io::Result<Readiness> {
        self.channel.arm_inbound()
    }

    fn arm_outbound(&mut self) -> io::Result<Readiness> {
        self.channel.arm_outbound()
    }

    fn pending(&self) -> usize {
        self.output.len()
    }

    fn has_room(&self) -> bool {
        self.output.len() <= self.options.low_water
    }

    fn try_flush(&mut self) -> io::Result<()> {
        self.flush_some()
    }
}
