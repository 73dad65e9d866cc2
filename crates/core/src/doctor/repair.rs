//! What can be done about findings: each repair is one command, decided again from what is there when it is done.

use super::Finding;
use super::clean::{Clean, Leftover};
use crate::access::Caller;
use crate::core::{Changes, Core, decided};
use crate::error::Result;
use crate::hosts::Host;
use crate::ids::{AddressId, HostId, MachineId, TaskId, VolumeId};
use crate::machines::{Machine, Power, Verb};
use crate::media::Medium;
use crate::networks::Address;
use crate::record::{Kind, Record};
use crate::snapshots::Snapshot;
use crate::tasks::{Order, Task, TaskState, ordered};
use crate::templates::Template;
use crate::volumes::Volume;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

/// What is on a volume whose file is not there.
const MISSING: &str = "its file is missing";

/// Something safe that can be done about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Remove what no record knows, by the task `host.clean`.
    Clean {
        /// Where it is.
        host: HostId,
        /// What it is.
        leftover: Leftover,
    },
    /// Start or stop a machine, as it is wanted.
    Power {
        /// The machine.
        machine: MachineId,
        /// How it is wanted.
        wanted: Power,
    },
    /// Record what is seen of a machine.
    Look {
        /// The machine.
        machine: MachineId,
    },
    /// Write the reason on a volume whose file is missing, and on its machine.
    MarkMissing {
        /// The volume.
        volume: VolumeId,
    },
    /// Take that reason away again.
    Unmark {
        /// The volume.
        volume: VolumeId,
    },
    /// Let go of a record that no task holds.
    LetGo {
        /// Its kind.
        kind: Kind,
        /// Its key.
        id: Uuid,
    },
    /// Take a volume from a machine that is no more.
    Detach {
        /// The volume.
        volume: VolumeId,
    },
    /// Take a medium that is not there from a machine's drive.
    EmptyDrive {
        /// The machine.
        machine: MachineId,
    },
    /// Free an address that a machine had which is no more.
    FreeAddress {
        /// The address.
        address: AddressId,
    },
    /// Write a record anew, so that lists find it as what it is.
    Rewrite {
        /// Its kind.
        kind: Kind,
        /// Its key.
        id: Uuid,
    },
    /// Go on counting after the greatest number.
    Recount {
        /// What is counted.
        kind: Kind,
    },
    /// End a task that works on nothing.
    EndTask {
        /// The task.
        task: TaskId,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean { leftover, .. } => write!(f, "remove {leftover}"),
            Self::Power { machine, wanted: Power::On } => write!(f, "start machine {machine}"),
            Self::Power { machine, wanted: Power::Off } => write!(f, "stop machine {machine}"),
            Self::Look { machine } => write!(f, "record what is seen of machine {machine}"),
            Self::MarkMissing { volume } => write!(f, "mark volume {volume} and its machine with the reason"),
            Self::Unmark { volume } => write!(f, "unmark volume {volume}"),
            Self::LetGo { kind, id } => write!(f, "let go of {} {id}", kind.word()),
            Self::Detach { volume } => write!(f, "take volume {volume} from that machine, and keep it"),
            Self::EmptyDrive { machine } => write!(f, "empty the drive of machine {machine}"),
            Self::FreeAddress { address } => write!(f, "free address {address}"),
            Self::Rewrite { kind, id } => write!(f, "list {} {id} as what it says it is", kind.word()),
            Self::Recount { kind } => write!(f, "count on after the greatest number of any {}", kind.word()),
            Self::EndTask { task } => write!(f, "end task {task} as failed"),
        }
    }
}

/// What came of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It would be done.
    Proposed,
    /// It is done.
    Done,
    /// This task does it.
    Ordered(TaskId),
    /// It was not done, and why.
    Refused(String),
}

/// A finding and what came of its repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The finding.
    pub finding: Finding,
    /// What is done about it.
    pub repair: Repair,
    /// What came of it.
    pub outcome: Outcome,
}

