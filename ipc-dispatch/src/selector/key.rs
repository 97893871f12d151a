//! The names of registrations, and what the system says about them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::{BitAnd, BitOr, BitOrAssign};

/// Names one registration of a source, whatever its type.
///
/// Registrations are told apart by 32 bits of generation, never by descriptor number; a slot that
/// has used up its generations is retired. A stale id therefore names nothing, never a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Names a source of type `C` that a [`Selector`](crate::Selector) owns.
pub struct Key<C> {
    pub(crate) id: SourceId,
    marker: PhantomData<fn(C) -> C>,
}

impl<C> Key<C> {
    pub(crate) fn new(id: SourceId) -> Self {
        Self {
            id,
            marker: PhantomData,
        }
    }

    /// The same name without the type.
    pub fn id(&self) -> SourceId {
        self.id
    }
}

impl<C> Clone for Key<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Key<C> {}

impl<C> PartialEq for Key<C> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<C> Eq for Key<C> {}

impl<C> Hash for Key<C> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl<C> fmt::Debug for Key<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}.{})", self.id.slot, self.id.generation)
    }
}

impl<C> From<Key<C>> for SourceId {
    fn from(key: Key<C>) -> Self {
        key.id
    }
}

/// What the system reported about a source: a small set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event(u8);

impl Event {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// There is something to read.
    pub const READ: Self = Self(1);
    /// There is room to write.
    pub const WRITE: Self = Self(2);
    /// There is urgent data.
    pub const EXCEPTION: Self = Self(4);
    /// Both directions have ended.
    pub const HANGUP: Self = Self(8);
    /// The descriptor has failed.
    pub const ERROR: Self = Self(16);

    /// Whether every part of `other` is in this.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some part of `other` is in this.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it is empty.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Event {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Event {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Event {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Which descriptor of a source an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The inbound one, which may serve for both directions.
    Inbound = 0,
    /// The outbound one, where it is another.
    Outbound = 1,
    /// A duplicate of the inbound one, for urgent data alone: the system reports that together
    /// with reading otherwise.
    Exception = 2,
}

/// What the system gives back with an event: generation, slot and side in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: SourceId,
    pub(crate) side: Side,
}

/// Slots above this have no token; the last ones are the driver's own.
pub(crate) const SLOT_MAX: u32 = (1 << 30) - 8;

impl Token {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.id.generation) << 32 | u64::from(self.id.slot) << 2 | self.side as u64
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        let side = match bits & 3 {
            0 => Side::Inbound,
            1 => Side::Outbound,
            _ => Side::Exception,
        };
        Self {
            id: SourceId {
                slot: (bits as u32) >> 2,
                generation: (bits >> 32) as u32,
            },
            side,
        }
    }
}
