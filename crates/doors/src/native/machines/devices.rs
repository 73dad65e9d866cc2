//! What is plugged into machines: size, medium, network cards.

use super::answer;
use crate::native::types::{Accepted, Machine, MachineResize, MediumChange, NicAttach};
use crate::native::wire::{Answer, By, Posted};
use crate::state::DoorState;
use axum::extract::{Path, State};
use hostler_core::machines::NicAsk;

/// Change a machine's size
///
/// At once while it is off; by a task while it is on, when it can only grow.
#[utoipa::path(
    post, path = "/machines/{machine}/resize", tag = "machines", request_body = MachineResize,
    params(("machine" = String, Path, description = "Id, number or name")),
    responses(
        (status = 202, body = Accepted<Machine>),
        (status = 200, body = Accepted<Machine>, description = "Done at once")
    )
)]
pub(super) async fn machine_resize(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    Posted { value, .. }: Posted<MachineResize>,
) -> Answer {
    let done = state.core().machine_resize(&caller, &machine, value.vcpus, value.memory_mib).await?;
    answer(&state, &caller, done, false).await
}

/// Change the medium in a machine's CD drive
#[utoipa::path(
    post, path = "/machines/{machine}/medium", tag = "machines", request_body = MediumChange,
    params(("machine" = String, Path, description = "Id, number or name")),
    responses(
        (status = 202, body = Accepted<Machine>),
        (status = 200, body = Accepted<Machine>, description = "Done at once")
    )
)]
pub(super) async fn machine_medium(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    Posted { value, .. }: Posted<MediumChange>,
) -> Answer {
    let medium = value.medium.as_deref();
    let done = state.core().machine_medium(&caller, &machine, medium, value.force).await?;
    answer(&state, &caller, done, false).await
}

/// Give a machine another network card
#[utoipa::path(
    post, path = "/machines/{machine}/nics", tag = "machines", request_body = NicAttach,
    params(("machine" = String, Path, description = "Id, number or name")),
    responses(
        (status = 202, body = Accepted<Machine>),
        (status = 200, body = Accepted<Machine>, description = "Done at once")
    )
)]
pub(super) async fn nic_attach(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    Posted { value, .. }: Posted<NicAttach>,
) -> Answer {
    let ask = NicAsk { network: value.network, address: value.address, mac: value.mac };
    let done = state.core().nic_attach(&caller, &machine, &ask).await?;
    answer(&state, &caller, done, false).await
}

/// Take a network card from a machine
///
/// The first one stays while the machine is on.
#[utoipa::path(
    delete, path = "/machines/{machine}/nics/{mac}", tag = "machines",
    params(
        ("machine" = String, Path, description = "Id, number or name"),
        ("mac" = String, Path, description = "The card's MAC")
    ),
    responses(
        (status = 202, body = Accepted<Machine>),
        (status = 200, body = Accepted<Machine>, description = "Done at once")
    )
)]
pub(super) async fn nic_detach(
    State(state): State<DoorState>,
    By(caller): By,
    Path((machine, mac)): Path<(String, String)>,
) -> Answer {
    let done = state.core().nic_detach(&caller, &machine, &mac).await?;
    answer(&state, &caller, done, false).await
}
