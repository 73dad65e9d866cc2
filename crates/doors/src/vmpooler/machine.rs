//! One machine: shown, changed, given back.

use super::asked::{Asked, Version, domain_of};
use super::attached;
use super::checkout::pool_of;
use super::wire::{Answer, Json, Object, Read, Refused, read, rfc3339};
use crate::state::DoorState;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::Caller;
use hostler_core::machines::{Life, Machine};
use hostler_core::pools::{CheckoutChange, StockState};
use hostler_core::snapshots::SnapshotState;
use hostler_core::{Error, ErrorKind};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A machine that was found at a path.
pub(super) async fn found(state: &DoorState, caller: &Caller, name: &str) -> Answer<Machine> {
    let machine = state.core().pool_machine(caller, name).await?;
    // Core finds it by its id as well, which is no name here.
    let forgotten = machine.life == Life::Gone
        && state.core().clock().now().since(machine.updated_at) > state.vmpooler().keep_destroyed;
    if machine.name.as_str() == name && !forgotten { Ok(machine) } else { Err(Refused::not_found()) }
}

/// `GET /vm/{name}`, also of one that is gone.
pub(super) async fn show(State(state): State<DoorState>, asked: Asked, Path(name): Path<String>) -> Answer {
    let name = asked.version.short_name(&name)?;
    let caller = asked.looking(&state).await?;
    let machine = found(&state, &caller, name).await?;
    let shown = rendered(&state, &caller, asked.version, &machine).await?;
    Ok(Object::ok(true).with(name, shown).answered(StatusCode::OK))
}

/// Hours with two decimals.
fn hours(of: Duration) -> f64 {
    (of.as_secs_f64() / 36.0).round() / 100.0
}

/// What clients call the state that a machine is in. One that was given back still runs until it has gone: posh-vmpooler
/// looks right after.
fn state_of(machine: &Machine) -> &'static str {
    let Some(stock) = &machine.stock else { return "destroyed" };
    match (stock.state, machine.life) {
        (_, Life::Gone) => "destroyed",
        (StockState::Filling, _) => "pending",
        (StockState::Ready, _) => "ready",
        (StockState::Lent, _) => "running",
        (StockState::Returned, _) if stock.checkout.is_some() => "running",
        (StockState::Returned | StockState::Failed, _) => "destroyed",
    }
}

/// Quirk: `ip` is text and `domain` is there, even when nothing is known: go-vmpooler stops without them.
async fn rendered(state: &DoorState, caller: &Caller, version: Version, machine: &Machine) -> Answer<Object> {
    let core = state.core();
    let now = core.clock().now();
    let pools = core.pool_list(caller).await?;
    let stock = machine.stock.as_ref();
    let lifetime = core.checkout_lifetime(machine).await?;
    let word = state_of(machine);
    let mut shown = Object::default()
        .with("template", stock.map_or("", |stock| stock.pool_name.as_str()))
        .with("lifetime", lifetime / 3600);
    if let Some(checkout) = stock.and_then(|stock| stock.checkout.as_ref()) {
        let age = checkout.ended_at.unwrap_or(now).since(checkout.at);
        shown = shown.with("running", hours(age));
        if word == "running" {
            let end = checkout.at.plus(Duration::from_secs(lifetime));
            let remaining = (lifetime > 0).then(|| hours(end.since(now)));
            shown = shown
                .perhaps("remaining", remaining)
                .perhaps("start_time", rfc3339(checkout.at))
                .perhaps("end_time", Some(end).filter(|_| lifetime > 0).and_then(rfc3339));
        }
    }
    shown = shown.with("state", word);
    let tags = stock.and_then(|stock| stock.checkout.as_ref()).map(|checkout| &checkout.tags);
    if let Some(tags) = tags.filter(|tags| !tags.is_empty()) {
        let tags: Object = tags.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        shown = shown.with("tags", tags);
    }
    let shown = parts(state, shown, machine).await?;
    let domain = domain_of(state, pool_of(&pools, machine));
    let shown = shown.with("ip", ip_of(state, machine).await?);
    let shown = match version {
        Version::Bare => shown.with("domain", domain.unwrap_or_default()),
        Version::Full => shown.with("fqdn", version.host_name(machine.name.as_str(), domain)),
    };
    let host = match machine.life {
        Life::Present => core.host_get(caller, &machine.host.to_string()).await.ok(),
        _ => None,
    };
    Ok(shown.perhaps("host", host.map(|host| host.name)))
}

