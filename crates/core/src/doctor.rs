//! The doctor: every way in which the installation is not as it should be, each with a cause and a hint.

use crate::access::Caller;
use crate::core::{Core, LocalHost};
use crate::error::Result;
use crate::ids::{MachineId, TemplateId, VolumeId};
use crate::machines::{Life, Machine, Observed, Power};
use crate::media::Medium;
use crate::ports::{Sighting, StorageItem};
use crate::query::Filter;
use crate::tasks::Task;
use crate::templates::Template;
use crate::volumes::{Volume, VolumeState};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as it could.
    Warning,
    /// Something does not work, or records and reality disagree.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, e.g. `accelerator`, `disk`, `machine`.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// Why, when that is known.
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(check: &str, text: impl Into<String>) -> Self {
        Self { check: check.into(), level: Level::Ok, text: text.into(), cause: None, hint: None }
    }

    /// Something that works, but not as it could.
    pub fn warning(check: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::ok(check, text) }
    }

    /// Something that does not work.
    pub fn problem(check: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Problem, ..Self::ok(check, text) }
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Free space below which creations are about to fail.
const LITTLE_MIB: u64 = 2048;
/// Clocks are corrected by less than this all the time.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// A durable write that takes longer makes everything wait.
const SLOW_FSYNC_US: u64 = 20_000;

impl Core {
    /// Looks at everything: hosts, storages, the store, and every disagreement between records and reality.
    ///
    /// # Errors
    /// Denied for anybody but administrators.
    pub async fn doctor(&self, caller: &Caller) -> Result<Vec<Finding>> {
        caller.may_administer("ask the doctor")?;
        let mut findings = Vec::new();
        self.examine_store(&mut findings).await;
        self.examine_clock(&mut findings).await?;
        for local in self.local_hosts() {
            self.examine_host(local, &mut findings).await;
            examine_storage(local, &mut findings).await;
            self.examine_machines(local, &mut findings).await?;
            self.examine_files(local, &mut findings).await?;
            self.examine_networks(local, &mut findings).await?;
        }
        self.examine_tasks(&mut findings).await?;
        Ok(findings)
    }

    async fn examine_store(&self, findings: &mut Vec<Finding>) {
        match self.store().facts(true).await {
            Err(error) => findings
                .push(Finding::problem("store", "the database does not answer").because(error.to_string())),
            Ok(facts) => {
                let text = format!(
                    "{} {}, schema {}, {} KiB",
                    facts.engine,
                    facts.version,
                    facts.schema,
                    facts.bytes / 1024
                );
                findings.push(Finding::ok("store", text));
                for damage in facts.damage {
                    let hint = "stop hostler and restore a backup of its database";
                    findings.push(
                        Finding::problem("store", "the database is damaged").because(damage).hint(hint),
                    );
                }
            }
        }
    }

    /// Nothing here can ask the world for the time; but what was written down in the future tells of a clock that jumped.
    async fn examine_clock(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let now = self.now();
        let (_, last) = self.event_bounds().await?;
        let newest = self.store().events_after(last - 1, 1).await?.pop().map(|event| event.event.at);
        findings.push(match newest {
            Some(at) if at > now.plus(CLOCK_SLACK) => {
                let text = format!("it is {now} here, but something was recorded at {at}");
                let hint = "set the clock and keep it with NTP; leases and lifetimes wait for it";
                Finding::problem("clock", text).because("the clock went back").hint(hint)
            }
            _ => Finding::ok("clock", format!("it is {now}")),
        });
        Ok(())
    }

