//! Requests: machines that are made for whoever asks, and waited for.

use super::asked::{Asked, Version, domain_of};
use super::checkout::{listed, pool_of, unknown};
use super::wire::{Answer, Json, Object, Read, Refused, read};
use crate::state::DoorState;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use hostler_core::ErrorKind;
use hostler_core::access::Caller;
use hostler_core::pools::{Pool, Request, RequestAsk, RequestState};
use serde_json::Value;
use std::sync::Arc;

/// The member of a body that is no pool.
const NAME: &str = "request_id";

/// `POST /ondemandvm`
pub(super) async fn make(State(state): State<DoorState>, asked: Asked, body: Body) -> Answer {
    let caller = asked.with_token(&state).await?;
    let members = match read(body).await {
        Read::Members(members) if !members.is_empty() => members,
        Read::Members(_) | Read::Null | Read::Nothing => return Err(Refused::not_found()),
        Read::Malformed(_) | Read::Other | Read::TooComplex | Read::TooLarge => {
            return Err(
                Refused::bare(StatusCode::BAD_REQUEST).saying("message", "JSON payload could not be parsed")
            );
        }
    };
    let mut ask = RequestAsk::default();
    for (name, value) in members {
        match value {
            Value::String(key) if name == NAME => ask.key = Some(key),
            Value::Null if name == NAME => {}
            Value::Number(key) if name == NAME => ask.key = Some(key.to_string()),
            value => ask.wanted.push((name, counted(&value)?)),
        }
    }
    ordered(&state, &asked, &caller, ask).await
}

