//! What is believed of the other side's position: pure, and the only place that decides it.

use std::io;

/// Checks how much the other side says it has handed over: bytes to read, or room to write.
///
/// Between two looks that can only have grown from `before`, and it is never more than `capacity`.
/// Everything that follows, offsets and lengths, is computed from the answer alone.
///
/// # Errors
///
/// `InvalidData` when it cannot be true: the peer forged its position.
#[inline]
pub(super) fn handed_over(before: u64, told: u64, capacity: u64) -> io::Result<u64> {
    if told < before || told > capacity {
        return Err(forged());
    }
    Ok(told)
}

#[cold]
fn forged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the peer's position in the ring is impossible",
    )
}

#[cfg(test)]
mod tests {
    use super::handed_over;

    const CAPACITY: u64 = 8;

    /// Every pair of positions around every place where they may wrap.
    #[test]
    fn only_what_is_between_the_last_look_and_the_capacity_is_believed() {
        for head in [0, 5, u64::MAX - 4, u64::MAX, 1 << 63] {
            for before in 0..=CAPACITY {
                for step in 0..64_u64 {
                    let tail = head.wrapping_add(step).wrapping_sub(16);
                    let told = tail.wrapping_sub(head);
                    let is_true = (16 + before..=16 + CAPACITY).contains(&step);
                    let believed = handed_over(before, told, CAPACITY);
                    assert_eq!(believed.is_ok(), is_true, "{head} {before} {step}");
                }
            }
        }
    }

    #[test]
    fn whatever_is_told_the_answer_is_within_the_capacity() {
        let mut told = 1_u64;
        for _ in 0..1000 {
            told = told.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17);
            for told in [told, told % 20] {
                if let Ok(amount) = handed_over(3, told, CAPACITY) {
                    assert!((3..=CAPACITY).contains(&amount));
                }
            }
        }
    }
}
