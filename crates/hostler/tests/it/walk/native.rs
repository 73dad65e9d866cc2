//! The routes of the native door: who may, what is asked, and what the audit trail says of it.

use super::{Row, Whom};
use serde_json::{Value, json};

/// Method and pattern, whom it is for, the body of a request that is right, and its line in the audit trail.
fn row(route: &'static str, whom: Whom, body: Value, deed: &'static str) -> Row {
    Row { route, whom, body, deed, before: Vec::new() }
}

fn read(route: &'static str, whom: Whom) -> Row {
    row(route, whom, Value::Null, "")
}

fn own(route: &'static str, body: Value, deed: &'static str) -> Row {
    row(route, Whom::Owner, body, deed)
}

fn administer(route: &'static str, body: Value, deed: &'static str) -> Row {
    row(route, Whom::Administrator, body, deed)
}

pub(super) fn table() -> Vec<Row> {
    [reads(), people(), places(), machines(), devices(), volumes(), pools(), others()].concat()
}

fn reads() -> Vec<Row> {
    use Whom::{Account, Open, Overseer, Owning, Seer};
    vec![
        read("GET /login/providers", Open),
        read("GET /account", Account),
        read("GET /accounts", Account),
        read("GET /accounts/{account}", Seer),
        read("GET /audit", Account),
        read("GET /clusters", Account),
        read("GET /directories", Whom::Administrator),
        read("GET /doctor", Whom::Administrator),
        read("GET /events", Account),
        read("GET /grants/{kind}/{object}", Seer),
        read("GET /groups", Account),
        read("GET /groups/{group}", Seer),
        read("GET /groups/{group}/members", Seer),
        read("GET /hosts", Account),
        read("GET /hosts/{host}", Account),
        read("GET /info", Account),
        read("GET /machines", Account),
        read("GET /machines/{machine}", Seer),
        read("GET /machines/{machine}/snapshots", Seer),
        read("GET /machines/{machine}/user-data", Owning),
        read("GET /maintenance", Whom::Administrator),
        read("GET /media", Account),
        read("GET /media/{medium}", Account),
        read("GET /networks", Account),
        read("GET /networks/{network}", Account),
        read("GET /networks/{network}/addresses", Account),
        read("GET /quota", Account),
        read("GET /quotas", Overseer),
        read("GET /quotas/{subject_kind}/{subject}", Overseer).about("GET /quotas/account/admin"),
        read("GET /sessions", Account),
        read("GET /snapshots", Account),
        read("GET /snapshots/{snapshot}", Seer),
        read("GET /ssh-keys", Account),
        read("GET /storages", Account),
        read("GET /tasks", Account),
        read("GET /tasks/{task}", Seer),
        read("GET /templates", Account),
        read("GET /templates/{template}", Account),
        read("GET /tokens", Account),
        read("GET /volumes", Account),
        read("GET /volumes/{volume}", Seer),
        read("GET /whoami", Account),
    ]
}

