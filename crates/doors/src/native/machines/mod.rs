//! Machines: make, look, change, switch, remove, run something inside.

mod console;
mod devices;
pub(super) mod render;

use super::types::{
    Accepted, Inbound, Machine, MachineCreate, MachineEdit, MachinesAsk, Page, PageAsk, PowerChange, Run,
    RunOutput, UserData,
};
use super::wire::{
    Answer, By, ListQuery, ListSpec, OptionallyPosted, Parameters, Pick, Posted, Refusal, accepted,
};
use crate::native::fields;
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostler_core::access::Caller;
use hostler_core::core::ListAsk;
use hostler_core::machines::{self, Life, Verb};
use hostler_core::ports::{CommandOutput, GuestCommand};
use hostler_core::query::{Compare, Filter};
use hostler_core::record::Value;
use hostler_core::secret::Secret;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes that answer soon.
pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(machine_list, machine_create))
        .routes(routes!(machine_show, machine_edit, machine_delete))
        .routes(routes!(machine_start))
        .routes(routes!(machine_stop))
        .routes(routes!(machine_restart))
        .routes(routes!(machine_reset))
        .routes(routes!(machine_pause))
        .routes(routes!(machine_resume))
        .routes(routes!(devices::machine_resize))
        .routes(routes!(devices::machine_medium))
        .routes(routes!(devices::nic_attach))
        .routes(routes!(devices::nic_detach))
        .routes(routes!(machine_inbound))
        .routes(routes!(console::console_log))
        .routes(routes!(machine_user_data))
}

/// Routes that may take long, or never end.
pub(super) fn slow_routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(machine_run))
        .routes(routes!(console::console_serial))
        .routes(routes!(console::console_display))
}

/// Lists of machines of pools.
pub(super) const STOCK: ListSpec = ListSpec {
    fields: fields::MACHINES,
    picks: &[
        ("name", Pick::Contains),
        ("life", Pick::Words(&["creating", "present", "deleting", "gone"])),
        ("stock", Pick::Words(&["filling", "ready", "lent", "returned", "failed"])),
        ("owner", Pick::Key),
    ],
};

const LIST: ListSpec = ListSpec {
    fields: fields::MACHINES,
    picks: &[
        ("name", Pick::Contains),
        ("life", Pick::Words(&["creating", "present", "deleting", "gone"])),
        ("gone", Pick::Own),
        ("observed", Pick::Words(&["on", "paused", "off", "unknown"])),
        ("wanted", Pick::Words(&["on", "off"])),
        ("template", Pick::Own),
        ("host", Pick::Own),
        ("owner", Pick::Key),
    ],
};

/// List machines
///
/// The caller's; an administrator sees everybody's. Machines that are gone are left out unless asked for.
#[utoipa::path(get, path = "/machines", tag = "machines", params(PageAsk, MachinesAsk), responses((status = 200, body = Page<Machine>)))]
async fn machine_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Machine>>> {
    let mut query = ListQuery::read(&parameters.0, &LIST)?;
    let with_gone = match query.own("gone") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Refusal::malformed("gone", "`gone` is true or false")),
    };
    if !with_gone && !parameters.0.contains_key("life") && !query.speaks_of("life") {
        query.narrow(Filter::ne("life", Life::Gone.word()));
    }
    if let Some(key) = query.own("template").map(str::to_owned) {
        query.narrow(made_from(&state, &caller, &key).await?);
    }
    if let Some(key) = query.own("host").map(str::to_owned) {
        let host = state.core().host_get(&caller, &key).await?;
        query.narrow(Filter::eq("host", host.id.0));
    }
    let page = state.core().machine_list(&caller, query.ask()).await?;
    Ok(Json(render::page(&state, &caller, &query, page).await?))
}

/// Machines made from a template; a bare name means any of its versions.
async fn made_from(state: &DoorState, caller: &Caller, key: &str) -> Answer<Filter> {
    if let Ok(id) = key.parse::<Uuid>() {
        return Ok(Filter::eq("template", id));
    }
    if key.contains('@') || key.parse::<i64>().is_ok() {
        return Ok(Filter::eq("template", state.core().template_get(caller, key).await?.id.0));
    }
    let ask =
        ListAsk { filter: Filter::Is("name", Compare::Eq, key.into()), limit: 1000, ..ListAsk::default() };
    let versions = state.core().template_list(caller, ask).await?.items;
    let ids: Vec<Value> = versions.iter().map(|version| version.id.0.into()).collect();
    // No version of this name: nothing was made from it.
    Ok(if ids.is_empty() { Filter::Or(Vec::new()) } else { Filter::In("template", ids) })
}

