//! What may be said of an image that is brought from outside: its format, its checksum, its address.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Formats of disk images that may be brought in. What is kept is always qcow2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// Bytes as they are.
    Raw,
    /// QEMU's format, version 2 or 3.
    Qcow2,
    /// VMware's format in one file: `monolithicSparse` or `streamOptimized`.
    Vmdk,
    /// Hyper-V's present format.
    Vhdx,
    /// Hyper-V's former format, of fixed size or growing.
    Vhd,
    /// An appliance: a tar archive with a description and one disk.
    Ova,
}

impl SourceFormat {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Raw, Self::Qcow2, Self::Vmdk, Self::Vhdx, Self::Vhd, Self::Ova];

    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vhd",
            Self::Ova => "ova",
        }
    }
}

/// What the bytes of a file must add up to, as it was given and before anything is unpacked: `sha256:…`, `sha512:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Checksum {
    /// SHA-256, 64 hexadecimal digits in lower case.
    Sha256(String),
    /// SHA-512, 128 hexadecimal digits in lower case.
    Sha512(String),
}

impl FromStr for Checksum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a checksum is `sha256:` and 64, or `sha512:` and 128 hexadecimal digits".to_owned();
        let (name, digits) = text.split_once(':').ok_or_else(wrong)?;
        let digits = digits.to_ascii_lowercase();
        let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match (name.to_ascii_lowercase().as_str(), digits.len()) {
            ("sha256", 64) if hexadecimal => Ok(Self::Sha256(digits)),
            ("sha512", 128) if hexadecimal => Ok(Self::Sha512(digits)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digits) => write!(f, "sha256:{digits}"),
            Self::Sha512(digits) => write!(f, "sha512:{digits}"),
        }
    }
}

impl TryFrom<String> for Checksum {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.to_string()
    }
}

/// What is wrong with the address of an image, as far as that shows without looking anything up.
pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    let lower = url.get(..8.min(url.len())).unwrap_or_default().to_ascii_lowercase();
    let Some(rest) = ["http://", "https://"].iter().find(|scheme| lower.starts_with(**scheme)) else {
        return Err("only http:// and https:// are fetched from");
    };
    if url.len() > 4096 || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("an address has at most 4096 bytes, and no spaces");
    }
    let authority = url[rest.len()..].split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err("an address names a host");
    }
    if authority.contains('@') {
        return Err("an address must not carry a name or password: it is kept and shown");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_and_written() {
        let digits = "AB".repeat(32);
        let checksum: Checksum = format!("SHA256:{digits}").parse().unwrap();
        assert_eq!(checksum.to_string(), format!("sha256:{}", digits.to_lowercase()));
        assert!(format!("sha512:{}", "0".repeat(128)).parse::<Checksum>().is_ok());
        for bad in ["", "sha256", "sha256:", "md5:00", &format!("sha512:{digits}"), &"sha256:g".repeat(9)] {
            assert!(bad.parse::<Checksum>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Checksum>("\"sha256:1\"").is_err());
    }

    #[test]
    fn only_plain_addresses_of_the_web_pass() {
        for good in ["http://a/b", "HTTPS://example.org", "http://[::1]:8/x?y@z", "https://a/ä"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "file:///dev/zero",
            "ftp://a/b",
            "/etc/passwd",
            "http:/a",
            "http://",
            "http:///x",
            "http://u:p@h/",
            "http://a b/",
            "http://a/\n",
            "httpä://a",
            "data:,x",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
