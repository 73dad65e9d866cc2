//! Quotas over core and simulated hosts: what counts, and that nothing passes them, however many ask at once.

use crate::rights::{account, in_group};
use hostler_core::ErrorKind;
use hostler_core::access::{Amounts, Caller, Role, Subject};
use hostler_core::error::Error;
use hostler_core::machines::Verb;
use hostler_core::volumes::VolumeAsk;
use hostler_sim::{Mode, World};

fn refused<T>(result: Result<T, Error>) -> Error {
    let Err(error) = result else { panic!("it went through") };
    assert_eq!((error.kind.clone(), error.code), (ErrorKind::NoCapacity, "quota"), "{error}");
    error
}

async fn limit(world: &World, subject: Subject, limits: Amounts) {
    world.core.quota_set(&world.admin, subject, limits).await.unwrap();
}

async fn create(world: &World, caller: &Caller, name: &str) -> Result<(), Error> {
    world.core.machine_create(caller, &World::machine(name), None).await.map(drop)
}

#[tokio::test]
async fn fifty_creations_at_once_never_pass_a_quota() {
    let world = World::with_template().await.unwrap();
    let one = account(&world, 101, Role::User).await;
    let (two, group) = in_group(&world, 200, &account(&world, 102, Role::User).await).await;
    limit(&world, Subject::Account(one.account), Amounts { machines: Some(7), ..Amounts::default() }).await;
    limit(&world, Subject::Group(group), Amounts { vcpus: Some(5), ..Amounts::default() }).await;
    for (caller, most) in [(&one, 7), (&two, 5)] {
        let asked: Vec<_> = (0..50)
            .map(|number| {
                let (core, caller) = (world.core.clone(), caller.clone());
                let ask = World::machine(&format!("m{}-{number}", caller.login));
                tokio::spawn(async move { core.machine_create(&caller, &ask, None).await.map(drop) })
            })
            .collect();
        let mut made = 0;
        for answer in asked {
            match answer.await.unwrap() {
                Ok(()) => made += 1,
                other => drop(refused(other)),
            }
        }
        let own = world.core.quota_own(caller).await.unwrap();
        assert_eq!((made, own[0].used.machines, own[0].used.vcpus), (most, Some(most), Some(most)));
    }
    world.run_tasks(Mode::Plain).await.unwrap();
    world.check_whole().await.unwrap();
}

#[tokio::test]
async fn a_refusal_names_limit_use_and_ask() {
    let world = World::with_template().await.unwrap();
    let user = account(&world, 101, Role::User).await;
    let subject = Subject::Account(user.account);
    limit(&world, subject, Amounts { machines: Some(1), ..Amounts::default() }).await;
    create(&world, &user, "a").await.unwrap();
    let error = refused(create(&world, &user, "b").await);
    assert_eq!(
        error.text,
        "machines of account user-101 are limited to 1: 1 are in use and 1 more are asked for"
    );
    // What has gone leaves room.
    world.run_tasks(Mode::Plain).await.unwrap();
    world.core.machine_delete(&user, "a").await.unwrap();
    refused(create(&world, &user, "b").await);
    world.run_tasks(Mode::Plain).await.unwrap();
    create(&world, &user, "b").await.unwrap();
}

#[tokio::test]
async fn what_a_task_grows_counts_at_once_and_no_longer_when_it_is_undone() {
    let world = World::with_template().await.unwrap();
    let (core, user) = (&world.core, account(&world, 101, Role::User).await);
    create(&world, &user, "a").await.unwrap();
    create(&world, &user, "b").await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    for name in ["a", "b"] {
        let machine = core.machine_get(&user, name).await.unwrap();
        if machine.wanted == hostler_core::machines::Power::Off {
            core.machine_power(&user, name, Verb::Start, false).await.unwrap();
        }
    }
    world.run_tasks(Mode::Plain).await.unwrap();
    let vcpus = core.machine_get(&user, "a").await.unwrap().vcpus;
    let subject = Subject::Account(user.account);
    let most = i64::from(vcpus) * 2 + 1;
    limit(&world, subject, Amounts { vcpus: Some(most), ..Amounts::default() }).await;
    let task = core.machine_resize(&user, "a", Some(vcpus + 1), None).await.unwrap().task.unwrap();
    refused(core.machine_resize(&user, "b", Some(vcpus + 1), None).await);
    core.task_cancel(&user, &task.id.to_string()).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let grown = core.machine_get(&user, "a").await.unwrap().vcpus > vcpus;
    let other = core.machine_resize(&user, "b", Some(vcpus + 1), None).await;
    if grown {
        drop(refused(other));
    } else {
        drop(other.unwrap());
    }

    let ask = VolumeAsk { name: "v".into(), size_mib: 8, storage: None };
    let volume = core.volume_create(&user, &ask, None).await.unwrap().record;
    world.run_tasks(Mode::Plain).await.unwrap();
    let used = core.quota_own(&user).await.unwrap()[0].used;
    limit(&world, subject, Amounts { disk_mib: used.disk_mib.map(|mib| mib + 4), ..Amounts::default() })
        .await;
    refused(core.volume_grow(&user, &volume.id.to_string(), 13).await);
    core.volume_grow(&user, &volume.id.to_string(), 12).await.unwrap();
    refused(core.volume_create(&user, &VolumeAsk { size_mib: 1, ..ask.clone() }, None).await);
    world.run_tasks(Mode::Plain).await.unwrap();
    refused(core.volume_create(&user, &VolumeAsk { size_mib: 1, ..ask.clone() }, None).await);
    core.volume_delete(&user, &volume.id.to_string()).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    core.volume_create(&user, &VolumeAsk { size_mib: 12, ..ask }, None).await.unwrap();
}

#[tokio::test]
async fn a_limit_below_the_use_stops_growth_alone() {
    let world = World::with_template().await.unwrap();
    let (core, user) = (&world.core, account(&world, 101, Role::User).await);
    let subject = Subject::Account(user.account);
    create(&world, &user, "a").await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    limit(&world, subject, Amounts { machines: Some(0), vcpus: Some(0), ..Amounts::default() }).await;
    let ask = VolumeAsk { name: "v".into(), size_mib: 8, storage: None };
    core.volume_create(&user, &ask, None).await.unwrap();
    core.machine_power(&user, "a", Verb::Restart, true).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    refused(create(&world, &user, "b").await);
    let negative =
        core.quota_set(&world.admin, subject, Amounts { machines: Some(-1), ..Amounts::default() });
    assert!(matches!(negative.await.unwrap_err().kind, ErrorKind::Invalid { .. }));
    assert_eq!(core.quota_set(&user, subject, Amounts::default()).await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(core.quota_list(&user).await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(core.quota_list(&world.admin).await.unwrap().len(), 1);
    limit(&world, subject, Amounts::default()).await;
    assert_eq!(core.quota_list(&world.admin).await.unwrap().len(), 0);
    create(&world, &user, "b").await.unwrap();
}
