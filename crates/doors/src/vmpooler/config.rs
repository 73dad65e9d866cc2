//! What pools are set to, and what may be changed about them here: sizes, templates, clone targets.
//!
//! Changes are behind `experimental_features` and, as everywhere in hostler, for administrators. They last until they are
//! reset, also across restarts.

use super::asked::Asked;
use super::wire::{Answer, Json, Object, Read, Refused, read, reply};
use crate::state::DoorState;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::Caller;
use hostler_core::pools::{Overriding, Pool};
use serde_json::Value;
use std::sync::Arc;

/// `GET /config`, for everybody.
pub(super) async fn show(State(state): State<DoorState>, asked: Asked) -> Answer {
    let caller = asked.looking(&state).await?;
    let pools = state.core().pool_list(&caller).await?;
    let pools: Vec<Json> = pools.iter().map(|pool| configured(pool).into()).collect();
    let body = Object::default().with("pool_configuration", pools).with("status", Object::ok(true));
    Ok(reply(StatusCode::OK, &body))
}

/// A pool in words of vmpooler: times are minutes.
fn configured(pool: &Pool) -> Object {
    let spec = &pool.spec;
    Object::default()
        .with("name", spec.name.as_str())
        .perhaps("alias", Some(spec.aliases.clone()).filter(|aliases| !aliases.is_empty()))
        .with("template", pool.template())
        .with("size", pool.size())
        .with("timeout", spec.boot_deadline_s / 60)
        .perhaps("ready_ttl", spec.ready_ttl_s.map(|ttl| ttl / 60))
        .perhaps("domain", spec.domain.as_deref())
        .perhaps("clone_target", pool.clone_target())
        .perhaps("backend_weight", spec.weight)
        .with("provider", "hostler")
        .with("template_ready", pool.trouble.is_none())
}

/// `GET /full_config`: with a token. Nothing in it is secret: what hostler is set to besides is not vmpooler's.
pub(super) async fn show_all(State(state): State<DoorState>, asked: Asked) -> Answer {
    let caller = asked.with_token(&state).await?;
    let pools = state.core().pool_list(&caller).await?;
    let pools: Vec<Json> = pools.iter().map(|pool| configured(pool).into()).collect();
    let (rules, settings) = (state.core().pool_rules(), state.vmpooler());
    let config = Object::default()
        .with("site_name", settings.site_name.as_str())
        .perhaps("domain", settings.domain.as_deref())
        .with("experimental_features", settings.experimental_features)
        .with("vm_lifetime", rules.lifetime_s / 3600)
        .perhaps("vm_lifetime_auth", rules.lifetime_with_token_s.map(|seconds| seconds / 3600))
        .perhaps("max_lifetime_upper_limit", rules.lifetime_max_s.map(|seconds| seconds / 3600))
        .with("task_limit", rules.clones)
        .with("ondemand_clone_limit", rules.request_clones)
        .with("max_ondemand_instances_per_request", rules.request_most)
        .with("ondemand_request_ttl", rules.request_deadline_s / 60)
        .with("max_vm_retries", rules.request_retries)
        .perhaps("allowed_tags", Some(rules.allowed_tags.clone()).filter(|tags| !tags.is_empty()));
    let filters: Object =
        rules.tag_filters.iter().map(|(tag, filter)| (tag.clone(), filter.as_str().into())).collect();
    let full = Object::default().with("config", config).with("tagfilter", filters).with("pools", pools);
    let body = Object::default().with("full_config", full).with("status", Object::ok(true));
    Ok(reply(StatusCode::OK, &body))
}

/// What is changed about pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    Size,
    Template,
    CloneTarget,
}

impl Property {
    /// Where names that are refused are told.
    fn list(self) -> &'static str {
        match self {
            Self::Size => "not_configured",
            Self::Template | Self::CloneTarget => "bad_templates",
        }
    }

    /// The change to this value; none when that is no value.
    ///
    /// Quirk: a template is named with a folder before it, which means nothing here.
    fn overriding(self, value: &Value) -> Option<Overriding> {
        let none = Overriding::default();
        let text = || value.as_str().filter(|text| !text.is_empty());
        Some(match self {
            Self::Size => {
                let size = match value {
                    Value::Number(number) => number.as_u64()?,
                    other => other.as_str()?.parse().ok()?,
                };
                Overriding { size: Some(Some(u32::try_from(size).ok()?)), ..none }
            }
            Self::Template => {
                let (folder, name) = text()?.rsplit_once('/')?;
                let whole = !folder.is_empty() && !folder.starts_with('/') && !name.is_empty();
                whole.then(|| Overriding { template: Some(Some(name.to_owned())), ..none })?
            }
            Self::CloneTarget => Overriding { clone_target: Some(Some(text()?.to_owned())), ..none },
        })
    }

    fn reset(self) -> Overriding {
        let none = Overriding::default();
        match self {
            Self::Size => Overriding { size: Some(None), ..none },
            Self::Template => Overriding { template: Some(None), ..none },
            Self::CloneTarget => Overriding { clone_target: Some(None), ..none },
        }
    }
}

/// `POST /config/poolsize`
pub(super) async fn size(state: State<DoorState>, asked: Asked, body: Body) -> Answer {
    change(state, asked, body, Property::Size).await
}

/// `POST /config/pooltemplate`
pub(super) async fn template(state: State<DoorState>, asked: Asked, body: Body) -> Answer {
    change(state, asked, body, Property::Template).await
}

