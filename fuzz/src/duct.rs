//! Lines of the command line's `duct`.

use ipc_marshal::AnyCodec;
use serde_json::Value;

/// The command has no library: its pure file compiles here too.
#[path = "../../ipc-cli/src/commands/duct/payload.rs"]
mod payload;

/// Any line is a message or one error; what is printed of a message, whoever sent it, and read again is
/// the same message. The first byte chooses the codec.
pub fn duct_input(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let codec = AnyCodec::ALL[usize::from(choice) % AnyCodec::ALL.len()];
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match payload::parse(line) {
            Ok(Some(value)) => sent(codec, &value),
            Ok(None) => assert!(line.trim_ascii().is_empty()),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        }
    }
    match payload::decode(codec, data) {
        Ok(value) => printed(codec, &value),
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
}

fn sent(codec: AnyCodec, value: &Value) {
    match payload::encode(codec, value) {
        Ok(payload) => {
            let back = payload::decode(codec, &payload).expect("what was encoded is decoded");
            if codec == AnyCodec::Raw {
                // Bytes that are text are shown as text, and are the same bytes.
                let again = payload::encode(codec, &back).expect("it came from there");
                assert_eq!(again, payload);
            } else {
                assert_eq!(back, *value, "{codec:?}");
            }
            printed(codec, &back);
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
}

fn printed(codec: AnyCodec, value: &Value) {
    let line = value.to_string();
    assert!(!line.contains('\n'), "a message is one line");
    let again = payload::parse(line.as_bytes());
    let again = again
        .expect("what is printed is JSON")
        .expect("and not blank");
    assert_eq!(again, *value, "{line}");
    let payload = payload::encode(codec, &again).expect("it was one of the codec's");
    let back = payload::decode(codec, &payload).expect("what was encoded is decoded");
    assert_eq!(back, *value, "{codec:?}");
}
