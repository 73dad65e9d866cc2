//! Configuration: one typed TOML file, with variables over it and flags over those.
//!
//! A setting comes from, in this order: a flag, a variable of the environment (`HOSTLER_LISTEN`, or
//! `HOSTLER__SECTION__KEY` for any setting), the file, the default. The file is checked on its own first, so that
//! an error names its line and column; each variable is then laid over it by itself, so that an error names the
//! variable.

mod declared;
mod error;
mod example;
mod identity;
mod listen;
mod model;
mod networks;
mod pools;
mod source;

pub use error::ConfigError;
pub use example::EXAMPLE;
pub use identity::{GroupRule, Ldap, Oidc};
pub use listen::Listen;
pub use model::{
    Audit, Config, Isolation, Keep, Log, LogFormat, Qemu, Secret, Server, Store, Tasks, Tls, address_in,
};
pub use pools::{Pool, Unnamed, Vmpooler};
pub(crate) use source::refused;
pub use source::{Overrides, Variables, load};

/// A file's text, read and checked: the way in for the fuzzer under `fuzz/`, and for nobody else.
#[doc(hidden)]
pub fn fuzz(text: &str) {
    let _ = source::parse(std::path::Path::new("hostler.toml"), text);
}

#[cfg(test)]
mod tests;
