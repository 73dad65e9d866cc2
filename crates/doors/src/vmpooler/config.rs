//! Pools as they are configured, and what may be overridden about them.

use super::by::Asking;
use super::wire::{
    Answer, Body, Content, Json, answer, any, bad, nothing_here, object, refused, texts, well,
};
use crate::state::DoorState;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use hostler_core::access::Caller;
use hostler_core::pools::{Overriding, Pool};
use serde_json::{Map, Value, json};

/// A pool as `GET /config` shows it.
fn shown(pool: &Pool) -> Value {
    let mut shown = serde_json::to_value(&pool.spec).unwrap_or_default();
    if let Value::Object(members) = &mut shown {
        members.retain(|_, value| !value.is_null());
        members.insert("alias".to_owned(), json!(pool.spec.aliases));
        members.insert("size".to_owned(), json!(pool.size()));
        members.insert("template".to_owned(), json!(pool.template()));
        if let Some(target) = pool.clone_target() {
            members.insert("clone_target".to_owned(), json!(target));
        }
        members.insert("template_ready".to_owned(), json!(pool.trouble.is_none()));
        // Keys are no secret, and nobody's business here either.
        members.remove("ssh_keys");
    }
    shown
}

async fn configured(state: &DoorState) -> Result<Vec<Value>, Response> {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    Ok(counts.iter().map(|counts| shown(&counts.pool)).collect())
}

fn fine() -> (&'static str, Json) {
    ("status", object([("ok", Json::from(true))]))
}

/// `GET /config`.
pub(super) async fn pools(State(state): State<DoorState>) -> Answer {
    let pools = configured(&state).await?.iter().map(any).collect();
    Ok(answer(StatusCode::OK, &object([("pool_configuration", Json::List(pools)), fine()])))
}

/// `GET /full_config`: with a token where there are any. Nothing secret is in what is shown.
pub(super) async fn whole(State(state): State<DoorState>, request: Request) -> Answer {
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    asking.somebody().await?;
    let rules = state.core().pool_rules();
    let settings = state.vmpooler();
    let config = json!({
        "site_name": settings.site_name,
        "vm_lifetime": rules.lifetime_s / 3600,
        "vm_lifetime_auth": rules.lifetime_with_token_s.map(|seconds| seconds / 3600),
        "max_lifetime_upper_limit": rules.lifetime_max_s.map(|seconds| seconds / 3600),
        "allowed_tags": rules.allowed_tags,
        "task_limit": rules.clones,
        "ondemand_clone_limit": rules.request_clones,
        "ondemand_request_ttl": rules.request_deadline_s / 60,
        "max_ondemand_instances_per_request": rules.request_most,
        "max_vm_retries": rules.request_retries,
        "experimental_features": settings.experimental_features,
        "domain": settings.domain,
    });
    let pools = Value::Array(configured(&state).await?);
    let full = json!({ "config": config, "pools": pools });
    Ok(answer(StatusCode::OK, &object([("full_config", any(&full)), fine()])))
}

/// Whoever may change pools: the switch first, then the token.
async fn changer(asking: Asking<'_>) -> Result<Caller, Response> {
    if !asking.state.vmpooler().experimental_features {
        return Err(bad(StatusCode::METHOD_NOT_ALLOWED, []));
    }
    asking.somebody().await
}

/// The members of a body that names pools.
async fn members(state: &DoorState, request: Request) -> Result<(Caller, Map<String, Value>), Response> {
    let (parts, body) = request.into_parts();
    let asking = Asking { state, headers: &parts.headers, extensions: &parts.extensions };
    let caller = changer(asking).await?;
    let body = Body::from_request(Request::new(body), &()).await?;
    match body.content() {
        Content::Value(Value::Object(members)) => Ok((caller, members)),
        Content::Value(Value::Null) => Err(nothing_here()),
        Content::Empty | Content::Value(_) | Content::Garbage(_) | Content::Deep => {
            let text = Json::from("JSON payload could not be parsed");
            Err(bad(StatusCode::BAD_REQUEST, [("message", text)]))
        }
    }
}

/// Names among these that are no pool's own name.
async fn strangers<'a>(
    state: &DoorState,
    names: impl Iterator<Item = &'a String>,
) -> Result<Vec<String>, Response> {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let known = |name: &str| counts.iter().any(|counts| counts.pool.spec.name == name);
    Ok(names.filter(|name| !known(name)).cloned().collect())
}

/// Overrides, all or none. 201 when something is another now, 200 when all was so already.
async fn overridden(state: &DoorState, caller: &Caller, asked: Vec<(String, Overriding)>) -> Answer {
    let done = state.core().pool_override(caller, &asked).await.map_err(refused)?;
    let changed = done.iter().any(|(before, after)| before != after);
    Ok(well(if changed { StatusCode::CREATED } else { StatusCode::OK }, []))
}

