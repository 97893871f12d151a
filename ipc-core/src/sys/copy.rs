//! Copying to and from memory that another process may be writing.

/// Copies `len` bytes without telling the compiler anything about the shared side.
///
/// On x86-64 it is assembly, which the compiler treats as opaque: whatever another process does to
/// those bytes meanwhile, the result is some bytes and never undefined behaviour. Elsewhere, and under
/// miri, every access is volatile.
///
/// # Safety
///
/// `source` can be read and `target` written for `len` bytes, they do not overlap, and one of them at
/// most is memory of the program; the program has no reference to the other.
#[inline]
pub(crate) unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's promise is handed on.
    unsafe {
        x86::copy(source, target, len);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's promise is handed on.
    unsafe {
        volatile::copy(source, target, len);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use std::arch::asm;

    /// From here on the processor's own string copy is fastest (measured on a Sapphire Rapids Xeon).
    const STRING_COPY_MIN: usize = 2048;

    /// # Safety
    ///
    /// As [`super::copy`].
    #[inline]
    pub(super) unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
        // Every branch touches exactly the bytes from 0 to `len`: blocks from the front, then one
        // block that ends at the end and may overlap what was copied already.
        match len {
            0 => {}
            // SAFETY: 1 to 3 bytes: the first, the middle and the last one.
            1..4 => unsafe {
                asm!(
                    "movzx {a:e}, byte ptr [{s}]",
                    "movzx {b:e}, byte ptr [{s} + {half}]",
                    "movzx {c:e}, byte ptr [{s} + {last}]",
                    "mov byte ptr [{t}], {a:l}",
                    "mov byte ptr [{t} + {half}], {b:l}",
                    "mov byte ptr [{t} + {last}], {c:l}",
                    s = in(reg) source, t = in(reg) target,
                    half = in(reg) len / 2, last = in(reg) len - 1,
                    a = out(reg) _, b = out(reg) _, c = out(reg) _,
                    options(nostack, preserves_flags),
                );
            },
            // SAFETY: 4 to 7 bytes: the first four and the last four.
            4..8 => unsafe {
                asm!(
                    "mov {a:e}, dword ptr [{s}]",
                    "mov {b:e}, dword ptr [{s} + {n} - 4]",
                    "mov dword ptr [{t}], {a:e}",
                    "mov dword ptr [{t} + {n} - 4], {b:e}",
                    s = in(reg) source, t = in(reg) target, n = in(reg) len,
                    a = out(reg) _, b = out(reg) _,
                    options(nostack, preserves_flags),
                );
            },
            // SAFETY: 8 to 15 bytes: the first eight and the last eight.
            8..16 => unsafe {
                asm!(
                    "mov {a}, qword ptr [{s}]",
                    "mov {b}, qword ptr [{s} + {n} - 8]",
                    "mov qword ptr [{t}], {a}",
                    "mov qword ptr [{t} + {n} - 8], {b}",
                    s = in(reg) source, t = in(reg) target, n = in(reg) len,
                    a = out(reg) _, b = out(reg) _,
                    options(nostack, preserves_flags),
                );
            },
            // SAFETY: 16 to 32 bytes: the first sixteen and the last sixteen.
            16..=32 => unsafe {
                asm!(
                    "movups {a}, [{s}]",
                    "movups {b}, [{s} + {n} - 16]",
                    "movups [{t}], {a}",
                    "movups [{t} + {n} - 16], {b}",
                    s = in(reg) source, t = in(reg) target, n = in(reg) len,
                    a = out(xmm_reg) _, b = out(xmm_reg) _,
                    options(nostack, preserves_flags),
                );
            },
            // SAFETY: the caller's promise is handed on; more than 32 bytes.
            33..STRING_COPY_MIN => unsafe { copy_blocks(source, target, len) },
            // SAFETY: `rep movsb` copies `len` bytes upwards: the direction flag is clear, as the
            // calling convention has it.
            _ => unsafe {
                asm!(
                    "rep movsb",
                    inout("rsi") source => _, inout("rdi") target => _, inout("rcx") len => _,
                    options(nostack, preserves_flags),
                );
            },
        }
    }

    /// # Safety
    ///
    /// As [`super::copy`], and `len` is more than 32.
    #[inline]
    unsafe fn copy_blocks(source: *const u8, target: *mut u8, len: usize) {
        // SAFETY: blocks of 32 while more than 32 bytes are left, then the 32 bytes that end at the
        // end, which begin at or after the start because there are more than 32 in all.
        unsafe {
            asm!(
                "2:",
                "movups {a}, [{s}]",
                "movups {b}, [{s} + 16]",
                "movups [{t}], {a}",
                "movups [{t} + 16], {b}",
                "add {s}, 32",
                "add {t}, 32",
                "sub {n}, 32",
                "cmp {n}, 32",
                "ja 2b",
                "movups {a}, [{s} + {n} - 32]",
                "movups {b}, [{s} + {n} - 16]",
                "movups [{t} + {n} - 32], {a}",
                "movups [{t} + {n} - 16], {b}",
                s = inout(reg) source => _, t = inout(reg) target => _, n = inout(reg) len => _,
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                options(nostack),
            );
        }
    }
}

