//! The target of `fuzz::restart`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::restart(data));
