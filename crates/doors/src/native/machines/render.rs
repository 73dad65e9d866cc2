//! Machines for the wire. What lies in other records is asked for once per page, not once per machine.

use crate::native::render::time;
use crate::native::types::{
    Birth, Checkout, Endpoint, GuestFacts, InboundRule, Machine, Nic, Observation, Page, Phase, Stock,
    TemplateRef,
};
use crate::native::wire::ListQuery;
use crate::state::DoorState;
use hostler_core::Result;
use hostler_core::access::Caller;
use hostler_core::ids::{AddressId, MachineId};
use hostler_core::machines;
use hostler_core::pools;
use hostler_core::volumes::Volume;
use std::collections::HashMap;
use std::net::IpAddr;

type Volumes = HashMap<MachineId, Vec<Volume>>;

/// One machine for the wire.
pub(in crate::native) async fn machine(
    state: &DoorState,
    caller: &Caller,
    record: machines::Machine,
) -> Result<Machine> {
    let list = [record];
    let volumes = state.core().volumes_on(&list).await?;
    let addresses = state.core().addresses_of(&list).await?;
    one(state, caller, &list[0], &volumes, &addresses).await
}

/// Machines for the wire, in this order.
pub(in crate::native) async fn machines(
    state: &DoorState,
    caller: &Caller,
    records: &[machines::Machine],
) -> Result<Vec<Machine>> {
    let volumes = state.core().volumes_on(records).await?;
    let addresses = state.core().addresses_of(records).await?;
    let mut list = Vec::with_capacity(records.len());
    for record in records {
        list.push(one(state, caller, record, &volumes, &addresses).await?);
    }
    Ok(list)
}

/// A page of machines for the wire.
pub(in crate::native) async fn page(
    state: &DoorState,
    caller: &Caller,
    query: &ListQuery,
    page: hostler_core::core::Page<machines::Machine>,
) -> Result<Page<Machine>> {
    let rendered = machines(state, caller, &page.items).await?;
    let page = hostler_core::core::Page { items: rendered, next: page.next, total: page.total };
    Ok(query.page(page, |machine| machine))
}

async fn one(
    state: &DoorState,
    caller: &Caller,
    record: &machines::Machine,
    volumes: &Volumes,
    addresses: &HashMap<AddressId, IpAddr>,
) -> Result<Machine> {
    let template = state.template_name(caller, record.template.0).await?;
    let nics = record.nics.iter().map(|nic| {
        let own: Vec<IpAddr> = nic.addresses.iter().filter_map(|id| addresses.get(id).copied()).collect();
        let inbound = nic.inbound.as_ref().map(|rules| rules.iter().map(InboundRule::from).collect());
        Nic {
            network: nic.network.0,
            mac: nic.mac.clone(),
            address: own.first().copied(),
            addresses: own,
            inbound,
        }
    });
    let own = volumes.get(&record.id).map_or(&[][..], Vec::as_slice);
    let observed = &record.observed;
    Ok(Machine {
        id: record.id.0,
        number: record.number,
        name: record.name.to_string(),
        title: record.title().to_owned(),
        domain: record.domain.clone(),
        description: record.description.clone(),
        labels: record.labels.clone(),
        owner: record.owner.0,
        cluster: record.cluster.0,
        host: record.host.0,
        template: TemplateRef {
            id: record.template.0,
            version: template.as_ref().map(|(_, version)| *version),
            name: template.map(|(name, _)| name),
        },
        vcpus: record.vcpus,
        memory_mib: record.memory_mib,
        nics: nics.collect(),
        medium: record.medium.map(|id| id.0),
        volumes: own.iter().map(|volume| volume.id.0).collect(),
        ssh: record.ssh.as_ref().map(|ssh| Endpoint { address: ssh.address, port: ssh.port }),
        ssh_host_key: Some(state.host_key(record)?),
        life: record.life.into(),
        wanted: record.wanted.into(),
        observed: Observation {
            power: observed.power.into(),
            at: observed.at.to_string(),
            generation: observed.generation,
        },
        ready: record.ready_at.is_some(),
        ready_at: time(record.ready_at),
        reason: record.reason.clone(),
        task: record.task.map(|id| id.0),
        guest: record.guest.as_ref().map(|facts| GuestFacts {
            agent: facts.agent.clone(),
            version: facts.version.clone(),
            host_name: facts.host_name.clone(),
            os: facts.os.clone(),
            kernel: facts.kernel.clone(),
            addresses: facts.addresses.clone(),
        }),
        stock: record.stock.as_ref().map(Stock::from),
        created_at: record.created_at.to_string(),
        updated_at: record.updated_at.to_string(),
    })
}

impl From<&pools::Stock> for Stock {
    fn from(stock: &pools::Stock) -> Self {
        Self {
            pool: stock.pool.0,
            pool_name: stock.pool_name.clone(),
            state: stock.state.into(),
            ready_at: time(stock.ready_at),
            birth: stock.birth.as_ref().map(Birth::from),
            clone_ms: stock.clone_ms,
            boot_ms: stock.boot_ms,
            request: stock.request.map(|id| id.0),
            checkout: stock.checkout.as_ref().map(Checkout::from),
        }
    }
}

impl From<&pools::Birth> for Birth {
    fn from(birth: &pools::Birth) -> Self {
        let phase = |(name, ms): &(String, u64)| Phase { name: name.clone(), ms: *ms };
        Self { forked: birth.forked, phases: birth.phases.iter().map(phase).collect() }
    }
}

impl From<&pools::Checkout> for Checkout {
    fn from(checkout: &pools::Checkout) -> Self {
        Self {
            at: checkout.at.to_string(),
            asked: checkout.asked.clone(),
            account: checkout.account.0,
            login: checkout.login.clone(),
            door: checkout.door.clone(),
            until: time(checkout.until),
            tags: checkout.tags.clone(),
            ended_at: time(checkout.ended_at),
        }
    }
}