#[cfg(any(test, not(all(target_arch = "x86_64", not(miri)))))]
mod volatile {
    use std::ptr;

    /// Eight bytes at any address.
    #[repr(C, packed)]
    #[derive(Clone, Copy)]
    struct Word(u64);

    /// # Safety
    ///
    /// As [`super::copy`].
    pub(super) unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
        let words = len / size_of::<Word>();
        for index in 0..words {
            let at = index * size_of::<Word>();
            // SAFETY: within the first `len` bytes of `source`; a `Word` may lie anywhere and any
            // bytes are one.
            let word = unsafe { ptr::read_volatile(source.wrapping_add(at).cast::<Word>()) };
            // SAFETY: within the first `len` bytes of `target`; a `Word` may lie anywhere.
            unsafe { ptr::write_volatile(target.wrapping_add(at).cast::<Word>(), word) };
        }
        for at in words * size_of::<Word>()..len {
            // SAFETY: within the first `len` bytes of `source`.
            let byte = unsafe { ptr::read_volatile(source.wrapping_add(at)) };
            // SAFETY: within the first `len` bytes of `target`.
            unsafe { ptr::write_volatile(target.wrapping_add(at), byte) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{copy, volatile};

    /// Every length around every branch, at odd addresses, touches exactly its bytes.
    #[test]
    fn copies_exactly() {
        let source: Vec<u8> = (0..2500u32).map(|i| (i * 7 + 1) as u8).collect();
        // Miri has one branch only, and is slow.
        let most = if cfg!(miri) { 20 } else { 2500 };
        let lengths = (0..130)
            .chain(500..530)
            .chain([1023, 1024, 1025])
            .chain(2040..2060);
        for len in lengths.take_while(|&len| len < most) {
            for (which, at) in [(0, 0), (0, 1), (0, 3), (1, 5)] {
                let mut target = vec![0xee; 2500];
                let (from, to) = (source[at + 1..].as_ptr(), target[at + 8..].as_mut_ptr());
                if which == 0 {
                    // SAFETY: both have at least `len` bytes behind their start, and are apart.
                    unsafe { copy(from, to, len) };
                } else {
                    // SAFETY: as above.
                    unsafe { volatile::copy(from, to, len) };
                }
                let (before, rest) = target.split_at(at + 8);
                let (middle, after) = rest.split_at(len);
                assert_eq!(middle, &source[at + 1..][..len], "{len} bytes at {at}");
                assert!(
                    before.iter().chain(after).all(|&byte| byte == 0xee),
                    "{len} at {at}"
                );
            }
        }
    }
}
