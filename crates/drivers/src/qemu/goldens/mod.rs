//! Golden machines: booted once, brought to rest, saved; machines are forked from what was saved.
//!
//! A golden machine runs like any other, under a driver of its own whose homes and disks lie in `goldens/`, so that
//! nobody takes it for a machine. Its memory is a file without a name, its card is plugged into nothing. At rest it is
//! stopped, the state of its devices is written out ([`rest`]), and memory, devices and disk become files ([`saved`]).
//! Forks map the memory copy-on-write from a sealed copy of it ([`loaded`]): not even a QEMU that its guest has taken
//! over can change what other forks start from.

mod loaded;
mod rest;
mod saved;
#[cfg(test)]
mod tests;

use super::command_line::{Memory, Wire, command_line};
use super::probe::Probed;
use super::start::{Origin, platform, usable};
use super::{Driver, firmware, guest_facts, locked};
use crate::durable::{blocking, io_failed, make_private_directory};
use crate::layout::{GOLDEN_DISK, Layout, MAKING};
use crate::local::make_volume;
use hostler_core::ids::{GoldenId, MachineId, TemplateId, VolumeId};
use hostler_core::ports::{
    Backing, Boot, DiskSpec, DriverError, DriverErrorKind, GoldenFacts, GoldenSpec, Link, MachineSpec,
    NicSpec, Progress, VolumeSpec,
};
use hostler_core::templates::{Firmware, ImageFormat};
pub(super) use loaded::{Loaded, Shelf};
use saved::Saved;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// The card's MAC until a fork takes its own: locally administered, and no machine's.
const MAC: &str = "52:54:00:00:00:01";

impl Driver {
    /// See [`Hypervisor::golden_make`](hostler_core::ports::Hypervisor::golden_make). To be called on the driver of
    /// golden machines.
    pub(super) async fn golden_make(
        self: &Arc<Self>,
        spec: &GoldenSpec,
        progress: &Progress,
    ) -> Result<GoldenFacts, DriverError> {
        let probed = self.probed(false).await?;
        let layout = self.layout.clone();
        let id = spec.id;
        if let Some(saved) = blocking(move || Ok(Saved::read(&layout, id))).await? {
            return Ok(saved.facts);
        }
        self.golden_clear(id).await?;
        let made = self.golden_made(spec, &probed, progress).await;
        if made.is_err() {
            self.golden_clear(id).await?;
        }
        made
    }

    async fn golden_made(
        self: &Arc<Self>,
        spec: &GoldenSpec,
        probed: &Probed,
        progress: &Progress,
    ) -> Result<GoldenFacts, DriverError> {
        let machine = machine(spec);
        let memory = loaded::empty_memory(spec.memory_mib)?;
        self.golden_disk(spec).await?;
        progress.report(0.1, "booting the golden machine");
        let begun = Instant::now();
        let origin = Origin::Golden(memory.try_clone().map_err(|error| io_failed("its memory", &error))?);
        {
            let turn = self.turn(machine.id).await;
            self.launch(&machine, probed, &turn, &origin).await?;
        }
        let running = self.powered(machine.id).await?;
        guest_facts(&running, spec.patience).await?;
        let boot_ms = milliseconds(begun);
        progress.report(0.6, "waiting until the golden machine has come to rest");
        let begun = Instant::now();
        rest::come_to_rest(&running, spec.patience).await?;
        let rest_ms = milliseconds(begun);
        progress.report(0.8, "saving the golden machine");
        let begun = Instant::now();
        let (layout, id) = (self.layout.clone(), spec.id);
        let state = blocking(move || {
            saved::state_file(&layout, id).map_err(|error| io_failed("cannot save a golden machine", &error))
        });
        let state = state.await?;
        running.write_state(&state).await?;
        running.ending.store(true, std::sync::atomic::Ordering::Release);
        self.power_off(machine.id).await?;
        let facts = GoldenFacts { likeness: likeness(probed)?, boot_ms, rest_ms, ..GoldenFacts::default() };
        let driver = self.clone();
        let facts = blocking(move || {
            driver.isolation.recall(&driver.layout, VolumeId(id.0)).map_err(|error| failed(&error))?;
            saved::save(&driver.layout, id, &memory, &state, facts, begun)
        })
        .await?;
        self.remove(machine.id).await?;
        Ok(facts)
    }

    async fn golden_disk(self: &Arc<Self>, spec: &GoldenSpec) -> Result<(), DriverError> {
        let (driver, spec) = (self.clone(), spec.clone());
        blocking(move || {
            make_private_directory(&driver.layout.goldens()).map_err(|error| failed(&error))?;
            let Some(size_mib) = spec.disk_mib else { return Ok(()) };
            let id = VolumeId(spec.id.0);
            let backing = Backing::Template { template: spec.template, image: spec.image.clone() };
            let volume = VolumeSpec { id, size_mib, backing: Some(backing) };
            make_volume(&driver.layout, &volume, &driver.layout.volume(id, ImageFormat::Qcow2))
        })
        .await
    }

