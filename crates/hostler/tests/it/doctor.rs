//! What somebody breaks by hand, the doctor finds; what can be repaired safely is, and nothing else is touched.

use anyhow::{Context, Result, ensure};
use hostler_core::doctor::{Finding, Level, Outcome, Repair};
use hostler_core::ids::{AddressId, MachineId, MediumId, TaskId};
use hostler_core::machines::{Machine, Observed, Power};
use hostler_core::networks::{Address, Network};
use hostler_core::ports::{Alteration, Commit, Hypervisor, Ids, Storage, StorageItem, VolumeSpec};
use hostler_core::query::{Filter, Select};
use hostler_core::record::{Document, Kind, Record, Value};
use hostler_core::tasks::Task;
use hostler_core::volumes::{Volume, VolumeAsk};
use hostler_sim::memory::SeededIds;
use hostler_sim::{Mode, World};
use std::time::Duration;
use uuid::Uuid;

async fn with_machine(start: bool) -> Result<(World, Machine)> {
    let world = World::with_template().await?;
    let ask = hostler_core::machines::MachineAsk { start, ..World::machine("m") };
    world.core.machine_create(&world.admin, &ask, None).await?;
    world.run_tasks(Mode::Plain).await?;
    let machine = machine(&world).await?;
    Ok((world, machine))
}

async fn machine(world: &World) -> Result<Machine> {
    Ok(world.core.machine_get(&world.admin, "m").await?)
}

async fn problems(world: &World) -> Result<Vec<Finding>> {
    let mut found = world.core.doctor(&world.admin).await?;
    found.retain(|finding| finding.level != Level::Ok);
    // The simulated host says that it emulates; that is not what is looked for here.
    found.retain(|finding| !["accelerator", "host", "fsync", "disk"].contains(&finding.check.as_str()));
    Ok(found)
}

/// The one problem there is.
async fn problem(world: &World) -> Result<Finding> {
    let mut found = problems(world).await?;
    ensure!(found.len() == 1, "not one problem: {found:?}");
    found.pop().context("a problem")
}

/// Repairs everything, which must go through and leave nothing to be found.
async fn repaired(world: &World) -> Result<()> {
    for one in world.core.doctor_repair(&world.admin, false, None).await? {
        ensure!(matches!(one.outcome, Outcome::Done | Outcome::Ordered(_)), "{one:?}");
    }
    world.run_tasks(Mode::Plain).await?;
    let left = problems(world).await?;
    ensure!(left.is_empty(), "after the repair: {left:?}");
    Ok(())
}

/// Writes a record as somebody with access to the database would, without any event.
async fn by_hand<R: Record>(world: &World, record: &R, edit: impl FnOnce(&mut Document)) -> Result<()> {
    let mut document = record.document()?;
    edit(&mut document);
    let alterations = vec![Alteration::Update(document)];
    world.core.store().commit(Commit { alterations, ..Commit::default() }).await?;
    Ok(())
}

async fn only_volume(world: &World) -> Result<Volume> {
    let found = world.core.store().list(Kind::Volume, Select::new(Filter::All, 9)).await?;
    Ok(Volume::from_document(found.first().context("a volume")?)?)
}

