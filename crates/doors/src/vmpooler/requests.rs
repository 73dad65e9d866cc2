//! On-demand requests: machines that are made for whoever waits.

use super::by::Asking;
use super::lend::{by_name, joined, unknown};
use super::wire::{
    Answer, Body, Content, Json, Version, answer, bad, nothing_here, object, refused, texts, well,
};
use crate::state::DoorState;
use axum::Extension;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use hostler_core::pools::{Request as Ordered, RequestAsk, RequestState};
use serde_json::Value;

/// `POST /ondemandvm`: so many of each, and the request's name if it shall have one of the client's.
pub(super) async fn batch(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let asking = Asking { state: &state, headers: &parts.headers, extensions: &parts.extensions };
    // Who asks comes before what is asked for.
    asking.somebody().await?;
    let body = Body::from_request(Request::new(body), &()).await?;
    let garbage = || {
        let text = Json::from("JSON payload could not be parsed");
        bad(StatusCode::BAD_REQUEST, [("message", text)])
    };
    let members = match body.content() {
        Content::Value(Value::Object(members)) if !members.is_empty() => members,
        Content::Empty | Content::Value(Value::Null | Value::Object(_)) => return Err(nothing_here()),
        Content::Value(_) | Content::Deep | Content::Garbage(_) => return Err(garbage()),
    };
    let key = match members.get("request_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) => Some(key.clone()),
        Some(other) => Some(other.to_string()),
    };
    let counts = members.iter().filter(|(name, _)| *name != "request_id");
    let wanted: Option<Vec<(String, u32)>> =
        counts.map(|(name, value)| Some((name.clone(), whole(value)?))).collect();
    make(asking, version, key, wanted.ok_or_else(nothing_here)?).await
}

/// A count above 0, as a number or as text.
fn whole(value: &Value) -> Option<u32> {
    let count = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    count.filter(|count| *count > 0).and_then(|count| u32::try_from(count).ok())
}

/// `POST /ondemandvm/<pool>[+<pool>…]`.
pub(super) async fn path(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path(names): Path<String>,
    request: Request,
) -> Answer {
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    asking.somebody().await?;
    make(asking, version, None, joined(&names)).await
}

async fn make(
    asking: Asking<'_>,
    version: Version,
    key: Option<String>,
    wanted: Vec<(String, u32)>,
) -> Answer {
    let state = asking.state;
    if wanted.is_empty() {
        return Err(nothing_here());
    }
    let unknown = unknown(state, &wanted).await?;
    if !unknown.is_empty() {
        for name in &unknown {
            state.counters().count("ondemandrequest_fail_invalid", &[("poolname", name)]);
        }
        return Err(bad(StatusCode::NOT_FOUND, [("bad_templates", texts(unknown))]));
    }
    let caller = asking.somebody().await?;
    let most = state.core().pool_rules().request_most;
    let ask = RequestAsk { key: key.clone(), wanted };
    let request = state.core().request_make(&caller, &ask).await.map_err(|error| match error.code {
        "too_many" => {
            state.counters().count("ondemandrequest_fail_toomanyrequests", &[]);
            let text = format!("requested amount of instances exceeds the maximum {most}");
            bad(StatusCode::FORBIDDEN, [("message", Json::from(text))])
        }
        "taken" => {
            state.counters().count("ondemandrequest_generate_duplicaterequests", &[]);
            let key = key.clone().unwrap_or_default();
            let text = format!("request_id '{key}' has already been created");
            bad(StatusCode::CONFLICT, [("request_id", Json::from(key)), ("message", Json::from(text))])
        }
        _ => refused(error),
    })?;
    state.counters().count("ondemandrequest_generate_success", &[]);
    let mut members = vec![("request_id".to_owned(), Json::from(request.key.as_str()))];
    if version == Version::V1 {
        let domain = domain(state, &request).await?;
        members.extend(domain.map(|domain| ("domain".to_owned(), Json::from(domain))));
    }
    Ok(well(StatusCode::CREATED, members))
}

