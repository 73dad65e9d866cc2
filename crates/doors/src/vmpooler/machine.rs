//! One machine of a pool: shown, changed, given back.

use super::by::Asking;
use super::lend::domain;
use super::wire::{
    Answer, Body, Content, Json, Version, bad, denied, object, refused, rfc3339, rounded, texts, well, wrong,
};
use super::{extras, wire};
use crate::state::DoorState;
use axum::Extension;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use hostler_core::access::Caller;
use hostler_core::machines::{Life, Machine};
use hostler_core::pools::{CheckoutChange, StockState};
use serde_json::Value;
use std::collections::BTreeMap;

/// Milliseconds of an hour.
const HOUR_MS: f64 = 3_600_000.0;
/// Seconds of an hour.
const HOUR_S: u64 = 3600;

/// The part of a name before its first dot: whoever has the full name may use it.
pub(super) fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// The machine that a path names, and who looks at it.
///
/// Quirk: from the second version on, a name that cannot be one is a bad request.
pub(super) async fn named(
    asking: Asking<'_>,
    version: Version,
    name: &str,
) -> Result<(Caller, Machine), Response> {
    let fits = name.len() <= 253 && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-.".contains(&c));
    if !fits && version != Version::V1 {
        return Err(wrong("Invalid hostname format"));
    }
    let looking = asking.looker().await?;
    let core = asking.state.core();
    let machine = core.pool_machine(&looking, &short(name).to_ascii_lowercase()).await;
    Ok((looking, machine.map_err(refused)?))
}

/// `GET /vm/<name>`.
pub(super) async fn show(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    let (looking, machine) = named(asking, version, &name).await?;
    let shown = shown(&state, &looking, version, &machine).await?;
    Ok(well(StatusCode::OK, [(machine.name.to_string(), shown)]))
}

/// The words of this dialect for where a machine is.
fn state_of(machine: &Machine, state: StockState) -> &'static str {
    match (machine.life, state) {
        (Life::Gone, _) => "destroyed",
        (_, StockState::Filling) => "pending",
        (_, StockState::Ready) => "ready",
        // Given back, and still there.
        (_, StockState::Lent | StockState::Returned) => "running",
        (_, StockState::Failed) => "pending",
    }
}

/// Quirks: `ip` and `domain` are always texts, since the Go client ends with an error when they are missing; `template`
/// is the pool; what there is none of is left out.
async fn shown(
    state: &DoorState,
    looking: &Caller,
    version: Version,
    machine: &Machine,
) -> Result<Json, Response> {
    let Some(stock) = &machine.stock else { return Err(wire::nothing_here()) };
    let lifetime_s = state.core().checkout_lifetime(machine).await.map_err(refused)?;
    let hours = lifetime_s.div_ceil(HOUR_S);
    let word = state_of(machine, stock.state);
    let mut members =
        vec![("template", Json::from(stock.pool_name.as_str())), ("lifetime", Json::from(hours))];
    if let Some(checkout) = &stock.checkout {
        let now = state.core().clock().now();
        let end = checkout.ended_at.filter(|_| word == "destroyed").unwrap_or(now);
        let age = end.since(checkout.at).as_millis() as f64 / HOUR_MS;
        members.push(("running", rounded(age, 2)));
        if word == "running" {
            let left = checkout.until.map_or(0.0, |until| until.since(now).as_millis() as f64 / HOUR_MS);
            members.push(("remaining", rounded(left, 2)));
            members.push(("start_time", Json::from(rfc3339(checkout.at))));
            members.extend(checkout.until.map(|until| ("end_time", Json::from(rfc3339(until)))));
        }
    }
    members.push(("state", Json::from(word)));
    let tags = stock.checkout.iter().flat_map(|checkout| &checkout.tags);
    let tags: Vec<_> = tags.map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
    if !tags.is_empty() {
        members.push(("tags", object(tags)));
    }
    let extras = extras::of(state, machine).await?;
    if !extras.snapshots.is_empty() {
        members.push(("snapshots", texts(extras.snapshots)));
    }
    if !extras.disks.is_empty() {
        members.push(("disk", texts(extras.disks)));
    }
    members.push(("ip", Json::from(extras.ip)));
    let domain = domain(state, machine).await?;
    match version {
        Version::V1 => members.push(("domain", Json::from(domain.unwrap_or_default()))),
        Version::V2 | Version::V3 => {
            members.push(("fqdn", Json::from(version.name(machine.name.as_str(), domain.as_deref()))));
        }
    }
    if let Ok(host) = state.core().host_get(looking, &machine.host.to_string()).await {
        members.push(("host", Json::from(host.name)));
    }
    Ok(object(members))
}

/// What `PUT` asks for.
#[derive(Default)]
struct Asked {
    change: CheckoutChange,
    disk: Option<Value>,
    failures: Vec<String>,
}

fn read(body: &Body) -> Result<Asked, Response> {
    let members = match body.content() {
        Content::Empty => return Ok(Asked::default()),
        Content::Value(Value::Object(members)) => members,
        Content::Value(_) => return Err(wrong("Request body must be a JSON object")),
        Content::Deep => return Err(wrong("Request body too complex")),
        Content::Garbage(text) => return Err(wrong(text)),
    };
    let mut asked = Asked::default();
    for (name, value) in members {
        match name.as_str() {
            "lifetime" => match hours(&value) {
                Some(hours) => asked.change.lifetime_s = Some(hours.saturating_mul(HOUR_S)),
                None => {
                    let text = format!("Lifetime must be a positive integer (got {})", plain(&value));
                    asked.failures.push(text);
                }
            },
            "tags" => match tags(&value) {
                Some(tags) => asked.change.tags = Some(tags),
                None => asked
                    .failures
                    .push(format!("You provided tags ({}) as something other than a hash.", plain(&value))),
            },
            "disk" => asked.disk = Some(value),
            _ => asked.failures.push(format!("Unknown argument {}.", plain(&value))),
        }
    }
    Ok(asked)
}

