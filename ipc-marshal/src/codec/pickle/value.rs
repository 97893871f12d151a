//! Values that a pickle has built, to serde.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::{self, Display};

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::format::Error;
use super::machine::{Heap, Id, Value};

/// How deep values may be nested, as in serde_json. A list that contains itself has no end.
const DEPTH_MAX: u32 = 128;

/// How many times the pickle's length may come out of it. A memo entry can be used again and again,
/// and nested so that thirty bytes would give a thousand million values.
const GROWTH_MAX: usize = 16;

/// Deserializes what a pickle of `len` bytes has built.
pub(super) fn read<'de, T: Deserialize<'de>>(heap: &Heap<'de>, len: usize) -> Result<T, Error> {
    let left = Cell::new(len.saturating_mul(GROWTH_MAX).saturating_add(1 << 16));
    T::deserialize(Reader {
        heap,
        left: &left,
        depth: DEPTH_MAX,
        id: heap.root,
    })
}

impl Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self {
            position: None,
            message: message.to_string(),
        }
    }
}

#[derive(Clone, Copy)]
struct Reader<'h, 'de> {
    heap: &'h Heap<'de>,
    /// How many values and bytes may still come out.
    left: &'h Cell<usize>,
    depth: u32,
    id: Id,
}

impl<'h, 'de> Reader<'h, 'de> {
    fn value(&self, cost: usize) -> Result<&'h Value<'de>, Error> {
        let left = self.left.get().checked_sub(cost + 1);
        let left = left.ok_or_else(|| de::Error::custom("the pickle grows out of all bounds"))?;
        self.left.set(left);
        Ok(&self.heap.values[self.id as usize])
    }

    fn peek(&self) -> &'h Value<'de> {
        &self.heap.values[self.id as usize]
    }

    /// The same for a value inside.
    fn inside(&self, id: Id) -> Self {
        Self { id, ..*self }
    }

    fn items(&self, ids: &'h [Id]) -> Result<Items<'h, 'de>, Error> {
        let depth = self.depth.checked_sub(1);
        let depth = depth
            .ok_or_else(|| de::Error::custom(format_args!("nested more than {DEPTH_MAX} deep")))?;
        Ok(Items {
            reader: Self { depth, ..*self },
            ids: ids.iter(),
        })
    }

    fn text<V: Visitor<'de>>(&self, text: &Cow<'de, str>, visitor: V) -> Result<V::Value, Error> {
        self.value(text.len())?;
        match text {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_str(text),
        }
    }

    fn number<V: Visitor<'de>>(self, number: i128, visitor: V) -> Result<V::Value, Error> {
        if let Ok(number) = u64::try_from(number) {
            visitor.visit_u64(number)
        } else if let Ok(number) = i64::try_from(number) {
            visitor.visit_i64(number)
        } else {
            visitor.visit_i128(number)
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Value::Text(text) => self.text(text, visitor),
            Value::Bytes(bytes) => {
                self.value(bytes.len())?;
                visitor.visit_borrowed_bytes(bytes)
            }
            _ => match self.value(0)? {
                Value::Bool(value) => visitor.visit_bool(*value),
                Value::Int(value) => self.number(*value, visitor),
                Value::Float(value) => visitor.visit_f64(*value),
                Value::Sequence(ids) => visit_whole_seq(self.items(ids)?, visitor),
                Value::Dict(ids) => visitor.visit_map(self.items(ids)?),
                Value::None | Value::Text(_) | Value::Bytes(_) => visitor.visit_unit(),
            },
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value(0)? {
            Value::Int(value) => visitor.visit_i128(*value),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value(0)? {
            Value::Int(value) => match u128::try_from(*value) {
                Ok(value) => visitor.visit_u128(value),
                Err(error) => Err(de::Error::custom(error)),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    /// Bytes are asked for as a sequence by types that do not know better, such as `Vec<u8>`.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Value::Bytes(bytes) => {
                self.value(bytes.len())?;
                visitor.visit_seq(de::value::SeqDeserializer::new(bytes.iter().copied()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Value::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value(0)? {
            Value::Text(_) => visitor.visit_enum(Variant {
                name: self,
                content: None,
            }),
            Value::Dict(ids) => match ids[..] {
                [name, content] => {
                    let depth = self.items(ids)?.reader.depth;
                    let inside = Reader { depth, ..self };
                    visitor.visit_enum(Variant {
                        name: inside.inside(name),
                        content: Some(inside.inside(content)),
                    })
                }
                _ => Err(de::Error::custom("a variant is a dict of one entry")),
            },
            _ => Err(de::Error::custom("a variant is a str or a dict")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'h, 'de> {
    reader: Reader<'h, 'de>,
    ids: std::slice::Iter<'h, Id>,
}

/// A tuple that is longer than the type wants is not that type.
fn visit_whole_seq<'de, V: Visitor<'de>>(
    mut items: Items<'_, 'de>,
    visitor: V,
) -> Result<V::Value, Error> {
    let value = visitor.visit_seq(&mut items)?;
    match items.ids.len() {
        0 => Ok(value),
        more => Err(de::Error::custom(format_args!("{more} items too many"))),
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match self.ids.next() {
            Some(&id) => seed.deserialize(self.reader.inside(id)).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.ids.len())
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        match self.next_element_seed(seed)? {
            Some(value) => Ok(value),
            None => Err(de::Error::custom("a key has no value")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.ids.len() / 2)
    }
}

struct Variant<'h, 'de> {
    name: Reader<'h, 'de>,
    content: Option<Reader<'h, 'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Error> {
        Ok((seed.deserialize(self.name)?, self))
    }
}

impl<'de> Variant<'_, 'de> {
    fn content(self) -> Result<impl Deserializer<'de, Error = Error>, Error> {
        self.content
            .ok_or_else(|| de::Error::custom("a variant has no content"))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(content) => <()>::deserialize(content),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }
}
