//! Templates, volumes and storages.

use super::fields;
use super::render;
use super::types::{
    Accepted, NamedAsk, Page, PageAsk, Storage, Template, TemplateCreate, TemplatesAsk, Volume, VolumeAttach,
    VolumeCreate, VolumeGrow, VolumeLimits, VolumesAsk,
};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick, Posted, accepted};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::ports::IoLimits;
use hostler_core::query::Filter;
use hostler_core::templates::TemplateAsk;
use hostler_core::volumes::VolumeAsk;
use hostler_core::{Error, ErrorKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes that answer soon.
pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(template_list, template_create))
        .routes(routes!(template_show, template_delete))
        .routes(routes!(volume_list, volume_create))
        .routes(routes!(volume_show, volume_delete))
        .routes(routes!(volume_attach))
        .routes(routes!(volume_detach))
        .routes(routes!(volume_grow))
        .routes(routes!(volume_limit))
        .routes(routes!(storage_list))
}

const TEMPLATES: ListSpec = ListSpec {
    fields: fields::TEMPLATES,
    picks: &[("name", Pick::Contains), ("state", Pick::Words(&["building", "ready", "deleting", "failed"]))],
};

/// List templates
#[utoipa::path(get, path = "/templates", tag = "templates", params(PageAsk, TemplatesAsk), responses((status = 200, body = Page<Template>)))]
async fn template_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Template>>> {
    let query = ListQuery::read(&parameters.0, &TEMPLATES)?;
    let page = state.core().template_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, |template| render::template(&caller, template))))
}

/// Make a template
///
/// A further version when the name exists. Administrators only.
#[utoipa::path(
    post, path = "/templates", tag = "templates", request_body = TemplateCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat")),
    responses((status = 202, body = Accepted<Template>))
)]
async fn template_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, idempotency }: Posted<TemplateCreate>,
) -> Answer {
    let ask = TemplateAsk {
        name: value.name,
        source: render::source(value.source)?,
        description: value.description,
        vcpus: value.vcpus,
        memory_mib: value.memory_mib,
        disk_mib: value.disk_mib,
        firmware: value.firmware.into(),
        fork: value.fork,
        storage: value.storage,
    };
    let replayed = match &idempotency {
        Some(asked) => state.core().answered_before(&caller, asked).await?,
        None => false,
    };
    let made = state.core().template_make(&caller, &ask, idempotency.as_ref()).await.map_err(in_source)?;
    Ok(accepted(render::template(&caller, made.record), made.task.as_ref(), replayed))
}

/// On the wire the parts of a source are one level down.
pub(super) fn in_source(mut error: Error) -> Error {
    if let ErrorKind::Invalid { field } = &mut error.kind
        && ["recipe", "path", "url"].contains(&field.as_str())
    {
        field.insert_str(0, "source/");
    }
    error
}

/// Show a template
#[utoipa::path(
    get, path = "/templates/{template}", tag = "templates",
    params(("template" = String, Path, description = "Id, number, name@version, or name (its newest ready version)")),
    responses((status = 200, body = Template))
)]
async fn template_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(template): Path<String>,
) -> Answer<Json<Template>> {
    let template = state.core().template_get(&caller, &template).await?;
    Ok(Json(render::template(&caller, template)))
}

/// Remove one version of a template
///
/// Refused while a machine or volume stands on it. Administrators only.
#[utoipa::path(
    delete, path = "/templates/{template}", tag = "templates",
    params(("template" = String, Path, description = "Id, number, name@version, or name (its newest ready version)")),
    responses((status = 202, body = Accepted<Template>))
)]
async fn template_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(template): Path<String>,
) -> Answer {
    let done = state.core().template_delete(&caller, &template).await?;
    Ok(accepted(render::template(&caller, done.record), done.task.as_ref(), false))
}

const VOLUMES: ListSpec = ListSpec {
    fields: fields::VOLUMES,
    picks: &[
        ("name", Pick::Contains),
        ("state", Pick::Words(&["creating", "present", "deleting"])),
        ("machine", Pick::Own),
        ("owner", Pick::Key),
    ],
};

/// List volumes
///
/// The caller's; an administrator sees everybody's.
#[utoipa::path(get, path = "/volumes", tag = "volumes", params(PageAsk, VolumesAsk), responses((status = 200, body = Page<Volume>)))]
async fn volume_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Volume>>> {
    let mut query = ListQuery::read(&parameters.0, &VOLUMES)?;
    if let Some(key) = query.own("machine").map(str::to_owned) {
        let machine = state.core().machine_get(&caller, &key).await?;
        query.narrow(Filter::eq("machine", machine.id.0));
    }
    let page = state.core().volume_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, Volume::from)))
}

