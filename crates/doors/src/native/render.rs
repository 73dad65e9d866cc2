//! From core's records to the types of the wire.

use super::types::{
    Accelerator, Account, Address, Cluster, Event, Finding, Group, Host, HostFacts, Image, ImageSource,
    InboundRule, Medium, Network, Password, Range, RepairDone, RepairOutcome, Snapshot, SnapshotVolume,
    Source, SourceFormat, SshKey, Storage, Subnet, Task, Template, Token, Uplink, Volume, VolumeLimits,
};
use hostler_core::Core;
use hostler_core::access::{self, Caller};
use hostler_core::ports::{self, StorageFacts};
use hostler_core::secret::Secret;
use hostler_core::time::Timestamp;
use hostler_core::{
    Error, Result, doctor, events, hosts, media, networks, snapshots, tasks, templates, volumes,
};

/// A point in time, when there is one.
pub(super) fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

impl From<&tasks::Task> for Task {
    fn from(task: &tasks::Task) -> Self {
        Self {
            id: task.id.0,
            number: task.number,
            kind: task.kind.clone(),
            state: task.state.into(),
            open: task.state.is_open(),
            step: task.step.clone(),
            attempt: task.attempt,
            progress: task.progress,
            message: task.message.clone(),
            error: task.error.clone(),
            error_code: task.error_code.clone(),
            owner: task.owner.0,
            subject: task.subject,
            subject_kind: task.subject_kind.clone(),
            subject_name: task.subject_name.clone(),
            host: task.host.map(|id| id.0),
            due: task.due.to_string(),
            created_at: task.created_at.to_string(),
            started_at: time(task.started_at),
            ended_at: time(task.ended_at),
        }
    }
}

impl From<volumes::Volume> for Volume {
    fn from(volume: volumes::Volume) -> Self {
        Self {
            id: volume.id.0,
            number: volume.number,
            name: volume.name,
            owner: volume.owner.0,
            storage: volume.storage.0,
            size_mib: volume.size_mib,
            format: volume.format.into(),
            template: volume.template.map(|id| id.0),
            machine: volume.machine.map(|id| id.0),
            position: volume.position,
            limits: VolumeLimits { iops: volume.limits.iops, bytes: volume.limits.bytes },
            with_machine: volume.with_machine,
            state: volume.state.into(),
            reason: volume.reason,
            task: volume.task.map(|id| id.0),
            created_at: volume.created_at.to_string(),
        }
    }
}

impl From<snapshots::Snapshot> for Snapshot {
    fn from(snapshot: snapshots::Snapshot) -> Self {
        let kept = snapshot.volumes.iter();
        let volumes =
            kept.map(|kept| SnapshotVolume { volume: kept.volume.0, size_mib: kept.size_mib }).collect();
        Self {
            id: snapshot.id.0,
            number: snapshot.number,
            name: snapshot.name,
            description: snapshot.description,
            owner: snapshot.owner.0,
            machine: snapshot.machine.0,
            memory: snapshot.memory,
            volumes,
            vcpus: snapshot.vcpus,
            memory_mib: snapshot.memory_mib,
            state: snapshot.state.into(),
            reason: snapshot.reason,
            task: snapshot.task.map(|id| id.0),
            created_at: snapshot.created_at.to_string(),
        }
    }
}

/// A template as this caller may see it.
pub(super) fn template(caller: &Caller, template: templates::Template) -> Template {
    Template {
        id: template.id.0,
        number: template.number,
        name: template.name,
        version: template.version,
        description: template.description,
        owner: template.owner.0,
        storage: template.storage.0,
        source: caller.is_administrator().then(|| template.source.into()),
        vcpus: template.vcpus,
        memory_mib: template.memory_mib,
        disk_mib: template.disk_mib,
        firmware: template.firmware.into(),
        fork: template.fork,
        state: template.state.into(),
        image: template.image.map(Image::from),
        reason: template.reason,
        task: template.task.map(|id| id.0),
        created_at: template.created_at.to_string(),
    }
}

impl From<templates::Image> for Image {
    fn from(image: templates::Image) -> Self {
        Self {
            kernel: image.kernel.is_some(),
            disk_mib: image.disk.map(|disk| disk.size_mib),
            agent: image.agent,
            cloud_init: image.cloud_init,
            bytes: image.bytes,
            digest: image.digest,
        }
    }
}

impl From<ports::ImageSource> for ImageSource {
    fn from(source: ports::ImageSource) -> Self {
        match source {
            ports::ImageSource::Recipe { recipe, mirror } => Self::Recipe { recipe, mirror },
            ports::ImageSource::File { path, format, checksum, max_mib } => Self::File {
                path: path.to_string_lossy().into_owned(),
                format: format.map(SourceFormat::from),
                checksum: checksum.map(String::from),
                max_mib,
            },
            ports::ImageSource::Url { url, format, checksum, max_mib } => Self::Url {
                url,
                format: format.map(SourceFormat::from),
                checksum: checksum.map(String::from),
                max_mib,
            },
        }
    }
}

