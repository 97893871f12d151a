//! Values out of any bytes.

use std::collections::BTreeMap;

use ipc_marshal::{AnyCodec, Codec};
use serde::{Deserialize, Serialize};

/// A type with something of everything, itself included.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Everything {
    Nothing,
    Numbers(u8, i64, u128),
    Text { text: String, letter: char },
    Maybe(Option<Box<Everything>>),
    List(Vec<Everything>),
    Map(BTreeMap<String, Everything>),
    Units(Vec<()>),
    Pair((bool, [u16; 3])),
    Float(Float),
}

/// Equal if it is the same number, or none.
#[derive(Debug, Serialize, Deserialize)]
struct Float(f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits() || self.0.is_nan() && other.0.is_nan()
    }
}

/// Whatever the bytes, decoding answers a value or an error, without exhausting stack or memory; what
/// was decoded is encoded and decoded again as the same value. The first byte chooses the codec.
pub fn codecs(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let codec = AnyCodec::ALL[usize::from(choice) % AnyCodec::ALL.len()];
    match codec.decode::<Everything>(data) {
        Ok(value) => again(codec, &value),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // Strings and byte strings may borrow from the bytes.
    if let Ok(text) = codec.decode::<&str>(data) {
        assert!(text.len() <= data.len());
    }
    if let Ok(numbers) = codec.decode::<Vec<u64>>(data) {
        assert!(
            numbers.len() <= 8 * data.len(),
            "{} elements",
            numbers.len()
        );
    }
}

fn again(codec: AnyCodec, value: &Everything) {
    let mut bytes = Vec::new();
    // A format may lack what another has, such as 128-bit numbers.
    if codec.encode(value, &mut bytes).is_err() {
        return;
    }
    let back = codec.decode::<Everything>(&bytes);
    assert_eq!(back.as_ref().ok(), Some(value), "{codec:?}: {back:?}");
}