/// Quirk: a number may be text.
fn counted(value: &Value) -> Answer<u32> {
    let count = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if text.bytes().all(|c| c.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    let count = count.filter(|count| *count > 0).ok_or_else(Refused::not_found)?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// `POST /ondemandvm/{pool}+{pool}…`
pub(super) async fn make_by_path(
    State(state): State<DoorState>,
    asked: Asked,
    Path(names): Path<String>,
) -> Answer {
    let caller = asked.with_token(&state).await?;
    let ask = RequestAsk { key: None, wanted: listed(&names) };
    ordered(&state, &asked, &caller, ask).await
}

async fn ordered(state: &DoorState, asked: &Asked, caller: &Caller, ask: RequestAsk) -> Answer {
    let core = state.core();
    let pools = core.pool_list(caller).await?;
    let counters = state.vmpooler_counters();
    let missing = unknown(&pools, &ask.wanted);
    if !missing.is_empty() {
        counters.refused("ondemandrequest_fail_invalid", &missing, &pools);
        return Err(Refused::not_found().saying("bad_templates", missing));
    }
    let most = core.pool_rules().request_most;
    let request = core.request_make(caller, &ask).await.map_err(|error| match (error.code, &ask.key) {
        ("too_many", _) => {
            let many: Vec<String> =
                ask.wanted.iter().filter(|(_, count)| *count > most).map(|(name, _)| name.clone()).collect();
            counters.refused("ondemandrequest_fail_toomanyrequests", &many, &pools);
            let text = format!("requested amount of instances exceeds the maximum {most}");
            Refused::bare(StatusCode::FORBIDDEN).saying("message", text)
        }
        ("taken", Some(key)) => {
            counters.count("ondemandrequest_generate_duplicaterequests");
            Refused::bare(StatusCode::CONFLICT)
                .saying(NAME, key.as_str())
                .saying("message", format!("{NAME} '{key}' has already been created"))
        }
        // Nothing was asked for.
        _ if matches!(&error.kind, ErrorKind::Invalid { field } if field == "pools") => Refused::not_found(),
        _ => error.into(),
    })?;
    counters.count("ondemandrequest_generate_success");
    let body = Object::ok(true).with(NAME, request.key.as_str());
    Ok(with_domain(state, asked.version, body, &pools, &request).answered(StatusCode::CREATED))
}

/// Version 1 has the domain beside the machines.
fn with_domain(
    state: &DoorState,
    version: Version,
    body: Object,
    pools: &[Arc<Pool>],
    request: &Request,
) -> Object {
    if version == Version::Full {
        return body;
    }
    let global = state.vmpooler().domain.as_deref();
    let of = |id| domain_of(state, pools.iter().find(|pool| pool.id == id).map(Arc::as_ref));
    let last = request.wanted.iter().rev().find_map(|wanted| of(wanted.pool));
    body.perhaps("domain", global.or(last))
}

fn unknown_request(key: &str) -> Refused {
    let key: String = key.chars().take(128).collect();
    Refused::not_found().saying("message", format!("no request found for {NAME} '{key}'"))
}

/// `GET /ondemandvm/{request}`
///
/// Quirks: 202 while it is not ready, and counts as text then; failures are 200, since vmfloaty goes on waiting otherwise;
/// names are an array even when there is one.
pub(super) async fn show(State(state): State<DoorState>, asked: Asked, Path(key): Path<String>) -> Answer {
    let caller = asked.looking(&state).await?;
    let request = match state.core().request_get(&caller, &key).await {
        Err(error) if error.kind == ErrorKind::NotFound => return Err(unknown_request(&key)),
        other => other?,
    };
    let body = Object::ok(true).with(NAME, request.key.as_str());
    Ok(match &request.state {
        RequestState::Ready => ready(&state, asked.version, &caller, body, &request).await?,
        RequestState::Open => {
            let mut body = body.with("ready", false);
            for (name, ready, pending) in progress(&request) {
                let shown =
                    Object::default().with("ready", ready.to_string()).with("pending", pending.to_string());
                body = body.with(name, shown);
            }
            body.answered(StatusCode::ACCEPTED)
        }
        RequestState::Failed(why) => {
            let minutes = state.core().pool_rules().request_deadline_s / 60;
            let text = "The request failed to provision instances within the configured ondemand_request_ttl";
            let text = format!("{text} '{minutes}'");
            let body = body.with("ready", false).with("message", text);
            body.with("reason", why.as_str()).answered(StatusCode::OK)
        }
        RequestState::Deleted => {
            let body = body.with("ready", false).with("message", "The request has been deleted");
            body.answered(StatusCode::OK)
        }
    })
}

/// Each name with how many are ready and how many are not.
fn progress(request: &Request) -> Vec<(&str, u32, u32)> {
    let mut all: Vec<(&str, u32, u32)> = Vec::new();
    for wanted in &request.wanted {
        let place = all.iter().position(|(name, ..)| *name == wanted.asked).unwrap_or_else(|| {
            all.push((&wanted.asked, 0, 0));
            all.len() - 1
        });
        let (_, ready, pending) = &mut all[place];
        *(if wanted.ready { ready } else { pending }) += 1;
    }
    all
}

async fn ready(
    state: &DoorState,
    version: Version,
    caller: &Caller,
    body: Object,
    request: &Request,
) -> Answer<Response> {
    let pools = state.core().pool_list(caller).await?;
    let machines = state.core().request_machines(request).await?;
    let mut body = body.with("ready", true);
    for (name, ..) in progress(request) {
        let of = machines.iter().filter(|(asked, _)| asked == name);
        let names: Vec<String> = of
            .map(|(_, machine)| {
                version.host_name(machine.name.as_str(), domain_of(state, pool_of(&pools, machine)))
            })
            .collect();
        body = body.with(name, Object::default().with("hostname", Json::from(names)));
    }
    Ok(with_domain(state, version, body, &pools, request).answered(StatusCode::OK))
}

/// `DELETE /ondemandvm/{request}`; again is no mistake.
pub(super) async fn take_back(
    State(state): State<DoorState>,
    asked: Asked,
    Path(key): Path<String>,
) -> Answer {
    let caller = asked.with_token(&state).await?;
    let before = match state.core().request_get(&caller, &key).await {
        Err(error) if error.kind == ErrorKind::NotFound => return Err(unknown_request(&key)),
        other => other?,
    };
    let again = before.state == RequestState::Deleted;
    state.core().request_delete(&caller, &key).await?;
    let text = again.then_some("the request has already been deleted");
    Ok(Object::ok(true).perhaps("message", text).answered(StatusCode::OK))
}
