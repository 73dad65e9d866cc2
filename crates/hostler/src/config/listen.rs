//! An address to listen on, checked for its form when read and resolved when used.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `HOST:PORT`, where the host is an address or a name and port 0 means any free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(String);

impl Listen {
    /// The text, as the resolver takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self("127.0.0.1:8889".into())
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why: &str| Err(format!("`{text}` is no address to listen on: {why}"));
        let Some((host, port)) = text.rsplit_once(':') else {
            return refused("write HOST:PORT, e.g. 127.0.0.1:8889");
        };
        if port.parse::<u16>().is_err() {
            return refused("the port after the colon must be 0 to 65535");
        }
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.chars().any(char::is_whitespace) || (host.contains(':') && !bracketed) {
            return refused("write HOST:PORT, e.g. 127.0.0.1:8889 or [::1]:8889");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.0
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
