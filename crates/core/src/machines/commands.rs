//! What callers may ask about machines.

use super::create::Create;
use super::identity::{password_place, user_data_place};
use super::limits::{check_attributes, check_keys, check_password, check_size, check_titles, check_words};
use super::{HostName, Life, Machine, Observation, Observed, Power};
use crate::access::{Act, Amount, Caller, Idempotency, acts};
use crate::core::{Attempt, Core, decided};
use crate::error::{Error, Result};
use crate::hosts::Host;
use crate::ids::{AccountId, GoldenId, MachineId, VolumeId};
use crate::pools::Stock;
use crate::ports::{CommandOutput, Console, DriverErrorKind, GuestCommand, IoLimits, StoreError};
use crate::record::Kind;
use crate::secret::Secret;
use crate::tasks::{Accepted, Order, Task, ordered};
use crate::templates::{ImageFormat, Template};
use crate::volumes::{StoragePlace, Volume, VolumeState};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A machine to be made. What is left out comes from the template.
#[derive(Clone, Debug, Default)]
pub struct MachineAsk {
    /// Host name; one is made up when left out, from domain or title if they can be one.
    pub name: Option<String>,
    /// What people call it, any text of at most 255 characters; the host name when left out.
    pub title: String,
    /// The full name asked for it, at most 253 characters; may be empty.
    pub domain: String,
    /// Whose it shall be, by id, number, login name or e-mail address; the caller's when left out. Administrators only
    /// for others.
    pub owner: Option<String>,
    /// Cluster, by id, number or name; where the template lies when left out.
    pub cluster: Option<String>,
    /// Host, by id, number or name; where the template lies when left out.
    pub host: Option<String>,
    /// Password of the guest's administrator, where the template has cloud-init.
    pub password: Option<Secret>,
    /// What only one dialect understands, under that dialect's name; at most 16 KiB.
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// Template, by id, number, name or `name@version`.
    pub template: String,
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Size of the first disk in MiB; at least the template's.
    pub disk_mib: Option<u64>,
    /// Network, by id, number or name; the first one when left out.
    pub network: Option<String>,
    /// Addresses on it, one of each family at most; the next free ones when left out.
    pub addresses: Vec<IpAddr>,
    /// Lines for the administrator's `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// cloud-init user data.
    pub user_data: Option<Secret>,
    /// Words of the owner.
    pub description: String,
    /// Words of the owner, by key.
    pub labels: BTreeMap<String, String>,
    /// Whether it is started.
    pub start: bool,
}

/// Changes to a machine; what is left out stays.
#[derive(Clone, Debug, Default)]
pub struct MachineEdit {
    /// What people call it; empty for the host name.
    pub title: Option<String>,
    /// The full name asked for it.
    pub domain: Option<String>,
    /// Words of the owner.
    pub description: Option<String>,
    /// Replaces all labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Virtual CPUs; only more while the machine is on.
    pub vcpus: Option<u32>,
    /// Memory in MiB; only more while the machine is on.
    pub memory_mib: Option<u64>,
}

const MAX_USER_DATA: usize = 256 * 1024;

