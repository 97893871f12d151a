//! Addresses as people write them.

use ipc_core::Address;

/// Parsing never panics; what parses is displayed and parsed again as the same address, and an error
/// has something to say.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<Address>() {
        Ok(address) => {
            let again = address.to_string().parse::<Address>();
            assert_eq!(again.as_ref(), Ok(&address), "{text:?} became {address}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
