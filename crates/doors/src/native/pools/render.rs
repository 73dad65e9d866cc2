//! Pools between the core and the wire.

use crate::native::render::time;
use crate::native::types::{Golden, Pool, PoolEdit, PoolFailure, PoolSpec, Probe, Spread, Trouble};
use hostler_core::access::Caller;
use hostler_core::goldens;
use hostler_core::pools::{self, PoolCounts};

/// A pool with what there is of it.
pub(super) fn pool(caller: &Caller, pool: &pools::Pool, counts: &[PoolCounts]) -> Pool {
    let counts = counts.iter().find(|counts| counts.pool.id == pool.id);
    let count = |of: fn(&PoolCounts) -> u64| counts.map(of).unwrap_or_default();
    let overrides = &pool.overrides;
    Pool {
        id: pool.id.0,
        number: pool.number,
        name: pool.spec.name.clone(),
        description: pool.spec.description.clone(),
        aliases: pool.spec.aliases.clone(),
        template: pool.template().to_owned(),
        size: pool.size(),
        ready: count(|counts| counts.ready),
        filling: count(|counts| counts.filling),
        lent: count(|counts| counts.lent),
        returned: count(|counts| counts.returned),
        requested: count(|counts| counts.requested),
        last_ready_at: time(counts.and_then(|counts| counts.last_ready_at)),
        trouble: pool.trouble.as_ref().map(|trouble| Trouble {
            reason: trouble.reason.clone(),
            since: trouble.since.to_string(),
            failures: trouble.failures,
            again_at: trouble.again_at.to_string(),
        }),
        declared: pool.declared,
        removing: pool.removing,
        overrides: PoolEdit {
            size: overrides.size,
            template: overrides.template.clone(),
            clone_target: overrides.clone_target.clone(),
        },
        // Keys and commands of the administrators are nobody else's business.
        spec: caller.sees_everything().then(|| pool.spec.clone().into()),
        drained_at: time(pool.drained_at),
        created_at: pool.created_at.to_string(),
    }
}

/// One of its machines that failed.
pub(super) fn failure(machine: hostler_core::machines::Machine) -> PoolFailure {
    PoolFailure {
        machine: machine.id.0,
        name: machine.name.to_string(),
        reason: machine.reason,
        at: machine.updated_at.to_string(),
    }
}

/// A golden machine of its.
pub(super) fn golden(golden: goldens::Golden) -> Golden {
    let facts = golden.facts.as_ref();
    Golden {
        id: golden.id.0,
        state: golden.state.word().to_owned(),
        reason: golden.reason,
        failures: golden.failures,
        likeness: facts.map(|facts| facts.likeness.clone()),
        digest: facts.map(|facts| facts.digest.clone()),
        memory_bytes: facts.map(|facts| facts.memory_bytes),
        disk_bytes: facts.map(|facts| facts.disk_bytes),
        made_ms: facts.map(|facts| [facts.boot_ms, facts.rest_ms, facts.save_ms]),
        changed_at: golden.changed_at.to_string(),
    }
}

impl From<pools::Spread> for Spread {
    fn from(spread: pools::Spread) -> Self {
        let pools::Spread { count, total_ms, min_ms, max_ms } = spread;
        Self { count, total_ms, min_ms, max_ms }
    }
}

impl From<pools::Probe> for Probe {
    fn from(probe: pools::Probe) -> Self {
        match probe {
            pools::Probe::Agent => Self::Agent,
            pools::Probe::Ssh => Self::Ssh,
            pools::Probe::Tcp(port) => Self::Tcp(port),
            pools::Probe::Command(argv) => Self::Command(argv),
        }
    }
}

impl From<Probe> for pools::Probe {
    fn from(probe: Probe) -> Self {
        match probe {
            Probe::Agent => Self::Agent,
            Probe::Ssh => Self::Ssh,
            Probe::Tcp(port) => Self::Tcp(port),
            Probe::Command(argv) => Self::Command(argv),
        }
    }
}

impl From<pools::PoolSpec> for PoolSpec {
    fn from(spec: pools::PoolSpec) -> Self {
        Self {
            name: spec.name,
            description: spec.description,
            aliases: spec.aliases,
            weight: spec.weight,
            template: spec.template,
            size: spec.size,
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            disk_mib: spec.disk_mib,
            network: spec.network,
            domain: spec.domain,
            prefix: spec.prefix,
            probe: spec.probe.into(),
            ready_ttl_s: spec.ready_ttl_s,
            boot_deadline_s: Some(spec.boot_deadline_s),
            check_s: Some(spec.check_s),
            lifetime_s: spec.lifetime_s,
            lifetime_with_token_s: spec.lifetime_with_token_s,
            lifetime_max_s: spec.lifetime_max_s,
            clones: Some(spec.clones),
            fork: Some(spec.fork),
            ssh_keys: spec.ssh_keys,
            clone_target: spec.clone_target,
        }
    }
}

impl From<PoolSpec> for pools::PoolSpec {
    fn from(spec: PoolSpec) -> Self {
        let usual = Self::new(spec.name, spec.template, spec.size);
        Self {
            description: spec.description,
            aliases: spec.aliases,
            weight: spec.weight,
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            disk_mib: spec.disk_mib,
            network: spec.network,
            domain: spec.domain,
            prefix: spec.prefix,
            probe: spec.probe.into(),
            ready_ttl_s: spec.ready_ttl_s,
            boot_deadline_s: spec.boot_deadline_s.unwrap_or(usual.boot_deadline_s),
            check_s: spec.check_s.unwrap_or(usual.check_s),
            lifetime_s: spec.lifetime_s,
            lifetime_with_token_s: spec.lifetime_with_token_s,
            lifetime_max_s: spec.lifetime_max_s,
            clones: spec.clones.unwrap_or(usual.clones),
            fork: spec.fork.unwrap_or(usual.fork),
            ssh_keys: spec.ssh_keys,
            clone_target: spec.clone_target,
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_shall_be_comes_back_as_it_was_sent() {
        let sent = pools::PoolSpec {
            aliases: vec!["b".into()],
            weight: Some(3),
            probe: pools::Probe::Tcp(22),
            check_s: 0,
            fork: false,
            ..pools::PoolSpec::new("a", "micro", 2)
        };
        let wire = serde_json::to_value(PoolSpec::from(sent.clone())).unwrap();
        let read: PoolSpec = serde_json::from_value(wire).unwrap();
        assert_eq!(pools::PoolSpec::from(read), sent);
        let least = serde_json::json!({"name": "a", "template": "micro", "size": 2});
        let least: PoolSpec = serde_json::from_value(least).unwrap();
        assert_eq!(pools::PoolSpec::from(least), pools::PoolSpec::new("a", "micro", 2));
    }
}