impl Core {
    /// Looks at everything again and repairs what can be repaired safely; with `preview` it only says what it would do.
    /// With `only` it does no other repairs than those that are named there, in the words of a preview.
    ///
    /// # Errors
    /// Denied for anybody but administrators.
    pub async fn doctor_repair(
        &self,
        caller: &Caller,
        preview: bool,
        only: Option<&[String]>,
    ) -> Result<Vec<Repaired>> {
        let findings = self.doctor(caller).await?;
        let wanted = |repair: &Repair| only.is_none_or(|only| only.contains(&repair.to_string()));
        let mut repaired: Vec<Repaired> = findings
            .into_iter()
            .filter_map(|finding| Some((finding.repair.filter(wanted)?, finding)))
            .map(|(repair, finding)| Repaired { finding, repair, outcome: Outcome::Proposed })
            .collect();
        if preview {
            return Ok(repaired);
        }
        for one in &repaired {
            // Some are many commits, some none of their own: the line comes before.
            self.note_deed(caller, "doctor.repair", ("repair", &one.repair.to_string())).await?;
        }
        for one in &mut repaired {
            if matches!(one.repair, Repair::Clean { .. }) {
                continue;
            }
            one.outcome = match self.repair(caller, one.repair).await {
                Ok(Some(task)) => Outcome::Ordered(task),
                Ok(None) => Outcome::Done,
                Err(error) => Outcome::Refused(error.text),
            };
            tracing::info!(account = caller.login, repair = %one.repair, outcome = ?one.outcome, "repaired");
        }
        self.clean(caller, &mut repaired).await?;
        Ok(repaired)
    }

    /// One task for all leftovers of a host.
    async fn clean(&self, caller: &Caller, repaired: &mut [Repaired]) -> Result<()> {
        let mut hosts: BTreeMap<HostId, Vec<Leftover>> = BTreeMap::new();
        for one in repaired.iter() {
            if let Repair::Clean { host, leftover } = one.repair {
                hosts.entry(host).or_default().push(leftover);
            }
        }
        for (id, leftovers) in hosts {
            let host: Host = self.get(id.0).await?;
            let order = Order {
                kind: "host.clean",
                owner: caller.account,
                subject: id.0,
                subject_kind: "host",
                subject_name: &host.name,
                host: Some(id),
            };
            let task = ordered(self, &order, &Clean::new(id, leftovers))?;
            let mut changes = self.changes();
            changes.insert(&task)?;
            self.commit(changes).await?;
            for one in repaired.iter_mut() {
                if matches!(one.repair, Repair::Clean { host, .. } if host == id) {
                    one.outcome = Outcome::Ordered(task.id);
                }
            }
        }
        Ok(())
    }

    /// Does one repair, if there is still need for it; answers the task when there is one.
    async fn repair(&self, caller: &Caller, repair: Repair) -> Result<Option<TaskId>> {
        match repair {
            Repair::Power { machine, wanted } => {
                let verb = if wanted == Power::On { Verb::Start } else { Verb::Stop };
                // What is wanted says so already, and what was seen may not: then there is nothing to ask for.
                self.look_again(machine).await?;
                let accepted = self.machine_power(caller, &machine.to_string(), verb, false).await?;
                Ok(accepted.task.map(|task| task.id))
            }
            Repair::Recount { .. } => self.store().recount(true).await.map(|_| None).map_err(Into::into),
            Repair::Look { machine } => self.look_again(machine).await.map(|()| None),
            other => self.mend(other).await.map(|()| None),
        }
    }

    async fn mend(&self, repair: Repair) -> Result<()> {
        decided(async || {
            let mut changes = self.changes();
            self.mended(repair, &mut changes).await?;
            if !changes.commit.alterations.is_empty() {
                self.commit(changes).await?;
            }
            Ok(())
        })
        .await
    }

    /// The changes that a repair of records needs; none when somebody else was faster.
    async fn mended(&self, repair: Repair, changes: &mut Changes) -> Result<()> {
        match repair {
            Repair::MarkMissing { volume } => {
                let mut volume: Volume = self.get(volume.0).await?;
                volume.reason = Some(MISSING.into());
                changes.update(&volume)?;
                if let Some(id) = volume.machine
                    && let Some(mut machine) =
                        self.find::<Machine>(id.0).await?.filter(|one| one.task.is_none())
                {
                    machine.reason = Some(format!("the file of its volume {} is missing", volume.name));
                    changes.update(&machine)?;
                }
            }
            Repair::Unmark { volume } => {
                let mut volume: Volume = self.get(volume.0).await?;
                volume.reason = None;
                changes.update(&volume)?;
                if let Some(id) = volume.machine
                    && let Some(mut machine) =
                        self.find::<Machine>(id.0).await?.filter(|one| one.task.is_none())
                {
                    machine.reason = None;
                    changes.update(&machine)?;
                }
            }
            Repair::Detach { volume } => {
                let mut volume: Volume = self.get(volume.0).await?;
                (volume.machine, volume.with_machine) = (None, false);
                changes.update(&volume)?;
            }
            Repair::EmptyDrive { machine } => {
                let mut machine: Machine = self.get(machine.0).await?;
                machine.medium = None;
                changes.update(&machine)?;
            }
            Repair::FreeAddress { address } => {
                changes.delete(&self.get::<Address>(address.0).await?);
            }
            Repair::EndTask { task } => {
                let mut task: Task = self.get(task.0).await?;
                if self.is_about_nothing(&task).await? {
                    task.state = TaskState::Failed;
                    task.error = Some(format!("its {} is no more", task.subject_kind));
                    task.ended_at = Some(changes.now());
                    changes.update(&task)?;
                }
            }
            Repair::LetGo { kind, id } => self.let_go(kind, id, changes).await?,
            Repair::Rewrite { kind, id } => self.rewrite(kind, id, changes).await?,
            Repair::Clean { .. } | Repair::Power { .. } | Repair::Look { .. } | Repair::Recount { .. } => {}
        }
        Ok(())
    }

