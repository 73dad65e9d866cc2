//! Networks and their addresses, hosts, clusters.

use super::fields;
use super::render;
use super::types::{
    Address, AddressReserve, AddressesAsk, Cluster, Host, NamedAsk, Network, NetworkCreate, Page, PageAsk,
};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick, Posted, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use hostler_core::networks::{NetworkAsk, Range};
use std::net::IpAddr;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(network_list, network_create))
        .routes(routes!(network_show, network_delete))
        .routes(routes!(address_list, address_reserve))
        .routes(routes!(address_release))
        .routes(routes!(host_list))
        .routes(routes!(host_show))
        .routes(routes!(cluster_list))
}

const NAMED: ListSpec = ListSpec { fields: fields::NETWORKS, picks: &[("name", Pick::Contains)] };

/// List networks
#[utoipa::path(get, path = "/networks", tag = "networks", params(PageAsk, NamedAsk), responses((status = 200, body = Page<Network>)))]
async fn network_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Network>>> {
    let query = ListQuery::read(&parameters.0, &NAMED)?;
    let page = state.core().network_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, Network::from)))
}

/// Add a network
///
/// Administrators only. A bridge is made at once on every host of the cluster.
#[utoipa::path(post, path = "/networks", tag = "networks", request_body = NetworkCreate, responses((status = 201, body = Network)))]
async fn network_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<NetworkCreate>,
) -> Answer {
    let ask = NetworkAsk::try_from(value)?;
    let network: Network = state.core().network_create(&caller, &ask).await?.into();
    Ok(created("networks", network.id, network))
}

impl TryFrom<NetworkCreate> for NetworkAsk {
    type Error = hostler_core::Error;

    fn try_from(value: NetworkCreate) -> Result<Self, Self::Error> {
        let ranges = value.ranges.iter().map(|range| Range::new(range.first, range.last));
        Ok(Self {
            ranges: ranges.collect::<Result<_, _>>()?,
            name: value.name,
            kind: value.kind.into(),
            outbound: value.outbound,
            uplink: value.uplink.into(),
            bridge: value.bridge,
            subnets: value.subnets.into_iter().map(Into::into).collect(),
            domain: value.domain,
            resolvers: value.resolvers,
        })
    }
}

/// Show a network
#[utoipa::path(
    get, path = "/networks/{network}", tag = "networks",
    params(("network" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = Network))
)]
async fn network_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(network): Path<String>,
) -> Answer<Json<Network>> {
    Ok(Json(state.core().network_get(&caller, &network).await?.into()))
}

/// Remove a network that nothing uses
///
/// Administrators only.
#[utoipa::path(
    delete, path = "/networks/{network}", tag = "networks",
    params(("network" = String, Path, description = "Id, number or name")),
    responses((status = 204))
)]
async fn network_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(network): Path<String>,
) -> Answer<StatusCode> {
    state.core().network_delete(&caller, &network).await?;
    Ok(StatusCode::NO_CONTENT)
}

const ADDRESSES: ListSpec = ListSpec { fields: fields::ADDRESSES, picks: &[("machine", Pick::Key)] };

/// List a network's addresses that are taken
///
/// The caller's; an administrator sees everybody's.
#[utoipa::path(
    get, path = "/networks/{network}/addresses", tag = "networks",
    params(("network" = String, Path, description = "Id, number or name"), PageAsk, AddressesAsk),
    responses((status = 200, body = Page<Address>))
)]
async fn address_list(
    State(state): State<DoorState>,
    By(caller): By,
    Path(network): Path<String>,
    parameters: Parameters,
) -> Answer<Json<Page<Address>>> {
    let query = ListQuery::read(&parameters.0, &ADDRESSES)?;
    let page = state.core().address_list(&caller, &network, query.ask()).await?;
    Ok(Json(query.page(page, Address::from)))
}

/// Hold an address by hand
///
/// This one, or the next free one; no machine gets it. Administrators only.
#[utoipa::path(
    post, path = "/networks/{network}/addresses", tag = "networks", request_body = AddressReserve,
    params(("network" = String, Path, description = "Id, number or name")),
    responses((status = 201, body = Address))
)]
async fn address_reserve(
    State(state): State<DoorState>,
    By(caller): By,
    Path(network): Path<String>,
    Posted { value, .. }: Posted<AddressReserve>,
) -> Answer {
    let address = state.core().address_reserve(&caller, &network, value.ip, &value.note).await?;
    let address = Address::from(address);
    let location = format!("/hostler/v1/networks/{}/addresses/{}", address.network, address.ip);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(address)).into_response())
}

/// Free an address that was held by hand
///
/// Administrators only.
#[utoipa::path(
    delete, path = "/networks/{network}/addresses/{ip}", tag = "networks",
    params(
        ("network" = String, Path, description = "Id, number or name"),
        ("ip" = String, Path, description = "The address")
    ),
    responses((status = 204))
)]
async fn address_release(
    State(state): State<DoorState>,
    By(caller): By,
    Path((network, ip)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let missing = |_| hostler_core::Error::not_found("address", &ip);
    let address: IpAddr = ip.parse().map_err(missing)?;
    state.core().address_release(&caller, &network, address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List hosts
#[utoipa::path(get, path = "/hosts", tag = "hosts", params(PageAsk, NamedAsk), responses((status = 200, body = Page<Host>)))]
async fn host_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Host>>> {
    let query = ListQuery::read(&parameters.0, &NAMED)?;
    let page = state.core().host_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, |host| render::host(state.core(), host))))
}

/// Show a host
#[utoipa::path(
    get, path = "/hosts/{host}", tag = "hosts",
    params(("host" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = Host))
)]
async fn host_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(host): Path<String>,
) -> Answer<Json<Host>> {
    Ok(Json(render::host(state.core(), state.core().host_get(&caller, &host).await?)))
}

const CLUSTERS: ListSpec = ListSpec { fields: fields::CLUSTERS, picks: &[("name", Pick::Contains)] };

/// List clusters
#[utoipa::path(get, path = "/clusters", tag = "hosts", params(PageAsk, NamedAsk), responses((status = 200, body = Page<Cluster>)))]
async fn cluster_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Cluster>>> {
    let query = ListQuery::read(&parameters.0, &CLUSTERS)?;
    let page = state.core().cluster_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, Cluster::from)))
}
