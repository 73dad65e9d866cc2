//! What a guest's agent answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostler_drivers::fuzz::agent(bytes));
