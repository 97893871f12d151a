//! The target of `fuzz::native_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::native_frames(data));
