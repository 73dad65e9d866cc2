//! The service `auth`, v3 and v4: how people and programs of both products come in. One account store and one table of
//! credentials behind both, so that what is got through one opens the other.
//!
//! Quirks, each of which a client of the products needs:
//! * a token's login answers 201, a session's 200: clients wait for exactly that;
//! * logging out never fails, because one client does it in a destructor; the secret in the path is proof enough;
//! * v3 refuses a login with 403, since a client for Node.js waits for ever on a 401 there;
//! * HEAD redeems no key, so that mail programs and chats may look at a link.

mod entry;
mod keys;
mod sessions;
mod ssh_keys;
mod tokens;
pub(crate) mod users;

use crate::isp::refused::Refused;
use crate::isp::routes::{Access, Table};
use crate::isp::service::Service;
use crate::login;
use hostler_core::ErrorKind;

pub(super) fn table() -> Table {
    use Access::{Administrator, Public, User};
    Table::of(Service::Auth)
        .post(Public, "/v4/public/token", tokens::log_in)
        .post(Public, "/v4/public/key", tokens::by_key)
        .get(User, "/v4/token", tokens::list)
        .post(User, "/v4/token", tokens::create)
        .delete(Public, "/v4/token/{token}", tokens::end)
        .post(Public, "/v3/auth", sessions::log_in)
        .post(Public, "/v3/auth_by_key", sessions::by_key)
        .delete(Public, "/v3/session/{token}", tokens::end)
        .get(User, "/v4/self/session", users::whoami)
        .get(Public, "/key/{key}", entry::enter)
        .get(Public, "/key-v4/{key}", entry::enter)
        .get(User, "/v3/whoami", users::whoami)
        .post(User, "/v3/whoami", users::whoami)
        .get(User, "/v4/whoami", users::whoami)
        .post(User, "/v4/whoami", users::whoami)
        .get(Administrator, "/v3/user", users::list)
        .get(Administrator, "/v4/user", users::list)
        .post(Administrator, "/v4/user", users::create)
        .get(Administrator, "/v3/user/{user}", users::element)
        .get(Administrator, "/v4/user/{user}", users::element)
        .post(Administrator, "/v4/user/{user}", users::change)
        .delete(Administrator, "/v4/user/{user}", users::delete)
        .post(Administrator, "/v3/user/{user}/key", keys::make)
        .post(Administrator, "/v4/user/{user}/key", keys::make)
        .get(User, "/v3/user/{user}/sshkey", ssh_keys::list)
        .post(User, "/v3/user/{user}/sshkey", ssh_keys::add)
        .delete(User, "/v3/user/{user}/sshkey/{key}", ssh_keys::remove)
        .get(User, "/v4/user/{user}/sshkey", ssh_keys::list)
        .post(User, "/v4/user/{user}/sshkey", ssh_keys::add)
        .delete(User, "/v4/user/{user}/sshkey/{key}", ssh_keys::remove)
}

/// Why a password or key lets nobody in, where that is told as `refused`.
fn not_in(why: login::Refused, refused: Refused) -> Refused {
    match why {
        login::Refused::TooMany { retry_after_s } => Refused::too_many(retry_after_s),
        login::Refused::By(error) => match error.kind {
            // What cannot be a password is nobody's.
            ErrorKind::Unauthenticated | ErrorKind::Invalid { .. } => refused,
            _ => error.into(),
        },
    }
}
