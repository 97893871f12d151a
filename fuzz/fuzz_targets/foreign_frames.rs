//! The target of `fuzz::foreign_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::foreign_frames(data));
