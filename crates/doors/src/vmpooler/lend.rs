//! What can be lent, and lending.

use super::by::Asking;
use super::wire::{
    Answer, Body, Content, Json, Version, answer, nothing_here, object, refused, texts, well, wrong,
};
use crate::state::DoorState;
use axum::Extension;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use hostler_core::access::Caller;
use hostler_core::machines::Machine;
use hostler_core::pools::CheckoutAsk;
use serde_json::Value;
use std::collections::BTreeMap;

/// Machines of one name in one request.
const MOST: u64 = 100;

/// `GET /vm`: names of pools, in order; aliases are not among them.
pub(super) async fn pools(State(state): State<DoorState>) -> Answer {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let names =
        counts.iter().filter(|counts| !counts.pool.removing).map(|counts| counts.pool.spec.name.as_str());
    Ok(answer(StatusCode::OK, &texts(names)))
}

/// `POST /vm`: so many of each.
pub(super) async fn batch(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let body = Body::from_request(Request::new(body), &()).await?;
    let wanted = match body.content() {
        Content::Empty => return Err(nothing_here()),
        Content::Deep => return Err(wrong("Request body too complex")),
        Content::Garbage(text) => return Err(wrong(text)),
        Content::Value(Value::Object(members)) if members.is_empty() => return Err(nothing_here()),
        Content::Value(Value::Object(_)) => ordered(&body.0)?,
        Content::Value(_) => return Err(wrong("Request body must be a JSON object")),
    };
    let asking = Asking { state: &state, headers: &parts.headers, extensions: &parts.extensions };
    checked_out(asking, version, wanted).await
}

/// Members with their counts, in the order in which they were written.
fn ordered(body: &[u8]) -> Result<Vec<(String, u32)>, Response> {
    let members: Members =
        serde_json::from_slice(body).map_err(|_| wrong("Request body must be a JSON object"))?;
    members.0.into_iter().map(|(name, value)| Ok((name, count(&value)?))).collect()
}