    async fn let_go(&self, kind: Kind, id: Uuid, changes: &mut Changes) -> Result<()> {
        const WHY: &str = "the task that held it has ended without letting go";
        match kind {
            Kind::Machine => {
                let mut machine: Machine = self.get(id).await?;
                machine.let_go(Some(WHY.into()));
                changes.update(&machine)
            }
            Kind::Template => {
                let template = Template { task: None, ..self.get(id).await? };
                changes.update(&template)
            }
            Kind::Volume => {
                let volume = Volume { task: None, ..self.get(id).await? };
                changes.update(&volume)
            }
            Kind::Medium => {
                let medium = Medium { task: None, ..self.get(id).await? };
                changes.update(&medium)
            }
            Kind::Snapshot => {
                let snapshot = Snapshot { task: None, ..self.get(id).await? };
                changes.update(&snapshot)
            }
            _ => Ok(()),
        }
    }

    /// Writes a record as it says it is, which writes its columns, too.
    async fn rewrite(&self, kind: Kind, id: Uuid, changes: &mut Changes) -> Result<()> {
        async fn again<R: Record>(core: &Core, id: Uuid, changes: &mut Changes) -> Result<()> {
            changes.update(&core.get::<R>(id).await?)
        }
        match kind {
            Kind::Machine => again::<Machine>(self, id, changes).await,
            Kind::Template => again::<Template>(self, id, changes).await,
            Kind::Volume => again::<Volume>(self, id, changes).await,
            Kind::Medium => again::<Medium>(self, id, changes).await,
            Kind::Snapshot => again::<Snapshot>(self, id, changes).await,
            Kind::Storage => again::<crate::volumes::StoragePlace>(self, id, changes).await,
            Kind::Network => again::<crate::networks::Network>(self, id, changes).await,
            Kind::Address => again::<Address>(self, id, changes).await,
            Kind::Host => again::<Host>(self, id, changes).await,
            Kind::Cluster => again::<crate::hosts::Cluster>(self, id, changes).await,
            Kind::Account => again::<crate::access::Account>(self, id, changes).await,
            Kind::Group => again::<crate::access::Group>(self, id, changes).await,
            Kind::Member => again::<crate::access::Member>(self, id, changes).await,
            Kind::Credential => again::<crate::access::Credential>(self, id, changes).await,
            Kind::SshKey => again::<crate::access::SshKey>(self, id, changes).await,
            Kind::Grant => again::<crate::access::Grant>(self, id, changes).await,
            Kind::Quota => again::<crate::access::Quota>(self, id, changes).await,
            Kind::Deed => again::<crate::access::Deed>(self, id, changes).await,
            Kind::Pool => again::<crate::pools::Pool>(self, id, changes).await,
            Kind::Request => again::<crate::pools::Request>(self, id, changes).await,
            Kind::Demand => again::<crate::pools::Demand>(self, id, changes).await,
            Kind::Golden => again::<crate::goldens::Golden>(self, id, changes).await,
            Kind::Setting => again::<crate::settings::Setting>(self, id, changes).await,
            Kind::Task => again::<Task>(self, id, changes).await,
            Kind::Replay => again::<crate::access::Replay>(self, id, changes).await,
        }
    }

    /// Records what is seen of a machine that no task holds.
    async fn look_again(&self, id: MachineId) -> Result<()> {
        let machine: Machine = self.get(id.0).await?;
        let seen = self.host(machine.host)?.hypervisor.sightings().await?;
        let seen = seen.into_iter().find(|sighting| sighting.id == id);
        decided(async || {
            let mut machine: Machine = self.get(id.0).await?;
            if machine.task.is_some() {
                return Ok(());
            }
            match &seen {
                Some(sighting) => machine.saw(sighting, self.now()),
                None => machine.saw_nothing(self.now()),
            }
            crate::reconcile::explain(&mut machine, seen.as_ref());
            machine.updated_at = self.now();
            let mut changes = self.changes();
            changes.update(&machine)?;
            self.commit(changes).await?;
            Ok(())
        })
        .await
    }
}