/// Make a machine
///
/// It is there at once as a record; the task makes the rest.
#[utoipa::path(
    post, path = "/machines", tag = "machines", request_body = MachineCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat")),
    responses((status = 202, body = Accepted<Machine>))
)]
async fn machine_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, idempotency }: Posted<MachineCreate>,
) -> Answer {
    let ask = machines::MachineAsk {
        name: value.name,
        title: value.title,
        domain: value.domain,
        owner: value.owner,
        cluster: value.cluster,
        host: value.host,
        password: value.password.map(Secret::new),
        template: value.template,
        vcpus: value.vcpus,
        memory_mib: value.memory_mib,
        disk_mib: value.disk_mib,
        network: value.network,
        addresses: value.addresses,
        ssh_keys: value.ssh_keys,
        user_data: value.user_data.map(Secret::new),
        description: value.description,
        labels: value.labels,
        start: value.start,
        ..machines::MachineAsk::default()
    };
    let replayed = match &idempotency {
        Some(asked) => state.core().answered_before(&caller, asked).await?,
        None => false,
    };
    let made = state.core().machine_create(&caller, &ask, idempotency.as_ref()).await?;
    answer(&state, &caller, made, replayed).await
}

/// Set what others may begin to send to a card
///
/// On bridges. It holds at once, for running machines too.
#[utoipa::path(
    put, path = "/machines/{machine}/nics/{mac}/inbound", tag = "machines", request_body = Inbound,
    params(
        ("machine" = String, Path, description = "Id, number or name"),
        ("mac" = String, Path, description = "MAC of the card")
    ),
    responses((status = 200, body = Machine))
)]
async fn machine_inbound(
    State(state): State<DoorState>,
    By(caller): By,
    Path((machine, mac)): Path<(String, String)>,
    Posted { value, .. }: Posted<Inbound>,
) -> Answer<Json<Machine>> {
    let rules: Option<Vec<_>> = value.rules.map(|rules| rules.into_iter().map(Into::into).collect());
    let machine = state.core().machine_inbound(&caller, &machine, &mac, rules.as_deref()).await?;
    let mut rendered = render::machines(&state, &caller, std::slice::from_ref(&machine)).await?;
    rendered.pop().map(Json).ok_or_else(|| hostler_core::Error::not_found("machine", machine.id).into())
}

async fn answer(
    state: &DoorState,
    caller: &Caller,
    done: hostler_core::tasks::Accepted<machines::Machine>,
    replayed: bool,
) -> Answer {
    let record = render::machine(state, caller, done.record).await?;
    Ok(accepted(record, done.task.as_ref(), replayed))
}

/// Show a machine
#[utoipa::path(
    get, path = "/machines/{machine}", tag = "machines",
    params(("machine" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = Machine))
)]
async fn machine_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
) -> Answer<Json<Machine>> {
    let machine = state.core().machine_get(&caller, &machine).await?;
    Ok(Json(render::machine(&state, &caller, machine).await?))
}

/// Show a machine's user data
///
/// For its owner alone, not even for administrators: it often has passwords.
#[utoipa::path(
    get, path = "/machines/{machine}/user-data", tag = "machines",
    params(("machine" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = UserData))
)]
async fn machine_user_data(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
) -> Answer<Json<UserData>> {
    let data = state.core().machine_user_data(&caller, &machine).await?;
    Ok(Json(UserData { user_data: data.map(|data| data.expose().to_owned()) }))
}

/// Change a machine
///
/// What is left out stays. CPUs and memory change by a task while the machine is on, and only grow then.
#[utoipa::path(
    patch, path = "/machines/{machine}", tag = "machines", request_body = MachineEdit,
    params(("machine" = String, Path, description = "Id, number or name")),
    responses(
        (status = 200, body = Machine),
        (status = 202, body = Accepted<Machine>, description = "A machine that is on changes its size")
    )
)]
async fn machine_edit(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    Posted { value, .. }: Posted<MachineEdit>,
) -> Answer {
    let edit = machines::MachineEdit {
        title: value.title,
        domain: value.domain,
        description: value.description,
        labels: value.labels,
        vcpus: value.vcpus,
        memory_mib: value.memory_mib,
    };
    let done = state.core().machine_edit(&caller, &machine, &edit).await?;
    if done.task.is_some() {
        return answer(&state, &caller, done, false).await;
    }
    Ok(Json(render::machine(&state, &caller, done.record).await?).into_response())
}

