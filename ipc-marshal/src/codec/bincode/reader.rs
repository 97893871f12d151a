//! Bytes of bincode's standard format, to serde.
//!
//! The bincode crate's own decoder allocates what a length asks for before it compares it with the bytes
//! that are there, follows recursive types until the stack ends, loops over elements that take no
//! bytes, and does not tell where it failed. This one does none of that and is faster; the tests
//! compare the two.

use serde::de::value::U32Deserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// How deep values may be nested, as in serde_json.
const DEPTH_MAX: u32 = 128;

/// How many elements of sequences and maps may take no bytes.
const FREE_ELEMENTS: usize = 1 << 16;

/// What is left of a payload.
#[derive(Debug)]
pub(super) struct Reader<'de> {
    rest: &'de [u8],
    depth: u32,
    elements: usize,
}

/// Why a payload is refused: one word, so that success stays small.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a string is three words")]
pub(super) struct Error(Box<String>);

impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    #[cold]
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(Box::new(message.to_string()))
    }
}

#[cold]
fn missing(bytes: usize) -> Error {
    de::Error::custom(format_args!("at least {bytes} bytes are missing"))
}

#[cold]
fn invalid(byte: u8, kind: &str) -> Error {
    de::Error::custom(format_args!("{byte:#04x} begins no {kind}"))
}

impl<'de> Reader<'de> {
    pub(super) fn new(payload: &'de [u8]) -> Self {
        Self {
            rest: payload,
            depth: DEPTH_MAX,
            elements: payload.len().saturating_add(FREE_ELEMENTS),
        }
    }

    /// How many bytes have not been read.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| missing(1))?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((array, rest)) = self.rest.split_first_chunk() else {
            return Err(missing(N - self.rest.len()));
        };
        self.rest = rest;
        Ok(*array)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'de [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(missing(len - self.rest.len()));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, Error> {
        match self.byte()? {
            251 => Ok(u16::from_le_bytes(self.array()?)),
            byte @ 252.. => Err(invalid(byte, "16-bit integer")),
            byte => Ok(byte.into()),
        }
    }

    /// One look at the longest form that there may be, where it cannot be past the end.
    #[inline]
    fn u32(&mut self) -> Result<u32, Error> {
        let Some(&[first, a, b, c, d]) = self.rest.first_chunk() else {
            return self.u32_at_the_end();
        };
        let (value, len) = match first {
            251 => (u16::from_le_bytes([a, b]).into(), 3),
            252 => (u32::from_le_bytes([a, b, c, d]), 5),
            253.. => return Err(invalid(first, "32-bit integer")),
            _ => (first.into(), 1),
        };
        self.rest = &self.rest[len..];
        Ok(value)
    }

    #[cold]
    fn u32_at_the_end(&mut self) -> Result<u32, Error> {
        match self.byte()? {
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?)),
            byte @ 253.. => Err(invalid(byte, "32-bit integer")),
            byte => Ok(byte.into()),
        }
    }

    #[inline]
    fn u64(&mut self) -> Result<u64, Error> {
        let Some(&[first, a, b, c, d, e, f, g, h]) = self.rest.first_chunk() else {
            return self.u64_at_the_end();
        };
        let (value, len) = match first {
            251 => (u16::from_le_bytes([a, b]).into(), 3),
            252 => (u32::from_le_bytes([a, b, c, d]).into(), 5),
            253 => (u64::from_le_bytes([a, b, c, d, e, f, g, h]), 9),
            254.. => return Err(invalid(first, "64-bit integer")),
            _ => (first.into(), 1),
        };
        self.rest = &self.rest[len..];
        Ok(value)
    }

    #[cold]
    fn u64_at_the_end(&mut self) -> Result<u64, Error> {
        match self.byte()? {
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?).into()),
            253 => Ok(u64::from_le_bytes(self.array()?)),
            byte @ 254.. => Err(invalid(byte, "64-bit integer")),
            byte => Ok(byte.into()),
        }
    }

    fn u128(&mut self) -> Result<u128, Error> {
        match self.byte()? {
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?).into()),
            253 => Ok(u64::from_le_bytes(self.array()?).into()),
            254 => Ok(u128::from_le_bytes(self.array()?)),
            255 => Err(invalid(255, "128-bit integer")),
            byte => Ok(byte.into()),
        }
    }

    #[inline]
    fn len(&mut self) -> Result<usize, Error> {
        let len = self.u64()?;
        usize::try_from(len).map_err(|_| missing(usize::MAX))
    }

    #[inline]
    fn str(&mut self) -> Result<&'de str, Error> {
        let len = self.len()?;
        std::str::from_utf8(self.take(len)?).map_err(de::Error::custom)
    }

    /// A character: the bytes of its UTF-8.
    fn char(&mut self) -> Result<char, Error> {
        let first = *self.rest.first().ok_or_else(|| missing(1))?;
        let len = match first {
            0..0x80 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
            _ => return Err(invalid(first, "character")),
        };
        let text = std::str::from_utf8(self.take(len)?).map_err(de::Error::custom)?;
        text.chars().next().ok_or_else(|| missing(1))
    }

    #[inline]
    fn flag(&mut self, kind: &str) -> Result<bool, Error> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(invalid(byte, kind)),
        }
    }

    /// The number of elements of a sequence or map.
    #[inline]
    fn claim(&mut self) -> Result<usize, Error> {
        let len = self.len()?;
        match self.elements.checked_sub(len) {
            Some(left) => {
                self.elements = left;
                Ok(len)
            }
            None => Err(de::Error::custom(format_args!(
                "{len} elements are more than the payload can hold"
            ))),
        }
    }

    /// Goes one level down. After an error nobody looks at the depth again.
    #[inline]
    fn nested<T>(&mut self, visit: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == 0 {
            return Err(de::Error::custom(format_args!(
                "nested more than {DEPTH_MAX} deep"
            )));
        }
        self.depth -= 1;
        let value = visit(self)?;
        self.depth += 1;
        Ok(value)
    }

    #[inline]
    fn elements<V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, Error> {
        self.nested(|reader| visitor.visit_seq(Elements { reader, left }))
    }
}