    async fn examine_host(&self, local: &LocalHost, findings: &mut Vec<Finding>) {
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

    async fn examine_machines(&self, local: &LocalHost, findings: &mut Vec<Finding>) -> Result<()> {
        let seen = match local.hypervisor.sightings().await {
            Ok(seen) => seen,
            Err(error) => {
                findings
                    .push(Finding::problem("machine", "machines cannot be observed").because(error.detail));
                return Ok(());
            }
        };
        let host = Filter::eq("host", local.hypervisor.host().0).and(Filter::ne("life", Life::Gone.word()));
        let machines: Vec<Machine> = self.all(host).await?;
        let records: HashMap<MachineId, &Machine> =
            machines.iter().map(|machine| (machine.id, machine)).collect();
        for sighting in &seen {
            if !records.contains_key(&sighting.id) {
                findings.push(self.stranger(sighting).await?);
            }
        }
        let seen: HashMap<MachineId, &Sighting> =
            seen.iter().map(|sighting| (sighting.id, sighting)).collect();
        let mut well = 0;
        for machine in &machines {
            match machine_finding(machine, seen.get(&machine.id).copied()) {
                Some(finding) => findings.push(finding),
                None => well += 1,
            }
        }
        findings
            .push(Finding::ok("machine", format!("{well} of {} machines are as recorded", machines.len())));
        Ok(())
    }

    async fn stranger(&self, sighting: &Sighting) -> Result<Finding> {
        let id = sighting.id;
        let process = sighting.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        let known: Option<Machine> = self.find(id.0).await?;
        Ok(match known {
            Some(machine) => {
                let text = format!("machine {} is gone, but something is left of it{process}", machine.name);
                Finding::problem("machine", text).hint("it is removed at the next look, within a minute")
            }
            None => Finding::problem("machine", format!("something is left of machine {id}, which has no record{process}"))
                .because("the database was restored from before it was made, or belongs to another data directory")
                .hint(format!("look at machines/{id} in the data directory; end the process and remove the directory by hand")),
        })
    }

    async fn examine_files(&self, local: &LocalHost, findings: &mut Vec<Finding>) -> Result<()> {
        let items = match local.storage.items().await {
            Ok(items) => items,
            Err(error) => {
                findings.push(Finding::problem("storage", "it cannot be read").because(error.detail));
                return Ok(());
            }
        };
        let here = || Filter::eq("storage", local.storage.id().0);
        let volumes: Vec<Volume> = self.all(here()).await?;
        let templates: Vec<Template> = self.all(here()).await?;
        let media: Vec<Medium> = self.all(here()).await?;
        for volume in volumes.iter().filter(|volume| volume.state == VolumeState::Present) {
            if !items.contains(&StorageItem::Volume(volume.id)) {
                let text = format!("the file of volume {} ({}) is missing", volume.name, volume.id);
                findings.push(
                    Finding::problem("volume", text).hint("restore it from a backup, or delete the volume"),
                );
            }
        }
        for template in templates.iter().filter(|template| template.image.is_some()) {
            if !items.contains(&StorageItem::Image(template.id)) {
                let text = format!("the image of template {}@{} is missing", template.name, template.version);
                findings.push(
                    Finding::problem("template", text)
                        .hint("restore it from a backup; its machines cannot start"),
                );
            }
        }
        for item in items {
            let (what, known) = match item {
                StorageItem::Volume(id) => (format!("volumes/{id}"), knows_volume(&volumes, id)),
                StorageItem::Image(id) => (format!("images/{id}"), knows_template(&templates, id)),
                StorageItem::Medium(id) => {
                    (format!("media/{id}"), media.iter().any(|medium| medium.id == id))
                }
            };
            if !known {
                let text = format!("{what} belongs to no record");
                findings.push(Finding::problem("storage", text).hint("remove it by hand once you are sure"));
            }
        }
        Ok(())
    }

    async fn examine_networks(&self, local: &LocalHost, findings: &mut Vec<Finding>) -> Result<()> {
        let networks = self.bridges_of(local).await?;
        if let Some(problem) = local.switch.problem() {
            let hint = "run hostler as root and install nftables and dnsmasq-base";
            let text = "this host makes no bridges: machines can be on user networks only";
            findings.push(match networks.len() {
                0 => Finding::warning("network", text),
                count => Finding::problem("network", format!("{text}, but {count} networks are bridges")),
            });
            let last = findings.pop().map(|finding| finding.because(problem).hint(hint));
            findings.extend(last);
            return Ok(());
        }
        let mut well = 0;
        for network in &networks {
            let name = &network.name;
            let defects = local.switch.defects(&self.network_spec(local, network).await?).await;
            let defects = defects.unwrap_or_else(|error| vec![error.detail]);
            well += u32::from(defects.is_empty());
            findings.extend(defects.into_iter().map(|defect| {
                let text = format!("network {name} is not as it should be");
                Finding::problem("network", text).because(defect).hint(
                    "what is hostler's own is put right within a minute; the log says what is in the way",
                )
            }));
        }
        findings
            .push(Finding::ok("network", format!("{well} of {} bridges are as recorded", networks.len())));
        Ok(())
    }

    async fn examine_tasks(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let open: Vec<Task> = self.all(Filter::eq("open", true)).await?;
        for task in open.iter().filter(|task| task.attempt > 2) {
            let text = format!(
                "task {} ({} of {}) has failed {} times",
                task.id, task.kind, task.subject_name, task.attempt
            );
            findings.push(
                Finding::warning("task", text)
                    .because(task.message.clone())
                    .hint(format!("`hostler task show {}`; it goes on by itself, or cancel it", task.id)),
            );
        }
        findings.push(Finding::ok("task", format!("{} tasks are open", open.len())));
        Ok(())
    }
}

fn knows_volume(volumes: &[Volume], id: VolumeId) -> bool {
    volumes.iter().any(|volume| volume.id == id)
}

fn knows_template(templates: &[Template], id: TemplateId) -> bool {
    templates.iter().any(|template| template.id == id)
}

/// What is wrong with a machine, if anything is.
fn machine_finding(machine: &Machine, seen: Option<&Sighting>) -> Option<Finding> {
    let (name, reason) = (&machine.name, machine.reason.clone());
    let add = |finding: Finding| match reason.clone() {
        Some(reason) => finding.because(reason),
        None => finding,
    };
    if machine.task.is_some() {
        return None;
    }
    if machine.life == Life::Deleting {
        let text = format!("machine {name} could not be removed yet");
        return Some(add(
            Finding::problem("machine", text).hint(format!("`hostler machine delete {name}` tries again"))
        ));
    }
    let power = seen.map_or(Observed::Off, |sighting| sighting.observed);
    if power == Observed::Unknown {
        let cause = seen.and_then(|sighting| sighting.reason.clone()).unwrap_or_default();
        return Some(
            Finding::problem("machine", format!("machine {name} cannot be observed")).because(cause),
        );
    }
    let wanted = match power {
        Observed::Off => Power::Off,
        _ => Power::On,
    };
    if wanted != machine.wanted {
        let text =
            format!("machine {name} is {} although it should be {}", power.word(), machine.wanted.word());
        let hint = match machine.wanted {
            Power::On => format!("`hostler machine start {name}`"),
            Power::Off => format!("`hostler machine stop {name}`"),
        };
        return Some(add(Finding::problem("machine", text).hint(hint)));
    }
    if machine.observed.power != power {
        let text =
            format!("machine {name} is {}, its record says {}", power.word(), machine.observed.power.word());
        return Some(Finding::problem("machine", text).hint("the observer corrects it within a minute"));
    }
    reason.map(|reason| Finding::warning("machine", format!("machine {name} has a problem")).because(reason))
}

async fn examine_storage(local: &LocalHost, findings: &mut Vec<Finding>) {
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