/// Make an empty volume
#[utoipa::path(
    post, path = "/volumes", tag = "volumes", request_body = VolumeCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat")),
    responses((status = 202, body = Accepted<Volume>))
)]
async fn volume_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, idempotency }: Posted<VolumeCreate>,
) -> Answer {
    let ask = VolumeAsk { name: value.name, size_mib: value.size_mib, storage: value.storage };
    let replayed = match &idempotency {
        Some(asked) => state.core().answered_before(&caller, asked).await?,
        None => false,
    };
    let made = state.core().volume_create(&caller, &ask, idempotency.as_ref()).await?;
    Ok(accepted(Volume::from(made.record), made.task.as_ref(), replayed))
}

/// Show a volume
#[utoipa::path(
    get, path = "/volumes/{volume}", tag = "volumes",
    params(("volume" = String, Path, description = "Id or number")),
    responses((status = 200, body = Volume))
)]
async fn volume_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(volume): Path<String>,
) -> Answer<Json<Volume>> {
    Ok(Json(state.core().volume_get(&caller, &volume).await?.into()))
}

/// Remove a volume that no machine has
#[utoipa::path(
    delete, path = "/volumes/{volume}", tag = "volumes",
    params(("volume" = String, Path, description = "Id or number")),
    responses((status = 202, body = Accepted<Volume>))
)]
async fn volume_delete(State(state): State<DoorState>, By(caller): By, Path(volume): Path<String>) -> Answer {
    let done = state.core().volume_delete(&caller, &volume).await?;
    Ok(accepted(Volume::from(done.record), done.task.as_ref(), false))
}

/// Give a volume to a machine
///
/// At once while the machine is off; by a task while it is on.
#[utoipa::path(
    post, path = "/volumes/{volume}/attach", tag = "volumes", request_body = VolumeAttach,
    params(("volume" = String, Path, description = "Id or number")),
    responses(
        (status = 202, body = Accepted<Volume>),
        (status = 200, body = Accepted<Volume>, description = "Done at once")
    )
)]
async fn volume_attach(
    State(state): State<DoorState>,
    By(caller): By,
    Path(volume): Path<String>,
    Posted { value, .. }: Posted<VolumeAttach>,
) -> Answer {
    let done = state.core().volume_attach(&caller, &volume, &value.machine).await?;
    Ok(accepted(Volume::from(done.record), done.task.as_ref(), false))
}

/// Take a volume from its machine
///
/// At once while the machine is off; by a task while it is on, which waits for the guest to let go of the disk.
#[utoipa::path(
    post, path = "/volumes/{volume}/detach", tag = "volumes",
    params(("volume" = String, Path, description = "Id or number")),
    responses(
        (status = 202, body = Accepted<Volume>),
        (status = 200, body = Accepted<Volume>, description = "Done at once")
    )
)]
async fn volume_detach(State(state): State<DoorState>, By(caller): By, Path(volume): Path<String>) -> Answer {
    let done = state.core().volume_detach(&caller, &volume).await?;
    Ok(accepted(Volume::from(done.record), done.task.as_ref(), false))
}

/// Grow a volume
///
/// The machine that has it may be on; its guest sees the new size at once.
#[utoipa::path(
    post, path = "/volumes/{volume}/grow", tag = "volumes", request_body = VolumeGrow,
    params(("volume" = String, Path, description = "Id or number")),
    responses(
        (status = 202, body = Accepted<Volume>),
        (status = 200, body = Accepted<Volume>, description = "Done at once")
    )
)]
async fn volume_grow(
    State(state): State<DoorState>,
    By(caller): By,
    Path(volume): Path<String>,
    Posted { value, .. }: Posted<VolumeGrow>,
) -> Answer {
    let done = state.core().volume_grow(&caller, &volume, value.size_mib).await?;
    Ok(accepted(Volume::from(done.record), done.task.as_ref(), false))
}

/// Limit what a volume may do each second
///
/// Replaces both limits.
#[utoipa::path(
    post, path = "/volumes/{volume}/limit", tag = "volumes", request_body = VolumeLimits,
    params(("volume" = String, Path, description = "Id or number")),
    responses(
        (status = 202, body = Accepted<Volume>),
        (status = 200, body = Accepted<Volume>, description = "Done at once")
    )
)]
async fn volume_limit(
    State(state): State<DoorState>,
    By(caller): By,
    Path(volume): Path<String>,
    Posted { value, .. }: Posted<VolumeLimits>,
) -> Answer {
    let done = state
        .core()
        .volume_limit(&caller, &volume, IoLimits { iops: value.iops, bytes: value.bytes })
        .await?;
    Ok(accepted(Volume::from(done.record), done.task.as_ref(), false))
}

const STORAGES: ListSpec = ListSpec { fields: fields::STORAGES, picks: &[("name", Pick::Contains)] };

/// List storages
#[utoipa::path(get, path = "/storages", tag = "volumes", params(PageAsk, NamedAsk), responses((status = 200, body = Page<Storage>)))]
async fn storage_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Storage>>> {
    let query = ListQuery::read(&parameters.0, &STORAGES)?;
    let page = state.core().storage_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, |(place, facts)| render::storage(&caller, place, facts.as_ref()))))
}
