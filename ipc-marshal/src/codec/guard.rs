//! What some formats lack against hostile bytes: bounds on depth, on elements that take no bytes, and
//! on memory that a length asks for.
//!
//! [`Guard`] wraps the deserializer of a format that is not self-describing and passes everything on,
//! with three differences:
//!
//! - Containers may be nested only [`DEPTH_MAX`] deep. Bytes could otherwise exhaust the stack through
//!   a recursive type, and that ends the process.
//! - All sequences and maps together may have no more elements than the payload has bytes, and a few
//!   for free. Elements such as `()` take no bytes, so that ten bytes could otherwise keep a loop busy
//!   for years.
//! - Strings and byte strings are borrowed from the payload and copied by who wants them, so that a
//!   length is compared with the bytes that are there before anything is allocated.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// How deep containers may be nested, as in serde_json.
const DEPTH_MAX: u32 = 128;

/// How many elements may take no bytes.
const FREE_ELEMENTS: usize = 1 << 16;

/// What is left for one value.
pub(super) struct Bounds {
    depth: Cell<u32>,
    elements: Cell<usize>,
}

impl Bounds {
    pub(super) fn new(payload_len: usize) -> Self {
        Self {
            depth: Cell::new(DEPTH_MAX),
            elements: Cell::new(payload_len.saturating_add(FREE_ELEMENTS)),
        }
    }

    #[inline]
    fn enter<E: Error>(&self) -> Result<Entered<'_>, E> {
        let Some(left) = self.depth.get().checked_sub(1) else {
            return Err(E::custom(format_args!("nested more than {DEPTH_MAX} deep")));
        };
        self.depth.set(left);
        Ok(Entered(self))
    }

    /// Takes `elements` from what is left. `None` is a number that the format does not tell; the
    /// answer is whether each of them must be claimed when it comes.
    #[inline]
    fn claim<E: Error>(&self, elements: Option<usize>) -> Result<bool, E> {
        let Some(elements) = elements else {
            return Ok(true);
        };
        let Some(left) = self.elements.get().checked_sub(elements) else {
            return Err(E::custom(format_args!(
                "{elements} elements are more than the payload can hold"
            )));
        };
        self.elements.set(left);
        Ok(false)
    }
}

/// One level, left when dropped.
struct Entered<'b>(&'b Bounds);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() + 1);
    }
}

/// Deserializes within bounds what the seed inside deserializes.
pub(super) struct Seed<'b, T>(pub(super) T, pub(super) &'b Bounds);

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T::Value, D::Error> {
        self.0.deserialize(Guard {
            inner,
            bounds: self.1,
        })
    }
}

struct Guard<'b, D> {
    inner: D,
    bounds: &'b Bounds,
}

/// Passes calls on that have no container in them.
macro_rules! plain {
    ($($method:ident => $inner:ident,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$inner(visitor)
        }
    )*};
}

/// Passes calls on whose visitor gets at other deserializers.
macro_rules! nested {
    ($($method:ident($($name:ident: $kind:ty),*),)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            let bounds = self.bounds;
            self.inner.$method($($name,)* Watch { visitor, bounds })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guard<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_bool => deserialize_bool,
        deserialize_i8 => deserialize_i8,
        deserialize_i16 => deserialize_i16,
        deserialize_i32 => deserialize_i32,
        deserialize_i64 => deserialize_i64,
        deserialize_i128 => deserialize_i128,
        deserialize_u8 => deserialize_u8,
        deserialize_u16 => deserialize_u16,
        deserialize_u32 => deserialize_u32,
        deserialize_u64 => deserialize_u64,
        deserialize_u128 => deserialize_u128,
        deserialize_f32 => deserialize_f32,
        deserialize_f64 => deserialize_f64,
        deserialize_char => deserialize_char,
        deserialize_str => deserialize_str,
        deserialize_string => deserialize_str,
        deserialize_bytes => deserialize_bytes,
        deserialize_byte_buf => deserialize_bytes,
        deserialize_unit => deserialize_unit,
    }

    nested! {
        deserialize_any(),
        deserialize_option(),
        deserialize_newtype_struct(name: &'static str),
        deserialize_seq(),
        deserialize_tuple(len: usize),
        deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_map(),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
        deserialize_identifier(),
        deserialize_ignored_any(),
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A visitor that wraps what it is given before it passes it on.
struct Watch<'b, V> {
    visitor: V,
    bounds: &'b Bounds,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(out)
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    #[inline]
    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        // No recursion without a named type or a sequence, which are counted.
        let bounds = self.bounds;
        self.visitor.visit_some(Guard { inner, bounds })
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let bounds = self.bounds;
        let _entered = bounds.enter()?;
        self.visitor.visit_newtype_struct(Guard { inner, bounds })
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let bounds = self.bounds;
        let _entered = bounds.enter()?;
        let each = bounds.claim(inner.size_hint())?;
        self.visitor.visit_seq(Elements {
            inner,
            bounds,
            each,
        })
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let bounds = self.bounds;
        let _entered = bounds.enter()?;
        let each = bounds.claim(inner.size_hint())?;
        self.visitor.visit_map(Elements {
            inner,
            bounds,
            each,
        })
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let bounds = self.bounds;
        let _entered = bounds.enter()?;
        self.visitor.visit_enum(Guard { inner, bounds })
    }
}

/// The elements of a sequence or map.
struct Elements<'b, A> {
    inner: A,
    bounds: &'b Bounds,
    each: bool,
}

impl<A> Elements<'_, A> {
    #[inline]
    fn count<E: Error>(&self) -> Result<(), E> {
        if self.each {
            self.bounds.claim(Some(1))?;
        }
        Ok(())
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.count()?;
        self.inner.next_element_seed(Seed(seed, self.bounds))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.count()?;
        self.inner.next_key_seed(Seed(seed, self.bounds))
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(Seed(seed, self.bounds))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'b, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Guard<'b, A> {
    type Error = A::Error;
    type Variant = Guard<'b, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), A::Error> {
        let bounds = self.bounds;
        let (value, inner) = self.inner.variant_seed(Seed(seed, bounds))?;
        Ok((value, Guard { inner, bounds }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.newtype_variant_seed(Seed(seed, self.bounds))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let bounds = self.bounds;
        self.inner.tuple_variant(len, Watch { visitor, bounds })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let bounds = self.bounds;
        self.inner.struct_variant(fields, Watch { visitor, bounds })
    }
}