/// `POST /config/clonetarget`
pub(super) async fn clone_target(state: State<DoorState>, asked: Asked, body: Body) -> Answer {
    change(state, asked, body, Property::CloneTarget).await
}

/// Who may change something here: 405 where nobody may, before anything else.
async fn admitted(state: &DoorState, asked: &Asked) -> Answer<Caller> {
    if !state.vmpooler().experimental_features {
        return Err(Refused::bare(StatusCode::METHOD_NOT_ALLOWED));
    }
    asked.with_token(state).await
}

async fn members(body: Body) -> Answer<Vec<(String, Value)>> {
    match read(body).await {
        Read::Members(members) => Ok(members),
        Read::Null => Err(Refused::not_found()),
        _ => {
            let text = "JSON payload could not be parsed";
            Err(Refused::bare(StatusCode::BAD_REQUEST).saying("message", text))
        }
    }
}

/// Whether a pool has this very name; aliases do not count.
fn is_named(pools: &[Arc<Pool>], name: &str) -> bool {
    pools.iter().any(|pool| pool.spec.name == name)
}

async fn change(State(state): State<DoorState>, asked: Asked, body: Body, property: Property) -> Answer {
    let caller = admitted(&state, &asked).await?;
    let pools = state.core().pool_list(&caller).await?;
    let mut wanted = Vec::new();
    let mut refused = Vec::new();
    for (name, value) in members(body).await? {
        match property.overriding(&value).filter(|_| is_named(&pools, &name)) {
            Some(overriding) => wanted.push((name, overriding)),
            None => refused.push(name),
        }
    }
    if !refused.is_empty() {
        state.vmpooler_counters().refused("config_invalid", &refused, &pools);
        return Err(Refused::bare(StatusCode::BAD_REQUEST).saying(property.list(), refused));
    }
    let done = state.core().pool_override(&caller, &wanted).await?;
    Ok(Object::ok(true)
        .answered(status(done.iter().any(|(before, after)| before.overrides != after.overrides))))
}

/// 201 when something is other than before.
fn status(changed: bool) -> StatusCode {
    if changed { StatusCode::CREATED } else { StatusCode::OK }
}

async fn undo(state: &DoorState, asked: &Asked, name: String, property: Property) -> Answer<(Pool, Pool)> {
    let caller = admitted(state, asked).await?;
    if !is_named(&state.core().pool_list(&caller).await?, &name) {
        return Err(Refused::not_found());
    }
    let done = state.core().pool_override(&caller, &[(name, property.reset())]).await?;
    done.into_iter().next().ok_or_else(Refused::not_found)
}

/// `DELETE /config/poolsize/{pool}`
pub(super) async fn size_reset(
    State(state): State<DoorState>,
    asked: Asked,
    Path(pool): Path<String>,
) -> Answer {
    let (before, after) = undo(&state, &asked, pool, Property::Size).await?;
    let body = Object::ok(true)
        .with("pool_size_before_reset", before.size())
        .with("pool_size_before_overrides", after.size());
    Ok(body.answered(status(before.overrides != after.overrides)))
}

/// `DELETE /config/pooltemplate/{pool}`
pub(super) async fn template_reset(
    State(state): State<DoorState>,
    asked: Asked,
    Path(pool): Path<String>,
) -> Answer {
    let (before, after) = undo(&state, &asked, pool, Property::Template).await?;
    let body = Object::ok(true)
        .with("template_before_reset", before.template())
        .with("template_before_overrides", after.template());
    Ok(body.answered(status(before.overrides != after.overrides)))
}

/// `POST /poolreset`: replaces what stands in these pools; values mean nothing.
pub(super) async fn reset(State(state): State<DoorState>, asked: Asked, body: Body) -> Answer {
    let caller = admitted(&state, &asked).await?;
    let names: Vec<String> = members(body).await?.into_iter().map(|(name, _)| name).collect();
    let pools = state.core().pool_list(&caller).await?;
    let bad: Vec<String> = names.iter().filter(|name| !is_named(&pools, name)).cloned().collect();
    if !bad.is_empty() {
        state.vmpooler_counters().refused("poolreset_invalid", &bad, &pools);
        return Err(Refused::bare(StatusCode::BAD_REQUEST).saying("bad_pools", bad));
    }
    state.core().pool_drain(&caller, &names).await?;
    Ok(Object::ok(true).answered(StatusCode::CREATED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_that_are_none_are_refused() {
        let good = |property: Property, value: Value| property.overriding(&value).unwrap();
        assert_eq!(good(Property::Size, json!("2")).size, Some(Some(2)));
        assert_eq!(good(Property::Size, json!(0)).size, Some(Some(0)));
        assert_eq!(good(Property::Template, json!("Templates/new")).template, Some(Some("new".into())));
        assert_eq!(good(Property::CloneTarget, json!("c")).clone_target, Some(Some("c".into())));
        for (property, value) in [
            (Property::Size, json!("-1")),
            (Property::Size, json!(-1)),
            (Property::Size, json!("x")),
            (Property::Size, json!(1.5)),
            (Property::Size, json!("4294967296")),
            (Property::Template, json!("new")),
            (Property::Template, json!("/new")),
            (Property::Template, json!("/a/new")),
            (Property::Template, json!("a/")),
            (Property::Template, json!(7)),
            (Property::CloneTarget, json!("")),
        ] {
            assert!(property.overriding(&value).is_none(), "{property:?} {value}");
        }
    }
}