impl Core {
    /// Makes a machine: a record at once, the rest by the task `machine.create`.
    ///
    /// # Errors
    /// Invalid for what is malformed; not found for template or network; conflict `name_taken`, `not_ready`;
    /// no capacity when it is larger than the host.
    pub async fn machine_create(
        &self,
        caller: &Caller,
        ask: &MachineAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Machine>> {
        self.creates(caller, "machine").await?;
        check_words(&ask.description, &ask.labels)?;
        check_titles(&ask.title, &ask.domain)?;
        check_attributes(&ask.attributes)?;
        check_keys(&ask.ssh_keys)?;
        check_password(ask)?;
        if ask.user_data.as_ref().is_some_and(|data| data.expose().len() > MAX_USER_DATA) {
            return Err(Error::invalid("user_data", "user data has at most 256 KiB"));
        }
        decided(async || {
            if let Some(replay) = self.replayed(caller, idempotency).await? {
                return Ok(self.accepted_before(&replay).await?);
            }
            self.machine_create_once(caller, ask, idempotency, None).await
        })
        .await
    }

    /// Makes a machine that is stock of a pool, forked from a golden machine or booting.
    ///
    /// # Errors
    /// As [`machine_create`](Self::machine_create).
    pub(crate) async fn machine_stocked(
        &self,
        caller: &Caller,
        ask: &MachineAsk,
        stock: Stock,
        golden: Option<GoldenId>,
    ) -> Result<Accepted<Machine>> {
        check_keys(&ask.ssh_keys)?;
        let stocked = || Some((stock.clone(), golden));
        decided(async || self.machine_create_once(caller, ask, None, stocked()).await).await
    }

    async fn machine_create_once(
        &self,
        caller: &Caller,
        ask: &MachineAsk,
        idempotency: Option<&Idempotency>,
        stocked: Option<(Stock, Option<GoldenId>)>,
    ) -> Result<Accepted<Machine>, Attempt> {
        let template = self.template_usable(caller, &ask.template).await?;
        let network = self.network_usable(caller, ask.network.as_deref()).await?;
        let storage: StoragePlace = self.get(template.storage.0).await?;
        let host: Host = self.get(storage.host.0).await?;
        self.placed_as_asked(caller, ask, &host).await?;
        let owner = self.owner_asked(caller, ask.owner.as_deref()).await?;
        let mut machine = self.machine_drafted(owner, ask, &template, &host).await?;
        if let Some((stock, golden)) = stocked {
            (machine.stock, machine.golden) = (Some(stock), golden);
        }
        for key in self.ssh_keys_of(machine.owner).await? {
            if !machine.ssh_keys.contains(&key) {
                machine.ssh_keys.push(key);
            }
        }
        let holder = (machine.id, machine.owner);
        let (nic, addresses) = self.card_drafted(&network, holder, 0, &ask.addresses).await?;
        machine.nics.push(nic);
        check_size(machine.vcpus, machine.memory_mib, &host)?;

        let mut changes = self.changes();
        changes.unchanged(&template);
        changes.unchanged(&network);
        self.owner_stays(machine.owner, &mut changes).await?;
        let work = Create::new(machine.id);
        let task = self.machine_task(caller, &machine, "machine.create", &work)?;
        machine.task = Some(task.id);
        changes.insert(&machine)?;
        changes.insert(&task)?;
        for address in &addresses {
            changes.insert(address)?;
        }
        let volume = self.root_volume(&machine, &template, ask.disk_mib, storage.id)?;
        if let Some(volume) = &volume {
            changes.insert(volume)?;
        }
        let disk_mib = volume.map_or(0, |volume| volume.size_mib);
        let growth = [
            (Amount::Machines, 1),
            (Amount::Vcpus, machine.vcpus.into()),
            (Amount::MemoryMib, amount(machine.memory_mib)),
            (Amount::DiskMib, amount(disk_mib)),
            (Amount::Addresses, amount(addresses.len() as u64)),
        ];
        self.within_quotas(&mut changes, machine.owner, &growth).await?;
        if let Some(asked) = idempotency {
            changes.insert(&self.replay(caller, asked, machine.id.0, Some(task.id.0)))?;
        }
        let name = machine.name.clone();
        self.hand_over(caller, changes, machine, task).await.map_err(|error| match (error, &ask.name) {
            // A name of our own making went to somebody else meanwhile: the next one is free.
            (StoreError::Taken { kind: Kind::Machine, .. }, None) => Attempt::Stale,
            (error, _) => taken(error, &name),
        })
    }

    async fn machine_drafted(
        &self,
        owner: AccountId,
        ask: &MachineAsk,
        template: &Template,
        host: &Host,
    ) -> Result<Machine> {
        let id = MachineId(self.ids().uuid());
        let name: HostName = match &ask.name {
            Some(name) => name.parse()?,
            None => self.host_name_for(id, &ask.domain, &ask.title).await?,
        };
        let seal =
            |place, secret: &Option<Secret>| secret.as_ref().map(|one| self.seal(place, one)).transpose();
        let now = self.now();
        Ok(Machine {
            id,
            number: 0,
            rev: 0,
            name,
            title: ask.title.clone(),
            domain: ask.domain.clone(),
            description: ask.description.clone(),
            labels: ask.labels.clone(),
            attributes: ask.attributes.clone(),
            owner,
            cluster: host.cluster,
            host: host.id,
            template: template.id,
            vcpus: ask.vcpus.unwrap_or(template.vcpus),
            memory_mib: ask.memory_mib.unwrap_or(template.memory_mib),
            growing: None,
            nics: Vec::new(),
            medium: None,
            ssh_keys: ask.ssh_keys.iter().map(|key| key.trim().to_owned()).collect(),
            user_data: seal(user_data_place(id), &ask.user_data)?,
            password: seal(password_place(id), &ask.password)?,
            life: Life::Creating,
            wanted: if ask.start { Power::On } else { Power::Off },
            observed: Observation { power: Observed::Off, at: now, generation: 0 },
            reason: None,
            task: None,
            ready_at: None,
            guest: None,
            ssh: None,
            golden: None,
            stock: None,
            created_at: now,
            updated_at: now,
        })
    }

    fn root_volume(
        &self,
        machine: &Machine,
        template: &Template,
        asked_mib: Option<u64>,
        storage: crate::ids::StorageId,
    ) -> Result<Option<Volume>> {
        let image_mib = template.image_disk_mib();
        let least = image_mib.unwrap_or(0);
        let size_mib = template.root_disk_mib(asked_mib);
        if size_mib < least {
            let text = format!("the template's disk has {least} MiB, so {size_mib} MiB is too small");
            return Err(Error::invalid("disk_mib", text));
        }
        crate::volumes::check_size(size_mib)?;
        if size_mib == 0 {
            return Ok(None);
        }
        Ok(Some(Volume {
            id: VolumeId(self.ids().uuid()),
            number: 0,
            rev: 0,
            name: format!("{}-0", machine.name),
            owner: machine.owner,
            storage,
            size_mib,
            growing_mib: None,
            format: ImageFormat::Qcow2,
            template: image_mib.map(|_| template.id),
            golden: machine.golden,
            machine: Some(machine.id),
            position: 0,
            limits: IoLimits::default(),
            with_machine: true,
            state: VolumeState::Creating,
            reason: None,
            task: machine.task,
            created_at: machine.created_at,
        }))
    }

    pub(crate) fn machine_task<W: crate::tasks::Work + serde::Serialize>(
        &self,
        caller: &Caller,
        machine: &Machine,
        kind: &'static str,
        work: &W,
    ) -> Result<Task> {
        let order = Order {
            kind,
            owner: caller.account,
            subject: machine.id.0,
            subject_kind: "machine",
            subject_name: machine.name.as_str(),
            host: Some(machine.host),
        };
        ordered(self, &order, work)
    }

    /// Changes what the owner may change: at once, but for a size of a machine that is on, which the task
    /// `machine.resize` changes.
    ///
    /// # Errors
    /// Not found; invalid; busy, no capacity or conflict `wrong_state` for a size.
    pub async fn machine_edit(
        &self,
        caller: &Caller,
        key: &str,
        edit: &MachineEdit,
    ) -> Result<Accepted<Machine>> {
        decided(async || {
            let mut machine = self.machine_for(caller, acts::MACHINE_EDIT, key).await?;
            if machine.life == Life::Gone {
                return Err(Error::conflict("wrong_state", "the machine is gone").into());
            }
            let resize = self.resize_deed(&machine, edit).await?;
            machine.title = edit.title.clone().unwrap_or(machine.title);
            machine.domain = edit.domain.clone().unwrap_or(machine.domain);
            check_titles(&machine.title, &machine.domain)?;
            machine.description = edit.description.clone().unwrap_or(machine.description);
            machine.labels = edit.labels.clone().unwrap_or(machine.labels);
            check_words(&machine.description, &machine.labels)?;
            if let Some(deed) = resize {
                return self.altered(caller, machine, deed, self.changes()).await;
            }
            machine.updated_at = self.now();
            let mut changes = self.changes();
            changes.update(&machine)?;
            self.deed(&mut changes, caller, acts::MACHINE_EDIT.name, &machine)?;
            machine.rev = self.commit(changes).await?.stamps[0].rev;
            Ok(Accepted { record: machine, task: None })
        })
        .await
    }

    /// Runs a command inside the guest, through its agent, and waits for its end.
    ///
    /// # Errors
    /// Not found; invalid; conflict when the machine is not on, or `other_host`; unavailable when the agent does not
    /// answer.
    pub async fn machine_run(
        &self,
        caller: &Caller,
        key: &str,
        command: &GuestCommand,
    ) -> Result<CommandOutput> {
        if command.argv.is_empty()
            || command.argv.len() > 256
            || command.argv.iter().map(String::len).sum::<usize>() > 65_536
        {
            return Err(Error::invalid("argv", "a command has 1 to 256 words of at most 64 KiB together"));
        }
        if command.stdin.len() > 262_144 {
            return Err(Error::invalid("stdin", "at most 256 KiB can be given to a command"));
        }
        let machine = self.machine_running(caller, acts::MACHINE_RUN, key).await?;
        self.used(caller, acts::MACHINE_RUN, &machine).await?;
        Ok(self.host(machine.host)?.hypervisor.guest_run(machine.id, command).await?)
    }

    /// The last `bytes` of what the machine wrote to its serial console.
    ///
    /// # Errors
    /// Not found; conflict `other_host`.
    pub async fn machine_console_log(&self, caller: &Caller, key: &str, bytes: u64) -> Result<Vec<u8>> {
        let machine = self.machine_for(caller, acts::MACHINE_CONSOLE, key).await?;
        let local = self.host_here(machine.host, &format!("machine {}", machine.name)).await?;
        match local.hypervisor.console_log(machine.id, bytes.min(1 << 20)).await {
            Err(error) if error.kind == DriverErrorKind::Gone => Ok(Vec::new()),
            other => Ok(other?),
        }
    }

    /// A connection to one of the machine's consoles.
    ///
    /// # Errors
    /// Not found; conflict when the machine is not on, or `other_host`.
    pub async fn machine_console(
        &self,
        caller: &Caller,
        key: &str,
        which: Console,
    ) -> Result<tokio::net::UnixStream> {
        let machine = self.machine_running(caller, acts::MACHINE_CONSOLE, key).await?;
        self.used(caller, acts::MACHINE_CONSOLE, &machine).await?;
        Ok(self.host(machine.host)?.hypervisor.console(machine.id, which).await?)
    }

    /// Writes down that somebody goes into a guest, before that is done. Never what is said there.
    async fn used(&self, caller: &Caller, act: Act, machine: &Machine) -> Result<()> {
        let mut changes = self.changes();
        self.deed(&mut changes, caller, act.name, machine)?;
        self.commit(changes).await?;
        Ok(())
    }

    /// A machine that is on, on a host of this process.
    async fn machine_running(&self, caller: &Caller, act: Act, key: &str) -> Result<Machine> {
        let machine = self.machine_for(caller, act, key).await?;
        self.host_here(machine.host, &format!("machine {}", machine.name)).await?;
        if machine.observed.power != Observed::On {
            let text = format!("machine {} is {}", machine.name, machine.observed.power.word());
            return Err(Error::conflict("wrong_state", text).hint("start it first"));
        }
        Ok(machine)
    }
}

/// A size as quotas count it.
pub(crate) fn amount(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn taken(error: StoreError, name: &HostName) -> Attempt {
    match error {
        StoreError::Taken { kind: Kind::Machine, .. } => {
            let text = format!("another machine is named {name}");
            Attempt::Failed(Error::conflict("name_taken", text).hint("choose another name"))
        }
        // Somebody reserved that address, or used that idempotency key, between our reading and our commit.
        StoreError::Taken { kind: Kind::Address | Kind::Replay, .. } => Attempt::Stale,
        other => other.into(),
    }
}
