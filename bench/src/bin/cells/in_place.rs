//! Messages written into a ring, and checked and echoed where they are.

use ipc_core::{Channel, Deadline, Ring, RingReader, RingWriter, View};

use crate::drive::Link;
use crate::message::{self, Kind};

/// How many messages of one size a ring should hold, so that neither side trips over the other.
const MESSAGES_IN_RING: usize = 4;

/// The capacity of a ring for messages of `size` bytes.
pub(crate) fn capacity(size: usize) -> usize {
    (MESSAGES_IN_RING * size).max(512 << 10)
}

/// Messages of one size in a ring.
pub(crate) struct InPlace {
    reader: RingReader,
    writer: RingWriter,
    outgoing: Vec<u8>,
}

impl InPlace {
    pub(crate) fn new(ring: Ring, size: usize) -> Self {
        let (reader, writer) = ring.split().expect("rings can be split");
        Self {
            reader,
            writer,
            outgoing: vec![0; size],
        }
    }
}

/// The next message: where it is.
#[inline]
fn next(reader: &mut RingReader, size: usize) -> View<'_> {
    let view = reader
        .view(size, Deadline::Never)
        .expect("the other process lives");
    assert!(view.len() >= size, "the other process ended");
    view
}

#[inline]
fn check(view: &View<'_>, size: usize) -> (u64, Kind) {
    message::check_words(size, |from| {
        u64::from_le_bytes(view.get(from).expect("within the message"))
    })
}

impl Link for InPlace {
    fn size(&self) -> usize {
        self.outgoing.len()
    }

    #[inline]
    fn send(&mut self, number: u64, kind: Kind, full: bool) {
        message::stamp(&mut self.outgoing, number, kind, full);
        let mut place = self
            .writer
            .reserve(self.outgoing.len(), Deadline::Never)
            .expect("the other process lives");
        place.put(&self.outgoing);
        place.commit();
    }

    #[inline]
    fn receive(&mut self) -> (u64, Kind) {
        let size = self.outgoing.len();
        let view = next(&mut self.reader, size);
        let found = check(&view, size);
        view.consume(size);
        found
    }

    #[inline]
    fn echo(&mut self) -> Kind {
        let size = self.outgoing.len();
        let view = next(&mut self.reader, size);
        let (_, kind) = check(&view, size);
        let mut place = self
            .writer
            .reserve(size, Deadline::Never)
            .expect("the other process lives");
        view.put_into(0..size, &mut place);
        place.commit();
        view.consume(size);
        kind
    }
}
