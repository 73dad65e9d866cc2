//! Machines of one host: whether they are as their records say.

use super::Finding;
use super::books::Books;
use super::clean::{Leftover, is_old};
use super::repair::Repair;
use crate::core::{Core, LocalHost};
use crate::error::Result;
use crate::ids::MachineId;
use crate::machines::{Life, Machine, Observed, Power};
use crate::ports::Sighting;
use crate::record::{Kind, Record};
use std::collections::HashMap;

impl Core {
    pub(super) async fn examine_machines(
        &self,
        local: &LocalHost,
        books: &Books,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let seen = match local.hypervisor.sightings().await {
            Ok(seen) => seen,
            Err(error) => {
                findings
                    .push(Finding::problem("machine", "machines cannot be observed").because(error.detail));
                return Ok(());
            }
        };
        let host = local.hypervisor.host();
        let machines: Vec<&Machine> = books.machines.iter().filter(|machine| machine.host == host).collect();
        let records: HashMap<MachineId, &Machine> =
            machines.iter().map(|machine| (machine.id, *machine)).collect();
        for sighting in &seen {
            if !records.contains_key(&sighting.id) {
                findings.push(self.stranger(local, sighting).await?);
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

    async fn stranger(&self, local: &LocalHost, sighting: &Sighting) -> Result<Finding> {
        let id = sighting.id;
        let process = sighting.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        if let Some(document) = self.store().get(Kind::Machine, id.0).await? {
            return Ok(match Machine::from_document(&document) {
                Ok(machine) if machine.life == Life::Gone => {
                    let text =
                        format!("machine {} is gone, but something is left of it{process}", machine.name);
                    Finding::problem("machine", text).hint("it is removed at the next look, within a minute")
                }
                Ok(machine) => {
                    let text =
                        format!("something of machine {} is here{process}, but not its host", machine.name);
                    Finding::problem("machine", text)
                        .hint(format!("set right the host in its record, or end it: machines/{id}"))
                }
                // A row that cannot be read is a record all the same, and reported for itself.
                Err(_) => Finding::warning("machine", format!("machine {id} is here{process}")),
            });
        }
        let text = format!("something is left of machine {id}, which has no record{process}");
        let finding = Finding::problem("machine", text).because(
            "the database was restored from before it was made, or belongs to another data directory",
        );
        let leftover = Leftover::Machine(id);
        Ok(if is_old(id.0, self.now()) {
            finding.repair(Repair::Clean { host: local.hypervisor.host(), leftover })
        } else {
            finding.hint("it is very young: look again in an hour")
        })
    }
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
    if machine.life == Life::Creating {
        let text = format!("machine {name} was never finished, and no task makes it");
        return Some(add(Finding::problem("machine", text)
            .hint(format!("`hostler machine delete {name}`, then make it again"))));
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
        let finding = add(Finding::problem("machine", text).hint(hint));
        let repairable = machine.life == Life::Present;
        let repair = Repair::Power { machine: machine.id, wanted: machine.wanted };
        return Some(if repairable { finding.repair(repair) } else { finding });
    }
    if machine.observed.power != power {
        let text =
            format!("machine {name} is {}, its record says {}", power.word(), machine.observed.power.word());
        let finding = Finding::problem("machine", text).hint("the observer corrects it within a minute");
        return Some(finding.repair(Repair::Look { machine: machine.id }));
    }
    reason.map(|reason| Finding::warning("machine", format!("machine {name} has a problem")).because(reason))
}
