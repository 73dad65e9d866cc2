//! The `hostler` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hostler::main_with(&hostler::RealDrivers)
}
