//! The target of `fuzz::scheduler`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::scheduler(data));
