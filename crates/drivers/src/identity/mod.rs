//! Those who vouch for people: LDAP directories ([`ldap`]) and OpenID providers ([`oidc`]).

pub mod ldap;
pub mod oidc;
