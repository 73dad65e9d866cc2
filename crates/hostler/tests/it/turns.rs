//! Commands that wait for their turn at a machine: in order, seen as queued, decided when it comes.

use anyhow::Result;
use hostler_core::core::ListAsk;
use hostler_core::machines::{Busy, Life, Observed, Verb};
use hostler_core::query::{Filter, Sort};
use hostler_core::tasks::{Task, TaskState};
use hostler_sim::{Mode, World};

async fn world() -> World {
    let world = World::with_template().await.unwrap();
    world.core.machine_create(&world.admin, &World::machine("m"), None).await.unwrap();
    world
}

async fn queued(world: &World, verb: Verb) -> Task {
    let asked = world.core.machine_power_when(&world.admin, "m", verb, true, Busy::Queue).await;
    asked.unwrap().task.expect("whoever queues always gets a task")
}

async fn now(world: &World, task: &Task) -> Task {
    world.core.task_get(&world.admin, &task.id.to_string()).await.unwrap()
}

#[tokio::test]
async fn commands_wait_in_the_order_they_were_given() {
    let world = world().await;
    let verbs = [Verb::Stop, Verb::Start, Verb::Restart, Verb::Stop, Verb::Start, Verb::Stop];
    let mut tasks = Vec::new();
    for verb in verbs {
        tasks.push(queued(&world, verb).await);
    }
    for task in &tasks {
        let task = now(&world, task).await;
        assert_eq!((task.state, task.started_at), (TaskState::Queued, None));
    }
    // Others are refused as before.
    let refused = world.core.machine_power(&world.admin, "m", Verb::Stop, true).await.unwrap_err();
    assert_eq!(refused.code, "busy");
    world.run_tasks(Mode::Plain).await.unwrap();
    let mut ended = Vec::new();
    for task in &tasks {
        let task = now(&world, task).await;
        assert_eq!(task.state, TaskState::Done, "{:?}", task.error);
        ended.push(task.ended_at.unwrap());
    }
    assert!(ended.is_sorted(), "{ended:?}");
    let machine = world.core.machine_get(&world.admin, "m").await.unwrap();
    assert_eq!(machine.observed.power, Observed::Off);
    world.check_whole().await.unwrap();
}

/// Their next looks are seconds away: without being woken by the one before, twenty would take more than a minute.
#[tokio::test]
async fn the_next_is_woken_when_one_ends() {
    let world = world().await;
    world.run_tasks(Mode::Plain).await.unwrap();
    let before = world.core.clock().now();
    for place in 0..20 {
        queued(&world, if place % 2 == 0 { Verb::Stop } else { Verb::Start }).await;
    }
    world.run_tasks(Mode::Plain).await.unwrap();
    let took = world.core.clock().now().since(before);
    assert!(took.as_secs() < 5, "{took:?}");
    world.check_whole().await.unwrap();
}

#[tokio::test]
async fn twenty_at_once_are_each_carried_out_once() {
    let world = world().await;
    let asked = (0..20).map(|_| queued(&world, Verb::Restart));
    let tasks = futures_util::future::join_all(asked).await;
    world.run_tasks(Mode::Crash).await.unwrap();
    let generation = world.core.machine_get(&world.admin, "m").await.unwrap().observed.generation;
    assert_eq!(generation, 21);
    for task in &tasks {
        assert_eq!(now(&world, task).await.state, TaskState::Done);
    }
    let order = ListAsk {
        filter: Filter::eq("kind", "machine.restart"),
        order: vec![Sort::ascending("number")],
        ..ListAsk::default()
    };
    let ended: Vec<_> = world.core.task_list(&world.admin, order).await.unwrap().items;
    assert!(ended.iter().map(|task| task.ended_at).is_sorted());
    world.check_whole().await.unwrap();
}

#[tokio::test]
async fn what_waits_is_decided_when_its_turn_comes() -> Result<()> {
    let world = world().await;
    world.run_tasks(Mode::Plain).await?;
    // Nothing to do: a task all the same, which is done.
    let so = queued(&world, Verb::Start).await;
    assert_eq!((so.state, so.progress), (TaskState::Done, 1.0));
    assert!(so.number > 0);
    let stop = queued(&world, Verb::Stop).await;
    let delete = world.core.machine_delete_when(&world.admin, "m", Busy::Queue).await?.task.unwrap();
    let start = queued(&world, Verb::Start).await;
    let again = world.core.machine_delete_when(&world.admin, "m", Busy::Queue).await?.task.unwrap();
    world.run_tasks(Mode::Plain).await?;
    assert_eq!(now(&world, &stop).await.state, TaskState::Done);
    assert_eq!(now(&world, &delete).await.state, TaskState::Done);
    let start = now(&world, &start).await;
    assert_eq!(start.state, TaskState::Failed);
    assert!(start.error.as_ref().is_some_and(|error| error.contains("gone")), "{:?}", start.error);
    assert_eq!(now(&world, &again).await.state, TaskState::Done);
    let ask = ListAsk { filter: Filter::eq("life", Life::Gone.word()), ..ListAsk::default() };
    assert_eq!(world.core.machine_list(&world.admin, ask).await?.items.len(), 1);
    world.check_whole().await
}

#[tokio::test]
async fn what_waits_can_be_cancelled_and_lets_the_next_go_on() -> Result<()> {
    let world = world().await;
    let stop = queued(&world, Verb::Stop).await;
    let start = queued(&world, Verb::Start).await;
    world.core.task_cancel(&world.admin, &stop.id.to_string()).await?;
    world.run_tasks(Mode::Plain).await?;
    assert_eq!(now(&world, &stop).await.state, TaskState::Cancelled);
    assert_eq!(now(&world, &start).await.state, TaskState::Done);
    let machine = world.core.machine_get(&world.admin, "m").await?;
    // Nobody stopped it: the start had nothing to do.
    assert_eq!((machine.observed.power, machine.observed.generation), (Observed::On, 1));
    world.check_whole().await
}
