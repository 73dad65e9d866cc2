//! What the reconcilers make of what happens behind hostler's back.

use hostler_core::core::ListAsk;
use hostler_core::ids::MachineId;
use hostler_core::machines::{Life, Machine, Observed, Power, Verb};
use hostler_core::ports::{DriverErrorKind, Hypervisor};
use hostler_core::reconcile::{Housekeeper, Observer};
use hostler_sim::{Mode, Verb as Call, World};
use std::time::Duration;

async fn with_machine() -> (World, Observer, MachineId) {
    let world = World::with_template().await.unwrap();
    let made = world.core.machine_create(&world.admin, &World::machine("m"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let mut observer = Observer::new(world.core.clone(), world.core.local_hosts()[0].clone());
    observer.adopt().await.unwrap();
    (world, observer, made.record.id)
}

async fn machine(world: &World) -> Machine {
    world.core.machine_get(&world.admin, "m").await.unwrap()
}

#[tokio::test]
async fn a_guest_that_turns_itself_off_is_noticed_with_a_reason() {
    let (world, mut observer, id) = with_machine().await;
    world.hypervisor.guest_power_off(id).unwrap();
    observer.sweep().await.unwrap();
    let seen = machine(&world).await;
    assert_eq!((seen.observed.power, seen.wanted, seen.ready_at), (Observed::Off, Power::On, None));
    assert!(seen.reason.is_some());
    world.core.machine_power(&world.admin, "m", Verb::Start, false).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    observer.sweep().await.unwrap();
    let seen = machine(&world).await;
    assert_eq!((seen.observed.power, seen.reason, seen.observed.generation), (Observed::On, None, 2));
}

#[tokio::test]
async fn the_last_words_of_a_crash_are_the_reason() {
    let (world, mut observer, id) = with_machine().await;
    world.hypervisor.crash(id, "out of smoke").unwrap();
    observer.sweep().await.unwrap();
    assert!(machine(&world).await.reason.is_some_and(|reason| reason.contains("out of smoke")));
}

#[tokio::test]
async fn a_machine_that_vanished_is_off() {
    let (world, mut observer, id) = with_machine().await;
    world.hypervisor.vanish(id).unwrap();
    observer.sweep().await.unwrap();
    assert_eq!(machine(&world).await.observed.power, Observed::Off);
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes() {
    let (world, mut observer, _) = with_machine().await;
    observer.sweep().await.unwrap();
    let before = world.core.event_bounds().await.unwrap();
    for _ in 0..5 {
        observer.sweep().await.unwrap();
    }
    assert_eq!(world.core.event_bounds().await.unwrap(), before);
}

#[tokio::test]
async fn a_machine_held_by_a_task_is_left_to_it() {
    let (world, mut observer, id) = with_machine().await;
    world.core.machine_power(&world.admin, "m", Verb::Stop, true).await.unwrap();
    world.hypervisor.crash(id, "in the middle").unwrap();
    observer.sweep().await.unwrap();
    let held = machine(&world).await;
    assert_eq!((held.observed.power, held.reason.clone()), (Observed::On, None));
    world.run_tasks(Mode::Plain).await.unwrap();
    world.check_whole().await.unwrap();
}

#[tokio::test]
async fn a_guest_that_answers_late_becomes_ready() {
    let world = World::with_template().await.unwrap();
    world.faults.fail(Call::GuestFacts, 5000, DriverErrorKind::Timeout);
    world.core.machine_create(&world.admin, &World::machine("m"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let silent = machine(&world).await;
    assert!(silent.life == Life::Present && silent.ready_at.is_none() && silent.reason.is_some());
    world.faults.clear();
    let mut observer = Observer::new(world.core.clone(), world.core.local_hosts()[0].clone());
    observer.adopt().await.unwrap();
    observer.listen().await;
    let heard = machine(&world).await;
    assert!(heard.ready_at.is_some() && heard.reason.is_none() && heard.guest.is_some());
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten() {
    let (world, _, _) = with_machine().await;
    world.core.machine_delete(&world.admin, "m").await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let housekeeper = Housekeeper::new(world.core.clone());
    housekeeper.round().await.unwrap();
    let all = || world.core.machine_list(&world.admin, ListAsk::default());
    assert_eq!(all().await.unwrap().items.len(), 1, "a removed machine can be looked up for a while");
    let (first, _) = world.core.event_bounds().await.unwrap();
    world.clock.advance(Duration::from_secs(31 * 24 * 3600));
    housekeeper.round().await.unwrap();
    assert!(all().await.unwrap().items.is_empty());
    assert!(world.core.task_list(&world.admin, ListAsk::default()).await.unwrap().items.is_empty());
    assert!(world.core.event_bounds().await.unwrap().0 > first, "old events are forgotten, too");
}

#[tokio::test]
async fn a_removal_that_failed_is_tried_again() {
    let (world, _, id) = with_machine().await;
    world.faults.fail(Call::Remove, 1, DriverErrorKind::Refused);
    world.core.machine_delete(&world.admin, "m").await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let stuck = machine(&world).await;
    assert!(stuck.life == Life::Deleting && stuck.task.is_none() && stuck.reason.is_some());
    Housekeeper::new(world.core.clone()).round().await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    world.check_whole().await.unwrap();
    assert!(world.hypervisor.observe(id).await.is_err());
}
