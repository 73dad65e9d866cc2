//! The hosts: our own and what it can do, and whether the others are heard of.

use super::Finding;
use super::books::Books;
use crate::core::{Core, LocalHost};
use std::time::Duration;

/// Free space below which creations are about to fail.
const LITTLE_MIB: u64 = 2048;
/// A durable write that takes longer makes everything wait.
const SLOW_FSYNC_US: u64 = 20_000;
/// The clocks of hosts differ by less than this; leases last a few times as long.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

impl Core {
    /// Hosts that other processes serve: their doctors look at their machines and files.
    pub(super) fn examine_others(&self, books: &Books, findings: &mut Vec<Finding>) {
        for host in books.hosts.iter().filter(|host| !self.is_here(host.id)) {
            let (name, door) = (&host.name, host.door.as_deref().unwrap_or("its door"));
            if let Some(since) = self.absent_since(host.id) {
                let machines = books.machines.iter().filter(|machine| machine.host == host.id).count();
                let text =
                    format!("host {name} has not been heard of since {since}; it has {machines} machines");
                let hint = format!("start hostler on {name}: its machines run on, and its tasks wait for it");
                findings.push(Finding::problem("host", text).hint(hint));
                continue;
            }
            let text = format!("host {name} is served at {door}; what is on it, its own doctor looks at");
            findings.push(Finding::ok("host", text));
            if host.seen_at.is_some_and(|at| at > self.now().plus(CLOCK_SLACK)) {
                let text = format!("the clock of host {name} is ahead of ours");
                let hint = "keep the clocks of all hosts with NTP: leases of tasks depend on them";
                findings.push(Finding::problem("clock", text).hint(hint));
            }
        }
    }

    pub(super) async fn examine_host(&self, local: &LocalHost, findings: &mut Vec<Finding>) {
        let facts = match self.host_look(local, true).await {
            Ok(host) => host.facts,
            Err(error) => {
                let hint = "install qemu-system-x86 and look at the log";
                findings.push(
                    Finding::problem("hypervisor", "it cannot be used").because(error.chain()).hint(hint),
                );
                return;
            }
        };
        let Some(facts) = facts else { return };
        let driver = local.hypervisor.capabilities().driver;
        findings.push(Finding::ok("hypervisor", format!("{driver} {} on {}", facts.version, facts.kernel)));
        match &facts.accelerator {
            Some(found) if found.name == "tcg" => findings.push(
                Finding::warning("accelerator", "guests are emulated, which is slow")
                    .because(found.why.clone())
                    .hint("enable virtualization in the firmware, load kvm_intel or kvm_amd, and give hostler /dev/kvm"),
            ),
            Some(found) => {
                let text = format!("{} with CPU model {}", found.name, found.cpu);
                findings.push(Finding::ok("accelerator", text).because(found.why.clone()));
            }
            None => findings.push(Finding::problem("accelerator", "no guest can run on this host")),
        }
        findings.extend(facts.problems.iter().map(|problem| Finding::warning("host", problem.clone())));
    }
}

pub(super) async fn examine_storage(local: &LocalHost, findings: &mut Vec<Finding>) {
    let facts = match local.storage.facts().await {
        Ok(facts) => facts,
        Err(error) => {
            findings.push(Finding::problem("disk", "the storage cannot be used").because(error.detail));
            return;
        }
    };
    let text = format!("{} MiB of {} MiB free at {}", facts.free_mib, facts.total_mib, facts.path.display());
    findings.push(if facts.free_mib < LITTLE_MIB {
        Finding::problem("disk", text).hint("free some space: creations are about to fail")
    } else {
        Finding::ok("disk", text)
    });
    let text = format!("a small durable write takes {} µs", facts.fsync_us);
    findings.push(if facts.fsync_us > SLOW_FSYNC_US {
        Finding::warning("fsync", text)
            .hint("put the data directory on a faster disk: every acknowledged change waits for it")
    } else {
        Finding::ok("fsync", text)
    });
}
