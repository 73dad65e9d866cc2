//! What a QEMU process says over its monitor.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hostler_drivers::fuzz::monitor(bytes));
