//! The one integration binary: stories across doors, the generic checks of every task kind, real components.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unreachable_pub, reason = "a binary has no outside")]

mod audit;
mod bad_input;
mod bridges;
mod canaille;
mod crash;
mod databases;
mod debian;
mod debian_image;
mod debian_template;
mod declared;
mod doctor;
mod figures;
mod folder;
mod identity;
mod images;
mod imports;
mod isp;
mod ldap;
mod lists;
mod maintenance;
mod media;
mod native;
mod networks;
mod oidc;
mod outside;
mod pools;
mod program;
mod quotas;
mod real;
mod reconcile;
mod rights;
mod secrets;
mod server;
mod slapd;
mod tasks;
mod titles;
mod tls;
mod turns;
mod two;
mod vmmanager;
mod vmpooler;
mod walk;
mod walls;
mod worker;
