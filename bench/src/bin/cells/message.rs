//! Messages that tell whether they arrived whole, once and in order.

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be counted, and echoed in round trips.
    Data = 0,
    /// The last of a run: the receiver answers with its count.
    End = 1,
    /// The receiver's process ends.
    Quit = 2,
    /// Carries the receiver's count.
    Count = 3,
}

/// Where the body begins: number, kind, whether the body is filled.
const BODY_AT: usize = 16;
/// The number once more, disguised, at the very end.
const TRAILER_LEN: usize = 8;
const DISGUISE: u64 = 0x5851_f42d_4c95_7f2d;

/// One pseudo-random word per message and place, so that bytes of another message do not pass.
fn word(number: u64, index: usize) -> u64 {
    let mixed = (number ^ (index as u64) << 24)
        .wrapping_mul(DISGUISE)
        .rotate_left(29);
    (mixed ^ mixed >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Writes head and trailer into `message`, and all of its body if it is to be checked in full.
pub(crate) fn stamp(message: &mut [u8], number: u64, kind: Kind, full: bool) {
    let len = message.len();
    message[..8].copy_from_slice(&number.to_le_bytes());
    message[8] = kind as u8;
    message[9] = u8::from(full);
    if full {
        let body = &mut message[BODY_AT..len - TRAILER_LEN];
        for (index, chunk) in body.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&word(number, index).to_le_bytes());
        }
    }
    message[len - TRAILER_LEN..].copy_from_slice(&(number ^ DISGUISE).to_le_bytes());
}

/// Answers the number and kind of a received message.
///
/// # Panics
///
/// When the message is damaged.
pub(crate) fn check(message: &[u8]) -> (u64, Kind) {
    check_words(message.len(), |from| {
        u64::from_le_bytes(
            message[from..from + 8]
                .try_into()
                .expect("eight bytes are eight"),
        )
    })
}

/// The same for a message of `len` bytes that is read eight bytes at a time.
#[inline]
pub(crate) fn check_words(len: usize, at: impl Fn(usize) -> u64) -> (u64, Kind) {
    let number = at(0);
    let [kind, is_full, ..] = at(8).to_le_bytes();
    assert_eq!(
        at(len - TRAILER_LEN),
        number ^ DISGUISE,
        "trailer of message {number}"
    );
    if is_full == 1 {
        for (index, from) in (BODY_AT..len - TRAILER_LEN - 7).step_by(8).enumerate() {
            assert_eq!(
                at(from),
                word(number, index),
                "body of message {number} at {from}"
            );
        }
    }
    let kind = match kind {
        0 => Kind::Data,
        1 => Kind::End,
        2 => Kind::Quit,
        3 => Kind::Count,
        other => panic!("message {number} has kind {other}"),
    };
    (number, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_noticed() {
        let mut message = [0; 256];
        stamp(&mut message, 77, Kind::Data, true);
        assert_eq!(check(&message), (77, Kind::Data));
        for at in (0..9).chain(BODY_AT..256) {
            let mut damaged = message;
            damaged[at] ^= 0x10;
            let found = std::panic::catch_unwind(|| check(&damaged));
            assert!(!matches!(found, Ok((77, Kind::Data))), "byte {at}");
        }
    }
}