/// Where something comes from, in core's words.
pub(super) fn source(source: ImageSource) -> Result<ports::ImageSource> {
    let parsed = |text: Option<String>| {
        let checksum = text.map(|text| text.parse::<templates::Checksum>()).transpose();
        checksum.map_err(|why| Error::invalid("source/checksum", why))
    };
    Ok(match source {
        ImageSource::Recipe { recipe, mirror } => ports::ImageSource::Recipe { recipe, mirror },
        ImageSource::File { path, format, checksum, max_mib } => ports::ImageSource::File {
            path: path.into(),
            format: format.map(templates::SourceFormat::from),
            checksum: parsed(checksum)?,
            max_mib,
        },
        ImageSource::Url { url, format, checksum, max_mib } => ports::ImageSource::Url {
            url,
            format: format.map(templates::SourceFormat::from),
            checksum: parsed(checksum)?,
            max_mib,
        },
    })
}

/// A medium as this caller may see it.
pub(super) fn medium(caller: &Caller, medium: media::Medium) -> Medium {
    Medium {
        id: medium.id.0,
        number: medium.number,
        name: medium.name,
        description: medium.description,
        owner: medium.owner.0,
        storage: medium.storage.0,
        source: caller.is_administrator().then(|| medium.source.into()),
        bytes: medium.bytes,
        digest: medium.digest,
        state: medium.state.into(),
        reason: medium.reason,
        task: medium.task.map(|id| id.0),
        created_at: medium.created_at.to_string(),
    }
}

/// A storage as this caller may see it.
pub(super) fn storage(
    caller: &Caller,
    place: volumes::StoragePlace,
    facts: Option<&StorageFacts>,
) -> Storage {
    let shown = facts.filter(|_| caller.is_administrator());
    Storage {
        id: place.id.0,
        number: place.number,
        name: place.name,
        host: place.host.0,
        path: shown.map(|facts| facts.path.to_string_lossy().into_owned()),
        total_mib: facts.map(|facts| facts.total_mib),
        free_mib: facts.map(|facts| facts.free_mib),
        created_at: place.created_at.to_string(),
    }
}

impl From<networks::Network> for Network {
    fn from(network: networks::Network) -> Self {
        let ranges = network.ranges.iter().map(|range| Range { first: range.first, last: range.last });
        Self {
            id: network.id.0,
            number: network.number,
            ranges: ranges.collect(),
            name: network.name,
            kind: network.kind.into(),
            cluster: network.cluster.0,
            outbound: network.outbound,
            uplink: network.uplink.into(),
            bridge: network.bridge,
            subnets: network.subnets.into_iter().map(Subnet::from).collect(),
            domain: network.domain,
            resolvers: network.resolvers,
            created_at: network.created_at.to_string(),
        }
    }
}

impl From<ports::Uplink> for Uplink {
    fn from(uplink: ports::Uplink) -> Self {
        match uplink {
            ports::Uplink::None => Self::None,
            ports::Uplink::Nat => Self::Nat,
            ports::Uplink::Routed => Self::Routed,
            ports::Uplink::Interface { name } => Self::Interface { name },
        }
    }
}

impl From<Uplink> for ports::Uplink {
    fn from(uplink: Uplink) -> Self {
        match uplink {
            Uplink::None => Self::None,
            Uplink::Nat => Self::Nat,
            Uplink::Routed => Self::Routed,
            Uplink::Interface { name } => Self::Interface { name },
        }
    }
}

impl From<ports::Subnet> for Subnet {
    fn from(subnet: ports::Subnet) -> Self {
        Self { gateway: subnet.gateway, prefix: subnet.prefix }
    }
}

impl From<Subnet> for ports::Subnet {
    fn from(subnet: Subnet) -> Self {
        Self { gateway: subnet.gateway, prefix: subnet.prefix }
    }
}

impl From<&ports::InboundRule> for InboundRule {
    fn from(rule: &ports::InboundRule) -> Self {
        Self {
            protocol: rule.protocol.into(),
            first_port: rule.ports.map(|(first, _)| first),
            last_port: rule.ports.map(|(_, last)| last),
            source: rule.source.map(|(address, prefix)| Source { address, prefix }),
        }
    }
}

impl From<InboundRule> for ports::InboundRule {
    fn from(rule: InboundRule) -> Self {
        let first = rule.first_port.or(rule.last_port);
        Self {
            protocol: rule.protocol.into(),
            ports: first.map(|first| (first, rule.last_port.unwrap_or(first))),
            source: rule.source.map(|source| (source.address, source.prefix)),
        }
    }
}

