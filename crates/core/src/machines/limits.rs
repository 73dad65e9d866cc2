//! What a machine may be asked to be, whoever asks.

use super::MachineAsk;
use crate::error::{Error, Result};
use crate::hosts::Host;
use std::collections::BTreeMap;

const MAX_VCPUS: u32 = 512;
const MIN_MEMORY_MIB: u64 = 32;
const MAX_ATTRIBUTES: usize = 16 * 1024;

pub(super) fn check_size(vcpus: u32, memory_mib: u64, host: &Host) -> Result<()> {
    if vcpus == 0 || vcpus > MAX_VCPUS {
        return Err(Error::invalid(
            "vcpus",
            format!("a machine has 1 to {MAX_VCPUS} virtual CPUs, not {vcpus}"),
        ));
    }
    if memory_mib < MIN_MEMORY_MIB {
        return Err(Error::invalid(
            "memory_mib",
            format!("a machine has at least {MIN_MEMORY_MIB} MiB of memory"),
        ));
    }
    if let Some(facts) = &host.facts
        && memory_mib > facts.memory_mib
    {
        let text = format!("{memory_mib} MiB is more than host {} has: {} MiB", host.name, facts.memory_mib);
        return Err(Error::no_capacity(text));
    }
    Ok(())
}

pub(super) fn check_words(description: &str, labels: &BTreeMap<String, String>) -> Result<()> {
    if description.len() > 1024 {
        return Err(Error::invalid("description", "a description has at most 1024 bytes"));
    }
    if labels.len() > 64
        || labels.iter().any(|(key, value)| key.is_empty() || key.len() > 128 || value.len() > 256)
    {
        return Err(Error::invalid(
            "labels",
            "at most 64 labels, keys of 1 to 128 and values of at most 256 bytes",
        ));
    }
    Ok(())
}

pub(super) fn check_titles(title: &str, domain: &str) -> Result<()> {
    if title.chars().count() > 255 || title.contains(char::is_control) {
        return Err(Error::invalid("title", "a title has at most 255 characters, none of them for control"));
    }
    if domain.chars().count() > 253 || domain.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Error::invalid("domain", "a domain has at most 253 characters and no white space"));
    }
    Ok(())
}

pub(super) fn check_attributes(attributes: &BTreeMap<String, serde_json::Value>) -> Result<()> {
    let size: usize = attributes.iter().map(|(key, value)| key.len() + value.to_string().len()).sum();
    if size > MAX_ATTRIBUTES {
        return Err(Error::invalid("attributes", "all that only a dialect understands has at most 16 KiB"));
    }
    Ok(())
}

/// What a password may be, so that cloud-init's list of passwords cannot be broken out of.
pub(super) fn check_password(ask: &MachineAsk) -> Result<()> {
    let Some(password) = &ask.password else { return Ok(()) };
    let text = password.expose();
    if text.is_empty() || text.len() > 256 || text.contains(char::is_control) {
        return Err(Error::invalid("password", "a password has 1 to 256 bytes, none of them for control"));
    }
    if ask.user_data.is_some() {
        let text =
            "user data says everything that cloud-init shall do, so a password beside it would be lost";
        return Err(Error::invalid("password", text).hint("say it in the user data"));
    }
    Ok(())
}

pub(crate) fn check_keys(keys: &[String]) -> Result<()> {
    if keys.len() > 64 {
        return Err(Error::invalid("ssh_keys", "at most 64 SSH keys"));
    }
    for (place, key) in keys.iter().enumerate() {
        let parsed = ssh_key::PublicKey::from_openssh(key.trim());
        if key.trim().contains(['\n', '\r']) || parsed.is_err() {
            let shown: String = key.chars().take(40).collect();
            let text = format!("`{shown}` is not a public SSH key in one line");
            return Err(Error::invalid(format!("ssh_keys/{place}"), text));
        }
    }
    Ok(())
}