    /// See [`Hypervisor::golden_remove`](hostler_core::ports::Hypervisor::golden_remove).
    pub(super) async fn golden_remove(self: &Arc<Self>, id: GoldenId) -> Result<(), DriverError> {
        self.shelf.forget(id);
        self.golden_clear(id).await
    }

    /// Ends its process and removes everything of it.
    async fn golden_clear(self: &Arc<Self>, id: GoldenId) -> Result<(), DriverError> {
        let machine = MachineId(id.0);
        self.power_off(machine).await?;
        self.remove(machine).await?;
        let layout = self.layout.clone();
        blocking(move || saved::remove(&layout, id).map_err(|error| failed(&error))).await
    }

    /// Keys of all that lies with the golden machines.
    pub(super) async fn goldens(self: &Arc<Self>) -> Result<Vec<GoldenId>, DriverError> {
        let directory = self.layout.goldens();
        blocking(move || {
            let entries = match std::fs::read_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                other => other.map_err(|error| failed(&error))?,
            };
            let key = |entry: std::fs::DirEntry| {
                let name = entry.file_name().into_string().ok()?;
                let name = name.strip_prefix(MAKING).unwrap_or(&name);
                name.split('.').next()?.parse().ok()
            };
            let keys: BTreeSet<GoldenId> = entries.flatten().filter_map(key).collect();
            Ok(keys.into_iter().collect())
        })
        .await
    }

    /// What a fork starts from, in memory and checked. To be called on the driver of machines.
    pub(super) async fn golden_loaded(
        self: &Arc<Self>,
        id: GoldenId,
        probed: &Probed,
    ) -> Result<Arc<Loaded>, DriverError> {
        let likeness = likeness(probed)?;
        let driver = self.clone();
        let share =
            move |layout: &Layout| driver.isolation.share_file(layout, &layout.golden(id, GOLDEN_DISK));
        let loaded = self.shelf.take(id, &self.layout, share).await?;
        if loaded.saved.facts.likeness != likeness {
            return Err(DriverError::refused(format!(
                "the golden machine was made with {}, and here is {likeness}",
                loaded.saved.facts.likeness
            )));
        }
        Ok(loaded)
    }
}

/// The machine that a golden one is until it is saved.
fn machine(spec: &GoldenSpec) -> MachineSpec {
    let link = Link::User { outbound: false, forward: None };
    MachineSpec {
        id: MachineId(spec.id.0),
        name: "golden".into(),
        generation: 1,
        vcpus: spec.vcpus,
        memory_mib: spec.memory_mib,
        template: spec.template,
        boot: spec.boot.clone(),
        disks: spec
            .disk_mib
            .map(|_| DiskSpec::new(VolumeId(spec.id.0), ImageFormat::Qcow2))
            .into_iter()
            .collect(),
        nics: vec![NicSpec { mac: MAC.into(), link }],
        seed: spec.seed.clone(),
        medium: None,
        snapshot: None,
        golden: None,
    }
}

/// What a saved machine depends on: QEMU, how it runs guest code, and every device that we give to machines. The last is
/// told by the arguments of machines that nobody runs, so that no change of ours goes unnoticed.
pub(super) fn likeness(probed: &Probed) -> Result<String, DriverError> {
    let accelerator = usable(probed)?;
    let mut form = Sha256::new();
    for boot in [Firmware::Bios, Firmware::Uefi].map(Boot::Firmware) {
        let machine_type = firmware::machine_type(&probed.machine_type, &boot);
        let spec = GoldenSpec {
            id: GoldenId(Uuid::nil()),
            vcpus: 1,
            memory_mib: 1024,
            template: TemplateId(Uuid::nil()),
            image: hostler_core::templates::Image::default(),
            disk_mib: Some(1),
            boot,
            seed: None,
            patience: std::time::Duration::ZERO,
        };
        let line = command_line(
            &machine(&spec),
            platform(accelerator, &machine_type),
            &Layout::seen_by_machine(),
            &[Wire::Nothing],
            Memory::Golden(0),
        )?;
        line.iter().for_each(|argument| form.update([argument.as_bytes(), &[0]].concat()));
    }
    let form = hex::encode(&form.finalize()[..4]);
    Ok(format!("QEMU {} with {} {}, form {form}", probed.version(), accelerator.name, accelerator.cpu))
}

fn failed(error: &io::Error) -> DriverError {
    io_failed("cannot keep a golden machine", error)
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn damaged(what: &str) -> DriverError {
    DriverError::new(DriverErrorKind::Refused, format!("the golden machine is damaged: {what}"))
}