/// A whole number of hours above 0, as such or as text.
fn hours(value: &Value) -> Option<u64> {
    let hours = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    hours.filter(|hours| *hours > 0)
}

/// Tags as texts. Those that are null have no value, and so are passed over: beaker sends what it does not know.
fn tags(value: &Value) -> Option<BTreeMap<String, String>> {
    let members = value.as_object()?;
    let texts = members.iter().map(|(key, value)| {
        let text = if value.is_null() { String::new() } else { plain(value) };
        (key.clone(), text)
    });
    Some(texts.collect())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// `PUT /vm/<name>`: lifetime in hours since the checkout, and tags. All of it or nothing.
pub(super) async fn change(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let asking = Asking { state: &state, headers: &parts.headers, extensions: &parts.extensions };
    let (_, machine) = named(asking, version, &name).await?;
    let body = Body::from_request(Request::new(body), &()).await?;
    let asked = read(&body)?;
    if !asked.failures.is_empty() {
        return Err(bad(StatusCode::BAD_REQUEST, [("failure", texts(asked.failures))]));
    }
    let strict = state.vmpooler().strict_put || asked.change.lifetime_s.is_some() || asked.disk.is_some();
    let caller = if strict { asking.somebody().await? } else { asking.anybody().await? };
    if asked.change != CheckoutChange::default() {
        let changed = state.core().checkout_change(&caller, machine.name.as_str(), &asked.change).await;
        changed.map_err(|error| match &error.kind {
            hostler_core::ErrorKind::Invalid { field } => {
                let text = match (field.as_str(), asked.change.lifetime_s) {
                    ("lifetime", Some(seconds)) => too_long(seconds, &error.text),
                    ("tags", _) if error.text.contains("not allowed") => {
                        format!("You provided unsuppored tags ({}).", error.text)
                    }
                    _ => error.text,
                };
                bad(StatusCode::BAD_REQUEST, [("failure", texts([text]))])
            }
            _ => refused(error),
        })?;
    }
    if let Some(size) = &asked.disk {
        extras::disk_by(&state, &caller, version, &machine, &plain(size)).await?;
    }
    Ok(well(StatusCode::OK, []))
}

fn too_long(seconds: u64, text: &str) -> String {
    // The bound is the only number of seconds in core's words beside the one that was asked for.
    let bound = text.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
    format!(
        "You provided a lifetime ({}) that exceeds the configured maximum of {}.",
        seconds / HOUR_S,
        bound / HOUR_S
    )
}

/// `DELETE /vm/<name>`.
pub(super) async fn end(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    let (_, machine) = named(asking, version, &name).await?;
    let checkout = machine.stock.as_ref().and_then(|stock| stock.checkout.as_ref());
    let with_token = checkout.is_some_and(|checkout| checkout.token.is_some());
    let lent = machine.stock.as_ref().is_some_and(|stock| stock.state == StockState::Lent);
    if !lent || machine.life != Life::Present {
        state.counters().count("delete_failed", &[]);
        return Err(wire::nothing_here());
    }
    let caller = if with_token { asking.somebody().await? } else { asking.anybody().await? };
    let pool = machine.stock.as_ref().map_or("", |stock| stock.pool_name.as_str());
    match state.core().checkout_return(&caller, machine.name.as_str()).await {
        Ok(_) => {
            let user = if caller.credential.is_some() { caller.login.as_str() } else { "unauthenticated" };
            state.counters().count("delete_success", &[]);
            state.counters().count("user", &[("user", user), ("operation", "destroy"), ("poolname", pool)]);
            Ok(well(StatusCode::OK, []))
        }
        Err(error) if error.kind == hostler_core::ErrorKind::Denied => Err(denied()),
        Err(error) => Err(refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_taken_up_to_their_first_dot() {
        assert_eq!(short("a.b.c"), "a");
        assert_eq!(short("a"), "a");
    }

    #[test]
    fn what_cannot_be_changed_is_said_for_each_part() {
        let body = json!({"lifetime": "abc", "tags": "x", "bogus": 1}).to_string();
        let asked = read(&Body(body.into_bytes())).unwrap();
        let mut failures = asked.failures;
        failures.sort();
        assert_eq!(
            failures,
            [
                "Lifetime must be a positive integer (got abc)",
                "Unknown argument 1.",
                "You provided tags (x) as something other than a hash.",
            ]
        );
    }

    #[test]
    fn lifetimes_are_hours_and_tags_are_texts() {
        let body = json!({"lifetime": "2", "tags": {"a": null, "b": 1, "c": "x, y"}}).to_string();
        let change = read(&Body(body.into_bytes())).unwrap().change;
        assert_eq!(change.lifetime_s, Some(7200));
        let tags: Vec<_> = change.tags.unwrap().into_iter().collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(tags, [pair("a", ""), pair("b", "1"), pair("c", "x, y")]);
        for wrong in [json!(0), json!(-1), json!("0"), json!(1.5), json!([])] {
            assert_eq!(hours(&wrong), None);
        }
        assert_eq!(hours(&json!(1_000_000_000_000_000_000_u64)), Some(1_000_000_000_000_000_000));
        assert_eq!(
            too_long(7200, "a lifetime is shorter than 3600 s here, and this is 7200 s"),
            "You provided a lifetime (2) that exceeds the configured maximum of 1."
        );
    }
}