/// An object's members as they come, the last of those with one name.
struct Members(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    members.retain(|(known, _)| *known != name);
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// How many, as a number or as text: beaker and vanagon write text.
pub(super) fn count(value: &Value) -> Result<u32, Response> {
    let whole = match value {
        Value::Null => return Err(wrong("VM count is required")),
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|c| c.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    match whole {
        None => Err(wrong("VM count must be a valid integer")),
        Some(0) => Err(wrong("VM count must be at least 1")),
        Some(count) if count > MOST => Err(wrong(format!("VM count must be at most {MOST}"))),
        Some(count) => u32::try_from(count).map_err(|_| wrong("VM count must be a valid integer")),
    }
}

/// Names joined by `+`, each as often as it is wanted, in the order of their first.
pub(super) fn joined(names: &str) -> Vec<(String, u32)> {
    let mut wanted: Vec<(String, u32)> = Vec::new();
    for name in names.split('+').filter(|name| !name.is_empty()) {
        match wanted.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => wanted.push((name.to_owned(), 1)),
        }
    }
    wanted
}

/// `POST /vm/<pool>[+<pool>…]`. Whatever body there is means nothing.
pub(super) async fn path(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path(names): Path<String>,
    request: Request,
) -> Answer {
    let wanted = joined(&names);
    if wanted.is_empty() {
        return Err(nothing_here());
    }
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    checked_out(asking, version, wanted).await
}

/// Names that stand for no pool.
pub(super) async fn unknown(state: &DoorState, wanted: &[(String, u32)]) -> Result<Vec<String>, Response> {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let known = |name: &str| {
        let alive = || counts.iter().filter(|counts| !counts.pool.removing);
        alive().any(|counts| counts.pool.spec.names().any(|known| known == name))
    };
    Ok(wanted.iter().filter(|(name, _)| !known(name)).map(|(name, _)| name.clone()).collect())
}

async fn checked_out(asking: Asking<'_>, version: Version, wanted: Vec<(String, u32)>) -> Answer {
    let state = asking.state;
    // What is asked for comes before who asks.
    if let Some(name) = unknown(state, &wanted).await?.first() {
        state.counters().count("checkout_invalid", &[("poolname", name)]);
        return Err(nothing_here());
    }
    let caller = asking.anybody().await?;
    let ask = CheckoutAsk { wanted, lifetime_s: None, tags: BTreeMap::new() };
    let lent = state.core().pool_checkout(&caller, &ask, None).await;
    let lent = lent.map_err(|error| {
        if error.code == "empty_pool" {
            ask.wanted.iter().for_each(|(name, _)| {
                state.counters().count("checkout_empty", &[("poolname", name)]);
            });
        }
        refused(error)
    })?;
    count_lent(state, &caller, &lent);
    let (mut members, domain) = hostnames(state, version, &lent).await?;
    members.extend(domain.map(|domain| ("domain".to_owned(), Json::from(domain))));
    Ok(well(StatusCode::OK, members))
}

fn count_lent(state: &DoorState, caller: &Caller, lent: &[(String, Machine)]) {
    let user = if caller.credential.is_some() { caller.login.as_str() } else { "unauthenticated" };
    for (_, machine) in lent {
        let pool = machine.stock.as_ref().map_or("", |stock| stock.pool_name.as_str());
        state.counters().count("checkout_success", &[("poolname", pool)]);
        state.counters().count("user", &[("user", user), ("operation", "allocate"), ("poolname", pool)]);
    }
}

/// The domain that a machine's name is in.
pub(super) async fn domain(state: &DoorState, machine: &Machine) -> Result<Option<String>, Response> {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let pool = machine.stock.as_ref().map(|stock| stock.pool);
    let own = counts.iter().find(|counts| Some(counts.pool.id) == pool);
    let own = own.and_then(|counts| counts.pool.spec.domain.clone());
    Ok(own.or_else(|| state.vmpooler().domain.clone()))
}

/// What was lent, by the names that were asked for, and the domain beside them in the first version.
///
/// Quirk: one machine is a text, several are an array.
async fn hostnames(
    state: &DoorState,
    version: Version,
    lent: &[(String, Machine)],
) -> Result<(Vec<(String, Json)>, Option<String>), Response> {
    let (named, domain) = by_name(state, version, lent).await?;
    let members = named.into_iter().map(|(asked, names)| {
        let names = match names.as_slice() {
            [only] => Json::from(only.as_str()),
            several => texts(several.iter().map(String::as_str)),
        };
        (asked, object([("hostname", names)]))
    });
    Ok((members.collect(), domain))
}

/// Names on the wire of these machines, by the names that were asked for.
pub(super) async fn by_name(
    state: &DoorState,
    version: Version,
    lent: &[(String, Machine)],
) -> Result<(Vec<(String, Vec<String>)>, Option<String>), Response> {
    let mut named: Vec<(String, Vec<String>)> = Vec::new();
    let mut last = None;
    for (asked, machine) in lent {
        let domain = domain(state, machine).await?;
        let name = version.name(machine.name.as_str(), domain.as_deref());
        last = domain.or(last);
        match named.iter_mut().find(|(known, _)| known == asked) {
            Some((_, names)) => names.push(name),
            None => named.push((asked.clone(), vec![name])),
        }
    }
    Ok((named, last.filter(|_| version == Version::V1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_are_whole_numbers_as_such_or_as_text() {
        for (value, wanted) in [
            (json!("2"), Some(2)),
            (json!(2), Some(2)),
            (json!(100), Some(100)),
            (json!("0"), None),
            (json!(101), None),
            (json!(-1), None),
            (json!("-1"), None),
            (json!(1.5), None),
            (json!("x"), None),
            (json!(null), None),
            (json!([]), None),
            (json!("99999999999999999999999"), None),
        ] {
            assert_eq!(count(&value).ok(), wanted, "{value}");
        }
    }

    #[test]
    fn repeated_names_are_counted_in_the_order_of_their_first() {
        let pair = |name: &str, count| (name.to_owned(), count);
        assert_eq!(joined("a+b+a"), [pair("a", 2), pair("b", 1)]);
        assert_eq!(joined("+a++"), [pair("a", 1)]);
        assert!(joined("++").is_empty());
    }

    #[test]
    fn members_stay_in_the_order_they_were_written() {
        let pair = |name: &str, count| (name.to_owned(), count);
        assert_eq!(ordered(br#"{"z":"2","a":1}"#).unwrap(), [pair("z", 2), pair("a", 1)]);
        assert!(ordered(br#"{"z":{}}"#).is_err());
    }
}
