//! VMmanager 6's service `vm`: what it calls hosts are our machines, its nodes our hosts, its `os` our templates.
//!
//! Transport, credentials, bodies and filters are those of [`isp`](crate::isp). Every changing call answers
//! `{"id", "task"}`, where `task` is the task's consul id: its number and [`CONSUL`], so that `task/{id}` takes either.
//! The task is committed before the answer, since clients look for it at once.
//!
//! Quirks, each of which a client needs:
//! * a list has joined objects, an element by its id is flat: scripts feed its members into SQL as numbers;
//! * `task/{id}` has its members at the top and once more under `task` (vm-balancer reads the latter);
//! * commands on a machine that is busy are queued, and what is so already is a task that is complete;
//! * a restart is followed by a start that has nothing to do: the WHMCS module waits for `start_task`;
//! * a `node` or `ippool` of 0 and an empty `ip_name` mean none (the Go client leaves them in);
//! * numbers are never null: Go decodes into typed structs, and one wrong type fails the whole list.

mod create;
mod fields;
mod hosts;
mod parts;
mod places;
mod render;
mod tasks;

use crate::isp::auth::users;
use crate::isp::refused::Refused;
use crate::isp::routes::{Access, Table};
use crate::isp::service::Service;
use hostler_core::Error;

/// What is added to the number of a task to get its consul id.
pub(crate) const CONSUL: i64 = 1_000_000_000;

pub(crate) fn table() -> Table {
    use Access::{Administrator, User};
    Table::of(Service::Vm)
        .get(User, "/v3/host", hosts::list)
        .post(User, "/v3/host", create::create)
        .get(User, "/v3/host/{id}", hosts::element)
        .post(User, "/v3/host/{id}", hosts::edit)
        .delete(User, "/v3/host/{id}", hosts::delete)
        .post(User, "/v3/host/{id}/start", hosts::start)
        .post(User, "/v3/host/{id}/stop", hosts::stop)
        .post(User, "/v3/host/{id}/restart", hosts::restart)
        .get(User, "/v3/host/{id}/metadata", parts::metadata)
        .get(User, "/v3/host/{id}/disk", parts::disks)
        .get(User, "/v3/host/{id}/ipv4", parts::ipv4)
        .get(User, "/v3/host/{id}/history", tasks::history)
        .get(User, "/v3/task", tasks::list)
        .get(User, "/v3/task/{id}", tasks::element)
        .get(User, "/v3/os", places::os_list)
        .get(User, "/v3/os/{id}", places::os)
        .get(User, "/v3/cluster", places::cluster_list)
        .get(User, "/v3/cluster/{id}", places::cluster)
        .get(Administrator, "/v3/node", places::node_list)
        .get(Administrator, "/v3/node/{id}", places::node)
        .get(Administrator, "/v3/account", users::list)
        .post(Administrator, "/v3/account", users::create)
        .get(Administrator, "/v3/account/{user}", users::element)
        .post(Administrator, "/v3/account/{user}", users::change)
        .delete(Administrator, "/v3/account/{user}", users::delete)
        .post(Administrator, "/v3/user", users::create)
        .delete(Administrator, "/v3/user/{user}", users::delete)
}

/// What a client named by a key in the path was not found.
fn about(error: Error, key: &str) -> Refused {
    Refused::from(error).about(key)
}

/// Ids are numbers here; whatever else core takes for a key names nothing.
fn number(key: &str) -> Result<String, Refused> {
    match key.parse::<i64>() {
        Ok(number) if number > 0 => Ok(number.to_string()),
        _ => Err(Refused::no_entity(key)),
    }
}
