//! An image that somebody brings.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostler_drivers::fuzz::image(bytes));
