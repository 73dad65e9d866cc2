//! Host names: what is taken is safe wherever a name goes.
#![no_main]

use hostler_core::machines::HostName;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<HostName>() {
        let name = name.as_str();
        assert_eq!(name, text);
        assert!((1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-'));
        assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
        assert!(name.parse::<i64>().is_err(), "it would be taken for a number");
    }
});
