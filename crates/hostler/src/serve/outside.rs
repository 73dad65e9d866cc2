//! Those who vouch for people, from the configuration.

use crate::config::{Config, ConfigError, Variables};
use hostler_core::access::outside::{LinkedDirectory, LinkedProvider, Outside};
use hostler_drivers::identity::ldap::LdapDirectory;
use hostler_drivers::identity::oidc::OidcProvider;
use std::sync::Arc;

/// Everybody whom the configuration names. Nobody is talked to yet: one that is down must not keep us from starting.
pub(super) fn outside(config: &Config, variables: &Variables) -> Result<Outside, ConfigError> {
    let mut outside = Outside::default();
    for ldap in &config.ldap {
        outside.directories.push(LinkedDirectory {
            directory: Arc::new(LdapDirectory::new(ldap.driver(variables)?)),
            mapping: ldap.mapping(),
            interval: ldap.interval(),
            import: ldap.import,
        });
    }
    for oidc in &config.oidc {
        let provider = Arc::new(OidcProvider::new(oidc.driver(variables)?));
        outside.providers.push(LinkedProvider { provider, mapping: oidc.mapping() });
    }
    Ok(outside)
}

/// Whether those who vouch for people could be asked: secrets are there, and nobody else can read them.
///
/// # Errors
/// What is wrong.
pub(crate) fn check_outside(config: &Config, variables: &Variables) -> Result<(), ConfigError> {
    outside(config, variables).map(|_| ())
}