fn people() -> Vec<Row> {
    let account = json!({"login": "new", "email": "new@example.org", "password": "swordfish-of-somebody"});
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqD4ENXbDsQYbqtqZWQ4yMNq6L8LDWvYtUDzeTcbbuH new";
    let password = json!({"login": "user-101", "password": super::scene::PASSWORD});
    vec![
        row("POST /login", Whom::Open, password, "credential.make"),
        read("GET /login/oidc/{provider}", Whom::Open),
        row("POST /logout", Whom::Any, Value::Null, "credential.end"),
        row("PATCH /account", Whom::Any, json!({"full_name": "Ann"}), "account.change"),
        administer("POST /accounts", account, "account.create"),
        own("PATCH /accounts/{account}", json!({"full_name": "Ann"}), "account.change"),
        administer("DELETE /accounts/{account}", Value::Null, "account.delete")
            .about("DELETE /accounts/user-102"),
        administer("POST /groups", json!({"name": "others"}), "group.create"),
        administer("PATCH /groups/{group}", json!({"description": "x"}), "group.change"),
        administer("DELETE /groups/{group}", Value::Null, "group.delete"),
        administer("PUT /groups/{group}/members/{account}", Value::Null, "member.add")
            .about("PUT /groups/ops/members/user-102"),
        administer("DELETE /groups/{group}/members/{account}", Value::Null, "member.remove"),
        row("POST /ssh-keys", Whom::Any, json!({"public_key": key}), "ssh_key.add"),
        row("DELETE /ssh-keys/{key}", Whom::Mine, Value::Null, "ssh_key.remove"),
        row("POST /tokens", Whom::Any, json!({"description": "x"}), "credential.make"),
        row("DELETE /tokens/{token}", Whom::Mine, Value::Null, "credential.end"),
        row("DELETE /sessions/{session}", Whom::Mine, Value::Null, "credential.end"),
        own("PUT /grants/{kind}/{object}/{subject_kind}/{subject}", json!({"actions": ["use"]}), "grant.set"),
        own("DELETE /grants/{kind}/{object}/{subject_kind}/{subject}", Value::Null, "grant.revoke")
            .before("PUT /grants/machine/m/account/user-103", json!({"actions": ["use"]}))
            .about("DELETE /grants/machine/m/account/user-103"),
        administer("PUT /quotas/{subject_kind}/{subject}", json!({"machines": 5}), "quota.set"),
        administer("POST /directories/{directory}/check", Value::Null, ""),
        administer("POST /directories/{directory}/sync", Value::Null, "directory.sync"),
    ]
}

fn places() -> Vec<Row> {
    let url = json!({"from": "url", "url": "https://example.org/x.iso"});
    let recipe = json!({"from": "recipe", "recipe": "micro"});
    let network = json!({"name": "new", "ranges": [{"first": "10.8.0.1", "last": "10.8.0.9"}]});
    vec![
        administer("POST /networks", network, "network.create"),
        row("DELETE /networks/{network}", Whom::Shared, Value::Null, "network.delete")
            .before("DELETE /networks/lan/addresses/10.9.0.2", Value::Null),
        administer("POST /networks/{network}/addresses", json!({"ip": "10.9.0.3"}), "address.reserve"),
        administer("DELETE /networks/{network}/addresses/{ip}", Value::Null, "address.release"),
        administer("POST /media", json!({"name": "new", "source": url}), "medium.make"),
        row("DELETE /media/{medium}", Whom::Shared, Value::Null, "medium.delete"),
        administer("POST /templates", json!({"name": "new", "source": recipe}), "template.make"),
        row("DELETE /templates/{template}", Whom::Shared, Value::Null, "template.delete")
            .before("POST /templates", json!({"name": "new", "source": recipe}))
            .about("DELETE /templates/new"),
        administer("PUT /maintenance", json!({"on": true, "reason": "x"}), "maintenance.begin"),
        administer("POST /doctor/repair", Value::Null, "doctor.repair").left_over(),
    ]
}

fn machines() -> Vec<Row> {
    let stop = || ("POST /machines/m/stop", json!({"force": true}));
    let pause = || ("POST /machines/m/pause", Value::Null);
    let power = |route, deed, before: Option<(&'static str, Value)>| {
        let row = own(route, json!({}), deed);
        match before {
            Some((request, body)) => row.before(request, body),
            None => row,
        }
    };
    let create = json!({"name": "new", "template": "micro", "user_data": "swordfish-of-a-guest"});
    vec![
        row("POST /machines", Whom::Maker, create, "machine.create"),
        own("DELETE /machines/{machine}", Value::Null, "machine.delete"),
        own("PATCH /machines/{machine}", json!({"description": "x"}), "machine.edit"),
        own("POST /machines/{machine}/resize", json!({"vcpus": 2}), "machine.resize")
            .before("POST /machines/m/stop", json!({"force": true})),
        power("POST /machines/{machine}/start", "machine.start", Some(stop())),
        power("POST /machines/{machine}/stop", "machine.stop", None),
        power("POST /machines/{machine}/restart", "machine.restart", None),
        power("POST /machines/{machine}/reset", "machine.reset", None),
        power("POST /machines/{machine}/pause", "machine.pause", None),
        power("POST /machines/{machine}/resume", "machine.resume", Some(pause())),
        own(
            "POST /machines/{machine}/run",
            json!({"argv": ["true", "swordfish-of-a-guest"], "stdin": "swordfish-of-a-guest"}),
            "machine.run",
        ),
        own("GET /machines/{machine}/console/log", Value::Null, ""),
        own("GET /machines/{machine}/console/serial", Value::Null, "machine.console"),
        own("GET /machines/{machine}/console/display", Value::Null, "machine.console"),
        own("POST /machines/{machine}/snapshots", json!({"name": "new"}), "snapshot.take"),
        own("DELETE /snapshots/{snapshot}", Value::Null, "snapshot.remove"),
        own("POST /snapshots/{snapshot}/revert", json!({"force": true}), "snapshot.revert"),
    ]
}

