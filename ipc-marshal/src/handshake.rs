//! What two ends tell each other before the first message: pure, no input or output.
//!
//! Each end sends one `Hello` frame as its very first bytes and accepts nothing before the peer's.
//! Both compare the same facts, so that both come to the same verdict without a word more. The
//! payload, all little-endian: `"IPCM"`, `u16` version, `u16` codec id, `u32` capabilities, `u64`
//! longest payload accepted, `u64` schema hash, `u8` length and the codec's name. What follows is
//! for later versions and is ignored.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Framing, HandshakeError};

/// The version of the native frames and of this hand-shake.
pub(crate) const VERSION: u16 = 1;

/// The longest hand-shake that is accepted, in bytes: it bounds what a stranger can make us hold.
pub(crate) const LEN_MAX: usize = 1024;

const MAGIC: [u8; 4] = *b"IPCM";

/// This end can verify checksums.
const VERIFIES: u32 = 1;
/// This end's frames carry checksums.
const CHECKED: u32 = 2;

/// What one end says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    version: u16,
    codec: u16,
    codec_name: String,
    capabilities: u32,
    pub(crate) payload_len_max: u64,
    schema: u64,
}

impl Hello {
    pub(crate) fn new(
        framing: Framing,
        codec: u16,
        codec_name: &str,
        payload_len_max: usize,
        schema: u64,
    ) -> Self {
        let verifies = if cfg!(feature = "crc32c") {
            VERIFIES
        } else {
            0
        };
        let checked = if framing == Framing::NativeChecked {
            CHECKED
        } else {
            0
        };
        Self {
            version: VERSION,
            codec,
            codec_name: codec_name.chars().take(63).collect(),
            capabilities: verifies | checked,
            payload_len_max: payload_len_max as u64,
            schema,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.codec.to_le_bytes());
        out.extend_from_slice(&self.capabilities.to_le_bytes());
        out.extend_from_slice(&self.payload_len_max.to_le_bytes());
        out.extend_from_slice(&self.schema.to_le_bytes());
        out.push(u8::try_from(self.codec_name.len()).expect("63 characters are at most 252 bytes"));
        out.extend_from_slice(self.codec_name.as_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(HandshakeError::Missing)?;
        Self::fields(rest).ok_or(HandshakeError::Malformed)
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let (version, bytes) = bytes.split_first_chunk()?;
        let (codec, bytes) = bytes.split_first_chunk()?;
        let (capabilities, bytes) = bytes.split_first_chunk()?;
        let (payload_len_max, bytes) = bytes.split_first_chunk()?;
        let (schema, bytes) = bytes.split_first_chunk()?;
        let (&name_len, bytes) = bytes.split_first()?;
        let name = bytes.get(..name_len.into())?;
        Some(Self {
            version: u16::from_le_bytes(*version),
            codec: u16::from_le_bytes(*codec),
            codec_name: String::from_utf8_lossy(name).into_owned(),
            capabilities: u32::from_le_bytes(*capabilities),
            payload_len_max: u64::from_le_bytes(*payload_len_max),
            schema: u64::from_le_bytes(*schema),
        })
    }

    /// Whether this end can talk to the one that said `theirs`.
    pub(crate) fn check(&self, theirs: &Self) -> Result<(), HandshakeError> {
        if self.version != theirs.version {
            return Err(HandshakeError::Version {
                ours: self.version,
                theirs: theirs.version,
            });
        }
        if self.codec != theirs.codec {
            return Err(HandshakeError::Codec {
                ours: self.codec_name.clone(),
                theirs: theirs.codec_name.clone(),
            });
        }
        if self.schema != theirs.schema {
            return Err(HandshakeError::Schema {
                ours: self.schema,
                theirs: theirs.schema,
            });
        }
        let blind = |one: &Self, other: &Self| {
            one.capabilities & CHECKED != 0 && other.capabilities & VERIFIES == 0
        };
        if blind(self, theirs) || blind(theirs, self) {
            return Err(HandshakeError::Capability("verifying checksums"));
        }
        Ok(())
    }
}

/// What the sending half must know of the peer, told by the receiving half.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The longest payload that may be sent.
    limit: AtomicUsize,
    refused: OnceLock<HandshakeError>,
}

impl Peer {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            refused: OnceLock::new(),
        }
    }

    /// `Relaxed` throughout: the number stands alone, and a sender that has not seen the lower one
    /// yet only sends what the peer then refuses.
    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn accepts(&self, payload_len_max: u64) {
        let limit = usize::try_from(payload_len_max).unwrap_or(usize::MAX);
        self.limit.fetch_min(limit, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, why: HandshakeError) {
        self.refused.get_or_init(|| why);
    }

    #[inline]
    pub(crate) fn refused(&self) -> Option<&HandshakeError> {
        self.refused.get()
    }
}

/// A hash of a protocol's description, to be compared in the hand-shake: FNV-1a, 64 bits.
///
/// Describe what both ends must agree on, for example the name and version of the protocol, or the
/// text of its types. It finds mistakes, not malice.
///
/// # Examples
///
/// ```
/// const SCHEMA: u64 = ipc_marshal::schema_hash("weather 2: Ask { city: String } -> Report { celsius: f32 }");
/// let options = ipc_marshal::DuctOptions::new().schema(SCHEMA);
/// # drop(options);
/// ```
pub const fn schema_hash(description: &str) -> u64 {
    let bytes = description.as_bytes();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < bytes.len() {
        hash ^= bytes[index] as u64;
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}
