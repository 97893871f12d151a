//! Keys from files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ipc_marshal::AuthKey;

/// The key in a file, without the line break that editors put at its end.
///
/// # Errors
///
/// When the file cannot be read or is empty.
pub(crate) fn read_key(path: &Path) -> Result<AuthKey> {
    let mut key =
        fs::read(path).with_context(|| format!("cannot read the key in '{}'", path.display()))?;
    if key.last() == Some(&b'\n') {
        key.pop();
    }
    if key.is_empty() {
        bail!("there is no key in '{}'", path.display());
    }
    Ok(AuthKey::new(key))
}
