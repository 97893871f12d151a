//! JSON values out of lines, as payloads of any codec, and back.

use std::fmt;

use anyhow::{Context, Result, bail};
use ipc_marshal::{AnyCodec, Codec};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The value in a line; none in a blank one.
///
/// # Errors
///
/// When the line is no JSON.
pub(super) fn parse(line: &[u8]) -> serde_json::Result<Option<Value>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some)
}

/// The payload of `value`.
///
/// # Errors
///
/// When the codec cannot hold it.
pub(super) fn encode(codec: AnyCodec, value: &Value) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    match codec {
        AnyCodec::Raw => return bytes_of(value),
        AnyCodec::Bincode | AnyCodec::Postcard => {
            codec.encode(&value.to_string(), &mut payload)?;
        }
        _ => codec.encode(value, &mut payload)?,
    }
    Ok(payload)
}

/// The value in `payload`.
///
/// # Errors
///
/// When the payload is not one of the codec's.
pub(super) fn decode(codec: AnyCodec, payload: &[u8]) -> Result<Value> {
    match codec {
        AnyCodec::Raw => Ok(match std::str::from_utf8(payload) {
            Ok(text) => text.into(),
            Err(_) => payload.into(),
        }),
        AnyCodec::Bincode | AnyCodec::Postcard => {
            let text: String = codec.decode(payload)?;
            Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
        }
        _ => Ok(codec.decode::<Printable>(payload)?.0),
    }
}

fn bytes_of(value: &Value) -> Result<Vec<u8>> {
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_u64().and_then(|byte| u8::try_from(byte).ok()))
            .collect::<Option<_>>()
            .context("a raw message is a string or a list of numbers from 0 to 255"),
        _ => bail!("a raw message is a string or a list of numbers from 0 to 255"),
    }
}

/// What JSON shows of any value of a self-describing codec.
///
/// Bytes are a list of numbers, numbers that are none `null`, whole numbers beyond 64 bits strings of
/// digits, and keys that are no strings become the JSON that they are. A key has no map in it: text in
/// text in text would be twice as long each time.
struct Printable(Value);

impl<'de> Deserialize<'de> for Printable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Any { in_key: false }.deserialize(deserializer).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Any {
    in_key: bool,
}

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any plain value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Number::from_i128(value).map_or_else(|| value.to_string().into(), Value::Number))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Number::from_u128(value).map_or_else(|| value.to_string().into(), Value::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(bytes.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        if self.in_key {
            return Err(A::Error::custom(
                "a map in the key of a map cannot be shown",
            ));
        }
        let mut map = Map::new();
        while let Some((key, value)) = entries.next_entry_seed(Any { in_key: true }, self)? {
            let key = match key {
                Value::String(text) => text,
                other => other.to_string(),
            };
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_codec_gives_back_what_it_was_given() {
        let values = [
            json!(null),
            json!({"station": "Zürich", "celsius": -3.5, "tags": [1, null, true, u64::MAX]}),
            json!("text"),
            json!([]),
        ];
        for &codec in AnyCodec::ALL {
            for value in &values {
                if codec != AnyCodec::Raw || value.is_string() {
                    let payload = encode(codec, value).unwrap();
                    assert_eq!(decode(codec, &payload).unwrap(), *value, "{codec:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_printed_is_read_again_as_the_same() {
        for line in [
            "2.225835780507201e-308",
            "[-0.0, 1e300, 0.1]",
            "18446744073709551615",
        ] {
            let value = parse(line.as_bytes()).unwrap().unwrap();
            for &codec in AnyCodec::ALL {
                if codec != AnyCodec::Raw {
                    let shown = decode(codec, &encode(codec, &value).unwrap()).unwrap();
                    assert_eq!(shown, value, "{codec:?}");
                    let again = parse(shown.to_string().as_bytes()).unwrap();
                    assert_eq!(again, Some(shown), "{codec:?}");
                }
            }
        }
        assert_eq!(parse(b" \t\r\n").unwrap(), None);
        assert!(parse(b"{\"a\": 1").is_err());
    }

    #[test]
    fn raw_messages_are_text_or_bytes() {
        let check = |value: Value, payload: &[u8]| {
            assert_eq!(encode(AnyCodec::Raw, &value).unwrap(), payload);
            assert_eq!(decode(AnyCodec::Raw, payload).unwrap(), value);
        };
        check(json!("é"), "é".as_bytes());
        check(json!([255, 0]), &[255, 0]);
        for wrong in [json!([256]), json!(["a"]), json!(1), json!({}), json!(null)] {
            assert!(encode(AnyCodec::Raw, &wrong).is_err(), "{wrong}");
        }
    }

    /// Pickles as CPython writes them.
    #[test]
    fn what_json_lacks_is_shown_all_the_same() {
        let check = |payload: &[u8], value: Value| {
            assert_eq!(decode(AnyCodec::Pickle, payload).unwrap(), value);
        };
        // b'\xff\x00', (1, 2.5), {3: 'x'}, 2**64, float('nan')
        check(b"\x80\x03C\x02\xff\x00q\x00.", json!([255, 0]));
        check(
            b"\x80\x03K\x01G@\x04\x00\x00\x00\x00\x00\x00\x86q\x00.",
            json!([1, 2.5]),
        );
        check(
            b"\x80\x03}q\x00K\x03X\x01\x00\x00\x00xq\x01s.",
            json!({"3": "x"}),
        );
        check(
            b"\x80\x03\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.",
            json!("18446744073709551616"),
        );
        check(b"\x80\x03G\x7f\xf8\x00\x00\x00\x00\x00\x00.", json!(null));
    }

    /// Found by fuzzing: each map was the text of a key, so a hundred bytes became gigabytes.
    #[test]
    fn maps_in_keys_cannot_become_long() {
        let check = |payload: &[u8]| decode(AnyCodec::MessagePack, payload);
        assert_eq!(
            check(b"\x81\x92\x01\xa1x\x02").unwrap(),
            json!({"[1,\"x\"]": 2})
        );
        let error = check(&[0x81; 100]).unwrap_err();
        assert!(
            format!("{error:#}").contains("a map in the key of a map"),
            "{error:#}"
        );
        assert!(check(b"\x81\x91\x81\x01\x02\x03").is_err());
    }

    #[test]
    fn a_string_that_is_no_json_is_shown_as_a_string() {
        let mut payload = Vec::new();
        AnyCodec::Bincode.encode("hello", &mut payload).unwrap();
        assert_eq!(decode(AnyCodec::Bincode, &payload).unwrap(), json!("hello"));
    }
}