/// Remove a machine
///
/// With the volumes that came with it.
#[utoipa::path(
    delete, path = "/machines/{machine}", tag = "machines",
    params(("machine" = String, Path, description = "Id, number or name")),
    responses((status = 202, body = Accepted<Machine>), (status = 200, body = Accepted<Machine>, description = "It was gone already"))
)]
async fn machine_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
) -> Answer {
    let done = state.core().machine_delete(&caller, &machine).await?;
    answer(&state, &caller, done, false).await
}

async fn power(state: &DoorState, caller: &Caller, machine: &str, verb: Verb, change: PowerChange) -> Answer {
    let done = state.core().machine_power(caller, machine, verb, change.force).await?;
    answer(state, caller, done, false).await
}

macro_rules! verbs {
    ($($(#[doc = $doc:literal])* $name:ident $path:literal $verb:ident;)*) => {$(
        $(#[doc = $doc])*
        #[utoipa::path(
            post, path = $path, tag = "machines", request_body = Option<PowerChange>,
            params(("machine" = String, Path, description = "Id, number or name")),
            responses(
                (status = 202, body = Accepted<Machine>),
                (status = 200, body = Accepted<Machine>, description = "It was so already")
            )
        )]
        async fn $name(
            State(state): State<DoorState>,
            By(caller): By,
            Path(machine): Path<String>,
            OptionallyPosted(change): OptionallyPosted<PowerChange>,
        ) -> Answer {
            power(&state, &caller, &machine, Verb::$verb, change).await
        }
    )*};
}

verbs! {
    /// Start a machine
    machine_start "/machines/{machine}/start" Start;
    /// Stop a machine
    ///
    /// The guest is asked to turn itself off; when it does not, or with `force` at once, its power is cut.
    machine_stop "/machines/{machine}/stop" Stop;
    /// Stop a machine, then start it
    machine_restart "/machines/{machine}/restart" Restart;
    /// Press a machine's reset button
    machine_reset "/machines/{machine}/reset" Reset;
    /// Pause a machine
    ///
    /// Guest code stands still, memory is kept.
    machine_pause "/machines/{machine}/pause" Pause;
    /// Go on after a pause
    machine_resume "/machines/{machine}/resume" Resume;
}

/// Run a command inside a machine
///
/// Through its agent, without a shell; waits for the end.
#[utoipa::path(
    post, path = "/machines/{machine}/run", tag = "machines", request_body = Run,
    params(("machine" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = RunOutput))
)]
async fn machine_run(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    Posted { value, .. }: Posted<Run>,
) -> Answer<Json<RunOutput>> {
    if !(1..=600).contains(&value.deadline_s) {
        let text = "a command may run for 1 to 600 seconds";
        return Err(hostler_core::Error::invalid("deadline_s", text).into());
    }
    let stdin = value.stdin.unwrap_or_default();
    let stdin = if value.base64 {
        let wrong = |_| hostler_core::Error::invalid("stdin", "this is not base64");
        STANDARD.decode(stdin).map_err(wrong)?
    } else {
        stdin.into_bytes()
    };
    let deadline = Duration::from_secs(value.deadline_s.into());
    let command = GuestCommand { argv: value.argv, stdin, deadline };
    let output = state.core().machine_run(&caller, &machine, &command).await?;
    Ok(Json(run_output(output, value.base64)))
}

fn run_output(output: CommandOutput, base64: bool) -> RunOutput {
    let text = |bytes: Vec<u8>| {
        if base64 { STANDARD.encode(bytes) } else { String::from_utf8_lossy(&bytes).into_owned() }
    };
    RunOutput {
        status: output.status,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        base64,
        truncated: output.truncated,
        timed_out: output.timed_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_text_unless_base64_is_asked_for() {
        let output = CommandOutput {
            status: Some(0),
            stdout: b"a\xff".to_vec(),
            stderr: Vec::new(),
            truncated: false,
            timed_out: false,
        };
        assert_eq!(run_output(output.clone(), false).stdout, "a\u{fffd}");
        assert_eq!(run_output(output, true).stdout, "Yf8=");
    }
}