#[tokio::test]
async fn a_whole_installation_has_nothing_to_repair() -> Result<()> {
    let (world, _) = with_machine(true).await?;
    let found = problems(&world).await?;
    ensure!(found.is_empty(), "{found:?}");
    ensure!(world.core.doctor_repair(&world.admin, false, None).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_deleted_volume_file_is_marked_until_it_is_back() -> Result<()> {
    let world = World::with_template().await?;
    let ask = VolumeAsk { name: "data".into(), size_mib: 8, storage: None };
    world.core.volume_create(&world.admin, &ask, None).await?;
    world.run_tasks(Mode::Plain).await?;
    let volume = only_volume(&world).await?;
    world.storage.volume_remove(volume.id).await?;

    let found = problem(&world).await?;
    ensure!(
        found.text.contains("the file of volume data") && found.text.ends_with("is missing"),
        "{found:?}"
    );
    world.core.doctor_repair(&world.admin, false, None).await?;
    let marked = only_volume(&world).await?;
    ensure!(marked.reason.as_deref() == Some("its file is missing"), "{marked:?}");
    ensure!(problem(&world).await?.repair.is_none(), "what is marked is not marked again");

    let spec = VolumeSpec { id: volume.id, size_mib: 8, backing: None };
    world.storage.volume_make(&spec).await?;
    repaired(&world).await?;
    ensure!(only_volume(&world).await?.reason.is_none());
    Ok(())
}

#[tokio::test]
async fn a_killed_machine_is_started_again() -> Result<()> {
    let (world, before) = with_machine(true).await?;
    world.hypervisor.crash(before.id, "killed by signal 9")?;
    let found = problem(&world).await?;
    ensure!(found.text == "machine m is off although it should be on", "{found:?}");
    ensure!(found.repair == Some(Repair::Power { machine: before.id, wanted: Power::On }), "{found:?}");
    repaired(&world).await?;
    let after = machine(&world).await?;
    ensure!((after.observed.power, after.observed.generation) == (Observed::On, 2), "{after:?}");
    world.check_whole().await
}

#[tokio::test]
async fn a_machine_that_vanished_although_it_was_off_is_as_it_should_be() -> Result<()> {
    let (world, before) = with_machine(false).await?;
    by_hand(&world, &before, |document| {
        document.body = document.body.replace(r#""power":"off""#, r#""power":"on""#);
        set(document, "observed", &"on".into());
    })
    .await?;
    let found = problem(&world).await?;
    ensure!(found.text == "machine m is off, its record says on", "{found:?}");
    repaired(&world).await?;
    ensure!(machine(&world).await?.observed.power == Observed::Off);
    Ok(())
}

fn set(document: &mut Document, column: &str, value: &Value) {
    for (name, old) in &mut document.columns {
        if *name == column {
            *old = value.clone();
        }
    }
}

#[tokio::test]
async fn a_column_that_contradicts_its_record_is_written_anew() -> Result<()> {
    let (world, before) = with_machine(true).await?;
    by_hand(&world, &before, |document| set(document, "owner", &Uuid::nil().into())).await?;
    let mine = Filter::eq("owner", before.owner.0);
    ensure!(world.core.store().count(Kind::Machine, mine.clone()).await? == 0);
    let found = problem(&world).await?;
    ensure!(found.repair == Some(Repair::Rewrite { kind: Kind::Machine, id: before.id.0 }), "{found:?}");
    repaired(&world).await?;
    ensure!(world.core.store().count(Kind::Machine, mine).await? == 1);
    Ok(())
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_left_alone() -> Result<()> {
    let (world, before) = with_machine(true).await?;
    by_hand(&world, &before, |document| document.body = r#"{"name":7}"#.into()).await?;
    let found = problems(&world).await?;
    let named = found.iter().find(|one| one.text.contains("cannot be read")).context("it is named")?;
    ensure!(named.text.contains(&before.id.to_string()) && named.cause.is_some() && named.repair.is_none());
    for one in world.core.doctor_repair(&world.admin, false, None).await? {
        ensure!(!matches!(one.repair, Repair::Clean { .. } | Repair::Detach { .. }), "{one:?}");
    }
    ensure!(world.hypervisor.observe(before.id).await?.observed == Observed::On, "the machine runs on");
    Ok(())
}

#[tokio::test]
async fn what_is_held_by_a_task_that_vanished_is_let_go() -> Result<()> {
    let (world, before) = with_machine(true).await?;
    let nobody = TaskId(SeededIds::new(9).uuid());
    let held = Machine { task: Some(nobody), ..before.clone() };
    by_hand(&world, &held, |_| {}).await?;
    let volume = only_volume(&world).await;
    if let Ok(volume) = volume {
        by_hand(&world, &Volume { task: Some(nobody), ..volume }, |_| {}).await?;
    }
    let found = problems(&world).await?;
    ensure!(found.iter().all(|one| one.text.contains("which has ended or is no more")), "{found:?}");
    ensure!(found.iter().any(|one| one.text.starts_with("machine m is held by task")), "{found:?}");
    for one in world.core.doctor_repair(&world.admin, false, None).await? {
        ensure!(one.outcome == Outcome::Done, "{one:?}");
    }
    ensure!(machine(&world).await?.task.is_none());
    Ok(())
}

#[tokio::test]
async fn references_to_what_is_no_more_are_cut() -> Result<()> {
    let (world, before) = with_machine(true).await?;
    let ids = SeededIds::new(9);
    let (nobody, nothing) = (MachineId(ids.uuid()), MediumId(ids.uuid()));
    by_hand(&world, &Machine { medium: Some(nothing), ..before.clone() }, |_| {}).await?;
    let ask = VolumeAsk { name: "data".into(), size_mib: 8, storage: None };
    let volume = world.core.volume_create(&world.admin, &ask, None).await?.record;
    world.run_tasks(Mode::Plain).await?;
    let volume = world.core.volume_get(&world.admin, &volume.id.to_string()).await?;
    by_hand(&world, &Volume { machine: Some(nobody), ..volume.clone() }, |_| {}).await?;
    let network: Network = world.core.network_get(&world.admin, "1").await?;
    let address = Address {
        id: AddressId(ids.uuid()),
        number: 0,
        rev: 0,
        network: network.id,
        ip: "10.0.0.7".parse()?,
        machine: Some(nobody),
        owner: before.owner,
        note: String::new(),
        created_at: before.created_at,
    };
    let alterations = vec![Alteration::Insert(address.document()?)];
    world.core.store().commit(Commit { alterations, ..Commit::default() }).await?;

    let found = problems(&world).await?;
    ensure!(found.len() == 3, "{found:?}");
    let freed = Repair::FreeAddress { address: address.id };
    let only = [freed.to_string()];
    let done = world.core.doctor_repair(&world.admin, false, Some(&only)).await?;
    ensure!(done.len() == 1 && done[0].repair == freed, "only what was asked for: {done:?}");
    ensure!(problems(&world).await?.len() == 2);
    repaired(&world).await?;
    ensure!(machine(&world).await?.medium.is_none());
    let kept = world.core.volume_get(&world.admin, &volume.id.to_string()).await?;
    ensure!(kept.machine.is_none(), "{kept:?}");
    ensure!(world.storage.items().await?.contains(&StorageItem::Volume(volume.id)), "its data is kept");
    Ok(())
}

#[tokio::test]
async fn a_machine_without_its_host_or_template_is_explained() -> Result<()> {
    let (world, before) = with_machine(true).await?;
    let nowhere = hostler_core::ids::TemplateId(SeededIds::new(9).uuid());
    by_hand(&world, &Machine { template: nowhere, ..before }, |_| {}).await?;
    let found = problems(&world).await?;
    let named = found.iter().find(|one| one.text.contains(&nowhere.to_string())).context("it is found")?;
    ensure!(named.repair.is_none() && named.hint.is_some(), "{named:?}");
    Ok(())
}

#[tokio::test]
async fn a_task_about_nothing_is_ended() -> Result<()> {
    let (world, _) = with_machine(true).await?;
    let ask = VolumeAsk { name: "data".into(), size_mib: 8, storage: None };
    let made = world.core.volume_create(&world.admin, &ask, None).await?;
    let delete = Alteration::Delete { kind: Kind::Volume, id: made.record.id.0, rev: made.record.rev };
    world.core.store().commit(Commit { alterations: vec![delete], ..Commit::default() }).await?;
    let found = problem(&world).await?;
    ensure!(found.text.ends_with("works on something that is no more"), "{found:?}");
    repaired(&world).await?;
    let task: Task = world.core.task_get(&world.admin, &made.task.context("a task")?.id.to_string()).await?;
    ensure!(task.error.as_deref() == Some("its volume is no more"), "{task:?}");
    Ok(())
}

#[tokio::test]
async fn leftovers_are_removed_when_they_are_old_enough() -> Result<()> {
    let (world, before) = with_machine(true).await?;
    world.leave_something().await?;
    let young = problems(&world).await?;
    ensure!(young.len() == 4 && young.iter().all(|one| one.repair.is_none()), "{young:?}");
    world.clock.advance(Duration::from_secs(2 * 3600));
    let preview = world.core.doctor_repair(&world.admin, true, None).await?;
    ensure!(preview.len() == 4 && preview.iter().all(|one| one.outcome == Outcome::Proposed), "{preview:?}");
    ensure!(problems(&world).await?.len() == 4, "a preview changes nothing");
    let done = world.core.doctor_repair(&world.admin, false, None).await?;
    let tasks: std::collections::HashSet<String> =
        done.iter().map(|one| format!("{:?}", one.outcome)).collect();
    ensure!(tasks.len() == 1 && matches!(done[0].outcome, Outcome::Ordered(_)), "one task for all: {done:?}");
    world.run_tasks(Mode::Plain).await?;
    ensure!(problems(&world).await?.is_empty());
    ensure!(machine(&world).await?.id == before.id);
    world.check_whole().await
}

#[tokio::test]
async fn only_administrators_may_ask_for_repairs() -> Result<()> {
    let world = World::new().await?;
    let user = hostler_core::access::Caller { role: hostler_core::access::Role::User, ..world.admin.clone() };
    let refused = world.core.doctor_repair(&user, true, None).await.err().context("it is refused")?;
    ensure!(refused.kind == hostler_core::ErrorKind::Denied, "{refused:?}");
    Ok(())
}