impl From<networks::Address> for Address {
    fn from(address: networks::Address) -> Self {
        Self {
            id: address.id.0,
            number: address.number,
            network: address.network.0,
            ip: address.ip,
            machine: address.machine.map(|id| id.0),
            owner: address.owner.0,
            note: address.note,
            created_at: address.created_at.to_string(),
        }
    }
}

impl From<hosts::Cluster> for Cluster {
    fn from(cluster: hosts::Cluster) -> Self {
        Self {
            id: cluster.id.0,
            number: cluster.number,
            name: cluster.name,
            created_at: cluster.created_at.to_string(),
        }
    }
}

/// A host, as the process that answers knows it.
pub(super) fn host(core: &Core, host: hosts::Host) -> Host {
    Host {
        id: host.id.0,
        number: host.number,
        name: host.name,
        cluster: host.cluster.0,
        facts: host.facts.map(HostFacts::from),
        seen_at: time(host.seen_at),
        living: core.absent_since(host.id).is_none(),
        here: core.is_here(host.id),
        door: host.door,
        created_at: host.created_at.to_string(),
    }
}

impl From<ports::HostFacts> for HostFacts {
    fn from(facts: ports::HostFacts) -> Self {
        let accelerator =
            facts.accelerator.map(|found| Accelerator { name: found.name, cpu: found.cpu, why: found.why });
        Self {
            version: facts.version,
            accelerator,
            cpus: facts.cpus,
            memory_mib: facts.memory_mib,
            kernel: facts.kernel,
            problems: facts.problems,
        }
    }
}

impl From<access::Account> for Account {
    fn from(account: access::Account) -> Self {
        Self {
            id: account.id.0,
            number: account.number,
            login: account.login,
            email: account.email,
            full_name: account.full_name,
            origin: origin(&account.origin).into(),
            role: account.role.into(),
            enabled: account.enabled,
            created_at: account.created_at.to_string(),
        }
    }
}

/// The word for who vouches for an account or a group.
fn origin(origin: &access::Origin) -> &'static str {
    match origin {
        access::Origin::Local => "local",
        access::Origin::Ldap { .. } => "ldap",
        access::Origin::Oidc { .. } => "oidc",
    }
}

impl From<access::Group> for Group {
    fn from(group: access::Group) -> Self {
        Self {
            id: group.id.0,
            number: group.number,
            name: group.name,
            description: group.description,
            origin: origin(&group.origin).into(),
            created_at: group.created_at.to_string(),
        }
    }
}

impl From<access::SshKey> for SshKey {
    fn from(key: access::SshKey) -> Self {
        Self {
            id: key.id.0,
            number: key.number,
            account: key.account.0,
            name: key.name,
            public_key: key.public_key,
            fingerprint: key.fingerprint,
            created_at: key.created_at.to_string(),
        }
    }
}

impl From<Password> for Secret {
    fn from(password: Password) -> Self {
        Self::new(password.0)
    }
}

impl From<access::Credential> for Token {
    fn from(token: access::Credential) -> Self {
        Self {
            id: token.id.0,
            number: token.number,
            account: token.account.0,
            description: token.description,
            door: token.door,
            scope: token.scope,
            expires_at: time(token.expires_at),
            idle_s: token.idle_s,
            used_at: time(token.used_at),
            created_at: token.created_at.to_string(),
        }
    }
}

impl From<doctor::Finding> for Finding {
    fn from(finding: doctor::Finding) -> Self {
        Self {
            check: finding.check,
            level: finding.level.into(),
            text: finding.text,
            cause: finding.cause,
            hint: finding.hint,
            repair: finding.repair.map(|repair| repair.to_string()),
        }
    }
}

/// What came of a repair; `task` is the one that was ordered.
pub(super) fn repaired(repaired: doctor::Repaired, task: Option<Task>) -> RepairDone {
    let (outcome, error) = match repaired.outcome {
        doctor::Outcome::Proposed => (RepairOutcome::Proposed, None),
        doctor::Outcome::Done => (RepairOutcome::Done, None),
        doctor::Outcome::Ordered(_) => (RepairOutcome::Ordered, None),
        doctor::Outcome::Refused(why) => (RepairOutcome::Refused, Some(why)),
    };
    let repair = repaired.repair.to_string();
    RepairDone { finding: repaired.finding.into(), repair, outcome, task, error }
}

impl From<&events::Event> for Event {
    fn from(event: &events::Event) -> Self {
        let told = &event.event;
        Self {
            seq: event.seq,
            name: told.name(),
            at: told.at.to_string(),
            kind: told.kind.word().to_owned(),
            subject: told.subject,
            body: serde_json::from_str(&told.body).unwrap_or(serde_json::Value::Null),
        }
    }
}