/// Snapshots that are finished, and disks beyond the first, in the order in which they were attached.
async fn parts(state: &DoorState, shown: Object, machine: &Machine) -> Answer<Object> {
    let core = state.core();
    let finished = core.pool_snapshots(machine).await?;
    let finished = finished.iter().filter(|snapshot| snapshot.state == SnapshotState::Present);
    let snapshots: Vec<String> = finished.map(|snapshot| attached::word(snapshot.id.0)).collect();
    let volumes = core.volumes_on(std::slice::from_ref(machine)).await?;
    let more = volumes.values().flatten().filter(|volume| volume.template.is_none() && volume.task.is_none());
    let disks: Vec<String> = more.map(|volume| format!("+{}gb", volume.size_mib / 1024)).collect();
    Ok(shown
        .perhaps("snapshots", Some(snapshots).filter(|all| !all.is_empty()))
        .perhaps("disk", Some(disks).filter(|all| !all.is_empty())))
}

/// Its first address: one that is reserved, else what the guest says.
async fn ip_of(state: &DoorState, machine: &Machine) -> Answer<String> {
    let reserved = state.core().addresses_of(std::slice::from_ref(machine)).await?;
    let own = machine.nics.iter().flat_map(|nic| &nic.addresses).find_map(|id| reserved.get(id));
    let alive = machine.life != Life::Gone;
    let told = machine.guest.iter().filter(|_| alive).flat_map(|facts| facts.addresses.values().flatten());
    // Behind user networking every guest has the same address, which leads nowhere.
    let reached = |ip: &&std::net::IpAddr| !ip.is_loopback() && machine.ssh.is_none() && ip.is_ipv4();
    let ip = own.or_else(|| told.into_iter().find(reached));
    Ok(ip.map(ToString::to_string).unwrap_or_default())
}

/// `DELETE /vm/{name}`: what was lent with a token needs a token, anybody's.
pub(super) async fn give_back(
    State(state): State<DoorState>,
    asked: Asked,
    Path(name): Path<String>,
) -> Answer {
    let name = asked.version.short_name(&name)?;
    let looking = asked.looking(&state).await?;
    let given = async {
        let machine = found(&state, &looking, name).await?;
        let stock = machine.stock.as_ref();
        if stock.is_none_or(|stock| stock.state != StockState::Lent) {
            return Err(Refused::not_found());
        }
        let with_token =
            stock.and_then(|stock| stock.checkout.as_ref()).is_some_and(|checkout| checkout.token.is_some());
        let caller = if with_token { asked.with_token(&state).await? } else { asked.perhaps(&state).await? };
        state.core().checkout_return(&caller, name).await?;
        Ok((caller.login, machine))
    };
    match given.await {
        Ok((login, machine)) => {
            state.vmpooler_counters().given_back(&login, &machine);
            Ok(Object::ok(true).answered(StatusCode::OK))
        }
        Err(refused) => {
            state.vmpooler_counters().count("delete_failed");
            Err(refused)
        }
    }
}

/// What a `PUT` asks for.
#[derive(Debug, Default)]
struct Wanted {
    lifetime: Option<u64>,
    tags: Option<BTreeMap<String, String>>,
    disk: Option<Value>,
    failures: Vec<Json>,
}

/// `PUT /vm/{name}`: a lifetime, tags, both or, for vmfloaty, a disk. What fails leaves everything as it was.
///
/// Quirk: tags need no token, since beaker sends none with them; `strict_put` says otherwise.
pub(super) async fn change(
    State(state): State<DoorState>,
    asked: Asked,
    Path(name): Path<String>,
    body: Body,
) -> Answer {
    let name = asked.version.short_name(&name)?;
    let looking = asked.looking(&state).await?;
    let machine = found(&state, &looking, name).await?;
    let members = match read(body).await {
        Read::Members(members) => members,
        Read::Nothing if asked.version == Version::Full => Vec::new(),
        other => return Err(unreadable(asked.version, other)),
    };
    let wanted = wanted(&state, &machine, members).await?;
    let needs_token = wanted.lifetime.is_some() || wanted.disk.is_some() || state.vmpooler().strict_put;
    let caller = if needs_token { asked.with_token(&state).await? } else { asked.best(&state).await? };
    if !wanted.failures.is_empty() {
        return Err(Refused::bare(StatusCode::BAD_REQUEST).saying("failure", wanted.failures));
    }
    let change = CheckoutChange { lifetime_s: wanted.lifetime, tags: wanted.tags };
    if change != CheckoutChange::default() {
        state.core().checkout_change(&caller, name, &change).await.map_err(failed)?;
    }
    match wanted.disk {
        Some(size) => attached::disk_for(&state, &caller, name, asked.version, &size_text(&size)).await,
        None => Ok(Object::ok(true).answered(StatusCode::OK)),
    }
}

fn size_text(size: &Value) -> String {
    size.as_str().map_or_else(|| size.to_string(), ToOwned::to_owned)
}

