//! The typed record of the comparison with the peers.

use serde::{Deserialize, Serialize};

/// What a record holds, in bytes: the two numbers, the name, the sixteen words.
pub const RECORD_LEN: usize = 112;

/// A message as programs send them: numbers, a text, a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// A number that a codec cannot shorten.
    pub id: u64,
    /// A number with a fraction.
    pub value: f64,
    /// 32 bytes of text.
    pub name: String,
    /// 16 words, of which half are small.
    pub data: Vec<u32>,
}

impl Record {
    /// The same one every time; half of its data are small numbers and half are not.
    pub fn example() -> Self {
        Self {
            id: 0x1234_5678_9abc_def0,
            value: 15_625.375,
            name: "0123456789abcdef0123456789abcdef".to_owned(),
            data: (0..16)
                .map(|i: u32| {
                    if i.is_multiple_of(2) {
                        i * 12
                    } else {
                        i << 27 | 0x1234
                    }
                })
                .collect(),
        }
    }

    /// The same one for the same number.
    pub fn numbered(number: u64) -> Self {
        Self {
            id: mix(number) >> 1,
            value: (mix(number + 1) % 1_000_000_000) as f64 / 64.0,
            name: format!("{:032x}", mix(number + 2)),
            data: (0..16)
                .map(|at| {
                    let random = mix(number * 16 + at);
                    if at % 2 == 0 {
                        (random % 200) as u32
                    } else {
                        random as u32
                    }
                })
                .collect(),
        }
    }

    /// So many, all different.
    pub fn many(count: u64) -> Vec<Self> {
        (0..count).map(Self::numbered).collect()
    }
}

/// Spreads a number over 64 bits.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
