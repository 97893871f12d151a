//! The target of `fuzz::duct_input`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::duct_input(data));