/// `POST /config/poolsize`.
pub(super) async fn size(State(state): State<DoorState>, request: Request) -> Answer {
    let (caller, members) = members(&state, request).await?;
    let mut wrong = strangers(&state, members.keys()).await?;
    let mut asked = Vec::new();
    for (name, value) in &members {
        let size = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match size.and_then(|size| u32::try_from(size).ok()) {
            Some(size) => {
                asked.push((name.clone(), Overriding { size: Some(Some(size)), ..Overriding::default() }));
            }
            None if !wrong.contains(name) => wrong.push(name.clone()),
            None => {}
        }
    }
    if !wrong.is_empty() {
        return Err(bad(StatusCode::BAD_REQUEST, [("not_configured", texts(wrong))]));
    }
    overridden(&state, &caller, asked).await
}

/// `POST /config/pooltemplate`.
///
/// Quirk: vmpooler's templates are paths; one without a slash inside is refused. Here a template is its last part.
pub(super) async fn template(State(state): State<DoorState>, request: Request) -> Answer {
    let (caller, members) = members(&state, request).await?;
    let mut wrong = strangers(&state, members.keys()).await?;
    let mut asked = Vec::new();
    for (name, value) in &members {
        match value.as_str().and_then(last_part) {
            Some(template) => {
                let template = Some(Some(template.to_owned()));
                asked.push((name.clone(), Overriding { template, ..Overriding::default() }));
            }
            None if !wrong.contains(name) => wrong.push(name.clone()),
            None => {}
        }
    }
    if !wrong.is_empty() {
        return Err(bad(StatusCode::BAD_REQUEST, [("bad_templates", texts(wrong))]));
    }
    overridden(&state, &caller, asked).await
}

fn last_part(path: &str) -> Option<&str> {
    let inside = path.contains('/') && !path.starts_with('/') && !path.ends_with('/');
    path.rsplit('/').next().filter(|_| inside)
}

/// `POST /config/clonetarget`.
pub(super) async fn target(State(state): State<DoorState>, request: Request) -> Answer {
    let (caller, members) = members(&state, request).await?;
    let mut wrong = strangers(&state, members.keys()).await?;
    let mut asked = Vec::new();
    for (name, value) in &members {
        match value.as_str().filter(|target| !target.is_empty()) {
            Some(target) => {
                let clone_target = Some(Some(target.to_owned()));
                asked.push((name.clone(), Overriding { clone_target, ..Overriding::default() }));
            }
            None if !wrong.contains(name) => wrong.push(name.clone()),
            None => {}
        }
    }
    if !wrong.is_empty() {
        return Err(bad(StatusCode::BAD_REQUEST, [("bad_templates", texts(wrong))]));
    }
    overridden(&state, &caller, asked).await
}

/// Resets one override of a pool; answers what it was.
async fn reset(
    asking: Asking<'_>,
    name: &str,
    overriding: Overriding,
    told: impl Fn(&Pool, &Pool) -> [(String, Json); 2],
) -> Answer {
    let state = asking.state;
    let caller = changer(asking).await?;
    if !strangers(state, std::iter::once(&name.to_owned())).await?.is_empty() {
        return Err(nothing_here());
    }
    let done =
        state.core().pool_override(&caller, &[(name.to_owned(), overriding)]).await.map_err(refused)?;
    let Some((before, after)) = done.first() else { return Err(nothing_here()) };
    let status = if before == after { StatusCode::OK } else { StatusCode::CREATED };
    Ok(well(status, told(before, after)))
}

/// `DELETE /config/poolsize/<pool>`.
pub(super) async fn size_reset(
    State(state): State<DoorState>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let overriding = Overriding { size: Some(None), ..Overriding::default() };
    let told = |before: &Pool, after: &Pool| {
        [
            ("pool_size_before_reset".to_owned(), Json::from(before.size())),
            ("pool_size_before_overrides".to_owned(), Json::from(after.spec.size)),
        ]
    };
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    reset(asking, &name, overriding, told).await
}

/// `DELETE /config/pooltemplate/<pool>`.
pub(super) async fn template_reset(
    State(state): State<DoorState>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let overriding = Overriding { template: Some(None), ..Overriding::default() };
    let told = |before: &Pool, after: &Pool| {
        [
            ("template_before_reset".to_owned(), Json::from(before.template())),
            ("template_before_overrides".to_owned(), Json::from(after.spec.template.as_str())),
        ]
    };
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    reset(asking, &name, overriding, told).await
}

/// `POST /poolreset`: what is ready is replaced. The values mean nothing.
pub(super) async fn drain(State(state): State<DoorState>, request: Request) -> Answer {
    let (caller, members) = members(&state, request).await?;
    let wrong = strangers(&state, members.keys()).await?;
    if !wrong.is_empty() {
        wrong.iter().for_each(|name| state.counters().count("poolreset_invalid", &[("poolname", name)]));
        return Err(bad(StatusCode::BAD_REQUEST, [("bad_pools", texts(wrong))]));
    }
    let names: Vec<String> = members.keys().cloned().collect();
    state.core().pool_drain(&caller, &names).await.map_err(refused)?;
    Ok(well(StatusCode::CREATED, []))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_paths_with_something_on_both_sides() {
        assert_eq!(last_part("dir/tmpl"), Some("tmpl"));
        for wrong in ["tmpl", "/tmpl", "dir/", ""] {
            assert_eq!(last_part(wrong), None, "{wrong}");
        }
    }
}
