//! Pools listed, and machines lent from them.

use super::asked::{Asked, Version, domain_of};
use super::wire::{Answer, Json, Object, Read, Refused, read, reply};
use crate::state::DoorState;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use hostler_core::machines::Machine;
use hostler_core::pools::{CheckoutAsk, Pool};
use serde_json::Value;
use std::sync::Arc;

/// Machines of one name in one request.
const MOST: u32 = 100;

/// `GET /vm`: the names of pools; aliases are not among them.
pub(super) async fn pools(State(state): State<DoorState>, asked: Asked) -> Answer {
    let caller = asked.looking(&state).await?;
    let names: Vec<Json> =
        state.core().pool_list(&caller).await?.iter().map(|pool| pool.spec.name.as_str().into()).collect();
    Ok(reply(StatusCode::OK, &Json::from(names)))
}

/// `POST /vm`: an object of names and numbers.
pub(super) async fn batch(State(state): State<DoorState>, asked: Asked, body: Body) -> Answer {
    let mut wanted = Vec::new();
    for (name, count) in members(read(body).await)? {
        wanted.push((name, counted(&count)?));
    }
    lend(&state, &asked, wanted).await
}

/// The members of a body that asks for machines.
fn members(body: Read) -> Answer<Vec<(String, Value)>> {
    match body {
        Read::Members(members) if !members.is_empty() => Ok(members),
        Read::Members(_) | Read::Nothing => Err(Refused::not_found()),
        Read::Malformed(why) => Err(Refused::wrong(format!("Invalid JSON: {why}"))),
        Read::Null | Read::Other => Err(Refused::wrong("Request body must be a JSON object")),
        Read::TooLarge => Err(Refused::wrong("Request body too large")),
        Read::TooComplex => Err(Refused::wrong("Request body too complex")),
    }
}

/// How many are asked for.
///
/// Quirk: a number may be text; beaker and vanagon send nothing else.
fn counted(value: &Value) -> Answer<u32> {
    let count = match value {
        Value::Null => return Err(Refused::wrong("VM count is required")),
        Value::Number(number) => number.as_u64(),
        Value::String(text) if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) => {
            Some(text.parse().unwrap_or(u64::MAX))
        }
        _ => None,
    };
    match count {
        None => Err(Refused::wrong("VM count must be a valid integer")),
        Some(0) => Err(Refused::wrong("VM count must be at least 1")),
        Some(count) => match u32::try_from(count) {
            Ok(count) if count <= MOST => Ok(count),
            _ => Err(Refused::wrong(format!("VM count must be at most {MOST}"))),
        },
    }
}

/// `POST /vm/{name}+{name}…`: every name is one machine. Whatever the body is, it is not looked at: the guide's own
/// example has curl send the text `--url`, and posh-vmpooler sends `""`.
pub(super) async fn by_path(
    State(state): State<DoorState>,
    asked: Asked,
    Path(names): Path<String>,
) -> Answer {
    let wanted = listed(&names);
    if wanted.iter().any(|(_, count)| *count > MOST) {
        return Err(Refused::wrong(format!("VM count must be at most {MOST}")));
    }
    lend(&state, &asked, wanted).await
}

/// Names joined by `+`; repeated ones count.
pub(super) fn listed(names: &str) -> Vec<(String, u32)> {
    let mut wanted: Vec<(String, u32)> = Vec::new();
    for name in names.split('+') {
        match wanted.iter_mut().find(|(here, _)| here == name) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => wanted.push((name.to_owned(), 1)),
        }
    }
    wanted
}

/// Those of the names that no pool has.
pub(super) fn unknown(pools: &[Arc<Pool>], wanted: &[(String, u32)]) -> Vec<String> {
    let known = |name: &str| pools.iter().any(|pool| pool.spec.names().any(|here| here == name));
    wanted.iter().filter(|(name, _)| !known(name)).map(|(name, _)| name.clone()).collect()
}

async fn lend(state: &DoorState, asked: &Asked, wanted: Vec<(String, u32)>) -> Answer {
    // Names before tokens, as it always was. Whoever may not even look is asked for a token first.
    let pools = state.core().pool_list(&asked.looking(state).await?).await?;
    let missing = unknown(&pools, &wanted);
    let counters = state.vmpooler_counters();
    if !missing.is_empty() {
        counters.refused("checkout_invalid", &missing, &pools);
        return Err(Refused::not_found());
    }
    let caller = asked.perhaps(state).await?;
    let ask = CheckoutAsk { wanted, ..CheckoutAsk::default() };
    let lent = match state.core().pool_checkout(&caller, &ask, None).await {
        Ok(lent) => lent,
        Err(error) => {
            if error.code == "empty_pool" {
                let names: Vec<String> = ask.wanted.iter().map(|(name, _)| name.clone()).collect();
                counters.refused("checkout_empty", &names, &pools);
            }
            return Err(error.into());
        }
    };
    counters.lent(&caller.login, &lent);
    Ok(shown(state, asked.version, &pools, &lent))
}

/// What was lent, by the names that were asked for. Nothing else may stand beside them: vmfloaty takes every member that it
/// does not know for a pool.
///
/// Quirks: one machine is text, several are an array; version 1 has the domain beside the names: the global one, else that
/// of the last machine.
fn shown(state: &DoorState, version: Version, pools: &[Arc<Pool>], lent: &[(String, Machine)]) -> Response {
    let mut names: Vec<(&str, Vec<String>)> = Vec::new();
    let mut last = None;
    for (asked, machine) in lent {
        let domain = domain_of(state, pool_of(pools, machine));
        last = domain.or(last);
        let name = version.host_name(machine.name.as_str(), domain);
        match names.iter_mut().find(|(here, _)| here == asked) {
            Some((_, all)) => all.push(name),
            None => names.push((asked, vec![name])),
        }
    }
    let mut body = Object::ok(true);
    for (asked, mut all) in names {
        let names: Json = if all.len() == 1 { all.remove(0).into() } else { all.into() };
        body = body.with(asked, Object::default().with("hostname", names));
    }
    if version == Version::Bare {
        body = body.perhaps("domain", state.vmpooler().domain.as_deref().or(last));
    }
    body.answered(StatusCode::OK)
}

/// The pool that a machine is of.
pub(super) fn pool_of<'a>(pools: &'a [Arc<Pool>], machine: &Machine) -> Option<&'a Pool> {
    let id = machine.stock.as_ref()?.pool;
    pools.iter().find(|pool| pool.id == id).map(Arc::as_ref)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_may_be_text_and_nothing_else_is_one() {
        for (value, count) in [(json!("2"), 2), (json!(2), 2), (json!("100"), 100), (json!("007"), 7)] {
            assert_eq!(counted(&value).unwrap(), count);
        }
        for value in [
            json!(null),
            json!("x"),
            json!(""),
            json!("-1"),
            json!(-1),
            json!(1.5),
            json!("1.5"),
            json!([]),
            json!(0),
            json!("0"),
            json!(101),
            json!("99999999999999999999"),
            json!(true),
            json!(" 1"),
        ] {
            assert!(counted(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn repeated_names_of_a_path_count() {
        assert_eq!(listed("a+a+b+a"), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
        assert_eq!(listed("a+"), [("a".to_owned(), 1), (String::new(), 1)]);
    }
}
