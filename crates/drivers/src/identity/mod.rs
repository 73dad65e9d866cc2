//! Those who vouch for people: LDAP directories ([`ldap`]).

pub mod ldap;