async fn domain(state: &DoorState, request: &Ordered) -> Result<Option<String>, Response> {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let pools = request.wanted.iter().map(|wanted| wanted.pool);
    let of = |id| counts.iter().find(|counts| counts.pool.id == id)?.pool.spec.domain.clone();
    Ok(pools.filter_map(of).last().or_else(|| state.vmpooler().domain.clone()))
}

fn not_found(key: &str) -> Response {
    let text = format!("no request found for request_id '{key}'");
    bad(StatusCode::NOT_FOUND, [("message", Json::from(text))])
}

/// `GET /ondemandvm/<id>`.
///
/// Quirk: counts of a request that is open are texts; names of one that is ready are always arrays.
pub(super) async fn show(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path(key): Path<String>,
    http: Request,
) -> Answer {
    let asking = Asking { state: &state, headers: http.headers(), extensions: http.extensions() };
    let looking = asking.looker().await?;
    let request = state.core().request_get(&looking, &key).await.map_err(|_| not_found(&key))?;
    let is_ready = request.state == RequestState::Ready;
    let mut members = vec![
        ("ok".to_owned(), Json::from(true)),
        ("request_id".to_owned(), Json::from(request.key.as_str())),
        ("ready".to_owned(), Json::from(is_ready)),
    ];
    let status = match &request.state {
        RequestState::Open => {
            members.extend(waiting(&request));
            StatusCode::ACCEPTED
        }
        RequestState::Ready => {
            let lent = state.core().request_machines(&request).await.map_err(refused)?;
            let (named, domain) = by_name(&state, version, &lent).await?;
            members.extend(
                named.into_iter().map(|(asked, names)| (asked, object([("hostname", texts(names))]))),
            );
            members.extend(domain.map(|domain| ("domain".to_owned(), Json::from(domain))));
            StatusCode::OK
        }
        RequestState::Failed(why) => {
            members.push(("message".to_owned(), Json::from(why.as_str())));
            StatusCode::OK
        }
        RequestState::Deleted => {
            members.push(("message".to_owned(), Json::from("The request has been deleted")));
            StatusCode::OK
        }
    };
    Ok(answer(status, &object(members)))
}

/// How many of each name are ready and how many are not.
fn waiting(request: &Ordered) -> Vec<(String, Json)> {
    let mut counts: Vec<(&str, u64, u64)> = Vec::new();
    for wanted in &request.wanted {
        let place = counts.iter().position(|(name, ..)| *name == wanted.asked).unwrap_or_else(|| {
            counts.push((&wanted.asked, 0, 0));
            counts.len() - 1
        });
        if wanted.ready { counts[place].1 += 1 } else { counts[place].2 += 1 }
    }
    let shown = |(name, ready, pending): (&str, u64, u64)| {
        let counts = [("ready", Json::from(ready.to_string())), ("pending", Json::from(pending.to_string()))];
        (name.to_owned(), object(counts))
    };
    counts.into_iter().map(shown).collect()
}

/// `DELETE /ondemandvm/<id>`.
pub(super) async fn end(State(state): State<DoorState>, Path(key): Path<String>, http: Request) -> Answer {
    let asking = Asking { state: &state, headers: http.headers(), extensions: http.extensions() };
    let caller = asking.somebody().await?;
    let core = state.core();
    let request = core.request_get(&caller, &key).await.map_err(|_| not_found(&key))?;
    if request.state == RequestState::Deleted {
        let text = Json::from("the request has already been deleted");
        return Ok(well(StatusCode::OK, [("message".to_owned(), text)]));
    }
    core.request_delete(&caller, &key).await.map_err(refused)?;
    Ok(well(StatusCode::OK, []))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_are_above_nothing() {
        assert_eq!(whole(&json!("4")), Some(4));
        assert_eq!(whole(&json!(4)), Some(4));
        for wrong in [json!(0), json!("0"), json!(-1), json!("x"), json!(null), json!([])] {
            assert_eq!(whole(&wrong), None);
        }
    }
}