#[inline]
fn zigzag(wide: u64) -> i64 {
    (wide >> 1).cast_signed() ^ -(wide & 1).cast_signed()
}

/// Visits a number that is read by a method of the same name.
macro_rules! numbers {
    ($($method:ident, $visit:ident: $reader:ident => $value:expr;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let $reader = self;
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("the format does not say what types are"))
    }

    numbers! {
        deserialize_bool, visit_bool: reader => reader.flag("boolean")?;
        deserialize_i8, visit_i8: reader => reader.byte()?.cast_signed();
        deserialize_i16, visit_i16: reader => zigzag(reader.u16()?.into()) as i16;
        deserialize_i32, visit_i32: reader => zigzag(reader.u32()?.into()) as i32;
        deserialize_i64, visit_i64: reader => zigzag(reader.u64()?);
        deserialize_i128, visit_i128: reader => {
            let wide = reader.u128()?;
            (wide >> 1).cast_signed() ^ -(wide & 1).cast_signed()
        };
        deserialize_u8, visit_u8: reader => reader.byte()?;
        deserialize_u16, visit_u16: reader => reader.u16()?;
        deserialize_u32, visit_u32: reader => reader.u32()?;
        deserialize_u64, visit_u64: reader => reader.u64()?;
        deserialize_u128, visit_u128: reader => reader.u128()?;
        deserialize_f32, visit_f32: reader => f32::from_le_bytes(reader.array()?);
        deserialize_f64, visit_f64: reader => f64::from_le_bytes(reader.array()?);
        deserialize_char, visit_char: reader => reader.char()?;
        deserialize_str, visit_borrowed_str: reader => reader.str()?;
        deserialize_string, visit_borrowed_str: reader => reader.str()?;
        deserialize_bytes, visit_borrowed_bytes: reader => {
            let len = reader.len()?;
            reader.take(len)?
        };
        deserialize_byte_buf, visit_borrowed_bytes: reader => {
            let len = reader.len()?;
            reader.take(len)?
        };
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // No recursion without a named type or a sequence, which are counted.
        if self.flag("option")? {
            visitor.visit_some(self)
        } else {
            visitor.visit_none()
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.nested(|reader| visitor.visit_newtype_struct(reader))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let len = self.claim()?;
        self.elements(len, visitor)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.elements(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.elements(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.claim()?;
        self.nested(|reader| visitor.visit_map(Elements { reader, left }))
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.elements(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.nested(|reader| visitor.visit_enum(reader))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("the format has no names"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("the format cannot skip a value"))
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a sequence, tuple or map.
struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.next_element_seed(seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'r, 'de> EnumAccess<'de> for &'r mut Reader<'de> {
    type Error = Error;
    type Variant = &'r mut Reader<'de>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), Error> {
        let index: U32Deserializer<Error> = self.u32()?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = Error;

    #[inline]
    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.elements(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.elements(fields.len(), visitor)
    }
}
