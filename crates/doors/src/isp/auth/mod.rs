//! The service `auth`, v3 and v4: how people and programs of both products come in. One account store and one table of
//! credentials behind both, so that what is got through one opens the other.

mod tokens;
mod users;

use crate::isp::routes::{Access, Table};
use crate::isp::service::Service;

pub(super) fn table() -> Table {
    use Access::{Public, User};
    Table::of(Service::Auth)
        .post(Public, "/v4/public/token", tokens::log_in)
        .get(User, "/v3/whoami", users::whoami)
        .post(User, "/v3/whoami", users::whoami)
        .get(User, "/v4/whoami", users::whoami)
        .post(User, "/v4/whoami", users::whoami)
}