fn devices() -> Vec<Row> {
    let inbound = json!({"rules": [{"protocol": "tcp", "first_port": 22}]});
    vec![
        own("POST /machines/{machine}/medium", json!({"medium": "iso"}), "machine.medium"),
        own("POST /machines/{machine}/nics", json!({"network": "lan"}), "nic.attach"),
        own("DELETE /machines/{machine}/nics/{mac}", Value::Null, "nic.detach")
            .before("POST /machines/m/stop", json!({"force": true})),
        own("PUT /machines/{machine}/nics/{mac}/inbound", inbound, "machine.inbound").on_bridge(),
    ]
}

fn volumes() -> Vec<Row> {
    vec![
        row("POST /volumes", Whom::Maker, json!({"name": "new", "size_mib": 8}), "volume.create"),
        own("DELETE /volumes/{volume}", Value::Null, "volume.delete"),
        own("POST /volumes/{volume}/attach", json!({"machine": "m"}), "volume.attach"),
        own("POST /volumes/{volume}/detach", Value::Null, "volume.detach")
            .before("POST /volumes/{volume}/attach", json!({"machine": "m"})),
        own("POST /volumes/{volume}/grow", json!({"size_mib": 16}), "volume.grow"),
        own("POST /volumes/{volume}/limit", json!({"iops": 100}), "volume.limit"),
    ]
}

fn pools() -> Vec<Row> {
    use Whom::{Account, Maker, Seer};
    let spec = || json!({"name": "p", "template": "micro", "size": 1});
    let wanted = || json!({"pools": {"p": 1}});
    vec![
        read("GET /pools", Account).of_pool(),
        read("GET /pools/figures", Account).of_pool(),
        read("GET /pools/{pool}", Account).of_pool(),
        read("GET /pools/{pool}/machines", Account).of_pool(),
        administer("POST /pools", spec(), "pool.create"),
        administer("PUT /pools/{pool}", spec(), "pool.change").of_pool(),
        administer("PATCH /pools/{pool}", json!({"size": 3}), "pool.override").of_pool(),
        administer("POST /pools/{pool}/reset", Value::Null, "pool.override")
            .of_pool()
            .before("PATCH /pools/p", json!({"size": 3})),
        administer("POST /pools/{pool}/drain", Value::Null, "pool.drain").of_pool(),
        administer("DELETE /pools/{pool}", Value::Null, "pool.delete").of_pool(),
        read("GET /checkouts", Account).of_lent(),
        read("GET /checkouts/{checkout}", Seer).of_lent(),
        row("POST /checkouts", Maker, wanted(), "checkout.make").of_pool(),
        own("PATCH /checkouts/{checkout}", json!({"tags": {"a": "b"}}), "checkout.change").of_lent(),
        own("DELETE /checkouts/{checkout}", Value::Null, "checkout.return").of_lent(),
        read("GET /requests", Account).of_request(),
        read("GET /requests/{request}", Seer).of_request(),
        row("POST /requests", Maker, wanted(), "request.make").of_pool(),
        own("DELETE /requests/{request}", Value::Null, "request.delete").of_request(),
    ]
}

fn others() -> Vec<Row> {
    vec![
        own("POST /tasks/{task}/cancel", Value::Null, "task.cancel"),
        own("DELETE /tasks/{task}", Value::Null, "task.cancel"),
    ]
}
