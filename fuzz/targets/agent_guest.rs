//! What the host may send to the agent inside a guest: cut into lines, however they arrive, and read.
#![no_main]
#![allow(dead_code, reason = "the agent is a program, so its files are taken in as they are")]

#[path = "../../crates/agent/src/base64.rs"]
mod base64;
#[path = "../../crates/agent/src/wire.rs"]
mod wire;

use wire::{Line, Lines, Request};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = Lines::default().push(bytes);
    let mut pieces = Lines::default();
    let cut: Vec<Line> = bytes.chunks(7).flat_map(|chunk| pieces.push(chunk)).collect();
    assert_eq!(whole, cut, "lines depend on how they arrive");
    for line in whole {
        let Line::Whole(line) = line else { continue };
        let (id, request) = wire::parse(&line);
        match request {
            Ok(Request::Run(run)) => drop(base64::decode(&run.stdin)),
            Ok(Request::Identify(identity)) => drop(base64::decode(&identity.entropy)),
            Ok(_) => {}
            Err(fault) => {
                let answer = wire::render(id, &Err(fault));
                assert_eq!(answer.iter().filter(|byte| **byte == b'\n').count(), 1, "an answer is one line");
            }
        }
    }
});