/// Quirk: version 1 says nothing about a body that cannot be read.
fn unreadable(version: Version, body: Read) -> Refused {
    let text = match body {
        Read::Malformed(why) => format!("Invalid JSON: {why}"),
        Read::TooLarge => "Request body too large".to_owned(),
        Read::TooComplex => "Request body too complex".to_owned(),
        Read::Nothing | Read::Null | Read::Other | Read::Members(_) => {
            "Request body must be a JSON object".to_owned()
        }
    };
    match version {
        Version::Bare => Refused::bare(StatusCode::BAD_REQUEST),
        Version::Full => Refused::wrong(text),
    }
}

/// What core has refused of a change is a failure like those that are found here.
fn failed(error: Error) -> Refused {
    match error.kind {
        ErrorKind::Invalid { .. } => {
            Refused::bare(StatusCode::BAD_REQUEST).saying("failure", vec![Json::from(error.text)])
        }
        _ => error.into(),
    }
}

async fn wanted(state: &DoorState, machine: &Machine, members: Vec<(String, Value)>) -> Answer<Wanted> {
    let rules = state.core().pool_rules();
    let mut wanted = Wanted::default();
    for (name, value) in members {
        match name.as_str() {
            "lifetime" => match lifetime(&value) {
                Some(hours) => wanted.lifetime = Some(hours),
                None => {
                    let text = format!("Lifetime must be a positive integer (got {})", size_text(&value));
                    wanted.failures.push(text.into());
                }
            },
            "tags" => match value {
                Value::Object(tags) => wanted.tags = Some(told(tags)),
                other => {
                    let text =
                        format!("You provided tags ({}) as something other than a hash.", size_text(&other));
                    wanted.failures.push(text.into());
                }
            },
            // vmfloaty's `modify --disk` sends it here, by a mistake of its own.
            "disk" => wanted.disk = Some(value),
            _ => wanted.failures.push(format!("Unknown argument {}.", size_text(&value)).into()),
        }
    }
    if let Some(tags) = wanted.tags.as_ref().filter(|_| !rules.allowed_tags.is_empty()) {
        let strange: Vec<&str> = tags
            .keys()
            .map(String::as_str)
            .filter(|key| rules.allowed_tags.iter().all(|here| here != key))
            .collect();
        if !strange.is_empty() {
            // Spelt so by the product.
            let text = format!("You provided unsuppored tags ({}).", strange.join(", "));
            wanted.failures.push(text.into());
        }
    }
    if let Some(hours) = wanted.lifetime {
        let seconds = hours.saturating_mul(3600);
        wanted.lifetime = Some(seconds);
        let counts = state.core().pool_counts().await?;
        let own =
            counts.iter().find(|counts| machine.stock.as_ref().is_some_and(|it| it.pool == counts.pool.id));
        let own = own.and_then(|counts| counts.pool.spec.lifetime_max_s);
        if let Some(most) = own.or(rules.lifetime_max_s).filter(|most| seconds >= *most) {
            let most = most / 3600;
            let text =
                format!("You provided a lifetime ({hours}) that exceeds the configured maximum of {most}.");
            wanted.failures.push(text.into());
        }
    }
    Ok(wanted)
}

/// Hours since the checkout began.
///
/// Quirk: a number may be text, as scripts send it.
fn lifetime(value: &Value) -> Option<u64> {
    let hours = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) if text.bytes().all(|c| c.is_ascii_digit()) => text.parse().ok()?,
        _ => return None,
    };
    (hours > 0).then_some(hours)
}

/// Tags as text. Those without a value are passed over: beaker sends null for what it does not know.
fn told(tags: serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    let all = tags.into_iter().filter_map(|(key, value)| Some((key, text(value)?)));
    all.filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lifetime_is_a_positive_number_of_hours() {
        for (value, hours) in [(json!(2), Some(2)), (json!("2"), Some(2)), (json!(20000), Some(20000))] {
            assert_eq!(lifetime(&value), hours);
        }
        for junk in
            [json!(0), json!("0"), json!(-1), json!("abc"), json!(""), json!(1.5), json!(null), json!([])]
        {
            assert_eq!(lifetime(&junk), None, "{junk}");
        }
    }

    #[test]
    fn tags_without_a_value_are_passed_over_and_others_become_text() {
        let Value::Object(tags) = json!({"a": null, "b": "", "c": "master, agent", "d": 5, "e": true}) else {
            panic!("an object")
        };
        let told = told(tags);
        let shown: Vec<_> = told.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(shown, [("c", "master, agent"), ("d", "5"), ("e", "true")]);
    }

    #[test]
    fn hours_have_two_decimals() {
        assert_eq!(hours(Duration::from_secs(3 * 3600 + 360)), 3.1);
        assert_eq!(hours(Duration::from_secs(10)), 0.0);
        assert_eq!(hours(Duration::from_secs(300)), 0.08);
    }
}
