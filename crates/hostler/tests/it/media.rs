//! Media over core and simulated hosts: who may, what is in use, what is taken.

use hostler_core::ErrorKind;
use hostler_core::access::{Caller, Role};
use hostler_core::ids::AccountId;
use hostler_core::media::{MediumAsk, MediumState};
use hostler_core::ports::{Alteration, Commit, DriverErrorKind, ImageSource, Store};
use hostler_core::record::Record;
use hostler_core::tasks::TaskState;
use hostler_sim::{Mode, Verb, World};

fn ask(name: &str) -> MediumAsk {
    let url = "https://example.org/installer.iso".to_owned();
    let source = ImageSource::Url { url, format: None, checksum: None, max_mib: 1024 };
    MediumAsk { name: name.into(), source, description: String::new() }
}

async fn with_medium() -> World {
    let world = World::with_template().await.unwrap();
    world.core.medium_make(&world.admin, &ask("iso"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    world
}

#[tokio::test]
async fn only_administrators_make_and_delete_media() {
    let world = with_medium().await;
    let account = AccountId(uuid::Uuid::from_u128(9));
    let user = Caller { role: Role::User, account, ..world.admin.clone() };
    let denied = world.core.medium_make(&user, &ask("other"), None).await.unwrap_err();
    assert_eq!(denied.kind, ErrorKind::Denied);
    assert_eq!(world.core.medium_delete(&user, "iso").await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(world.core.medium_get(&user, "iso").await.unwrap().state, MediumState::Ready);
}

#[tokio::test]
async fn names_are_taken_once_and_sources_are_checked() {
    let world = with_medium().await;
    let make = async |ask: MediumAsk| world.core.medium_make(&world.admin, &ask, None).await.unwrap_err();
    assert_eq!(make(ask("iso")).await.code, "name_taken");
    for name in ["", "1", "v2", "a/b", "../a", ".a"] {
        assert!(matches!(make(ask(name)).await.kind, ErrorKind::Invalid { .. }), "{name}");
    }
    let recipe = ImageSource::Recipe { recipe: "micro".into(), mirror: None };
    let made = make(MediumAsk { source: recipe, ..ask("b") }).await;
    assert!(matches!(made.kind, ErrorKind::Invalid { .. }), "{made}");
    let file = ImageSource::Url { url: "file:///dev/zero".into(), format: None, checksum: None, max_mib: 1 };
    let made = make(MediumAsk { source: file, ..ask("b") }).await;
    assert!(matches!(made.kind, ErrorKind::Invalid { .. }), "{made}");
}

#[tokio::test]
async fn a_medium_in_a_drive_is_not_removed() {
    let world = with_medium().await;
    let (core, admin) = (&world.core, &world.admin);
    core.machine_create(admin, &World::machine("m"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let medium = core.medium_get(admin, "iso").await.unwrap();
    let insert = async |medium| {
        let mut machine = core.machine_get(admin, "m").await.unwrap();
        machine.medium = medium;
        let document = machine.document().unwrap();
        let commit = Commit { alterations: vec![Alteration::Update(document)], ..Commit::default() };
        world.store.commit(commit).await.unwrap();
    };
    insert(Some(medium.id)).await;
    let error = core.medium_delete(admin, "iso").await.unwrap_err();
    assert_eq!(error.code, "in_use");
    // Inserted at the very moment of the promise: the task sees it and turns back.
    insert(None).await;
    core.medium_delete(admin, "iso").await.unwrap();
    insert(Some(medium.id)).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    let task = world.last_task().await.unwrap();
    assert_eq!((task.state, task.error_code.as_deref()), (TaskState::Failed, Some("in_use")));
    assert_eq!(core.medium_get(admin, "iso").await.unwrap().state, MediumState::Ready);
    insert(None).await;
    core.medium_delete(admin, "iso").await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(core.medium_get(admin, "iso").await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn what_could_not_be_fetched_says_why_and_can_be_deleted() {
    let world = World::with_template().await.unwrap();
    world.faults.fail(Verb::MediumMake, 1, DriverErrorKind::Refused);
    world.core.medium_make(&world.admin, &ask("iso"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let medium = world.core.medium_get(&world.admin, "iso").await.unwrap();
    assert_eq!((medium.state, medium.bytes), (MediumState::Failed, None));
    assert!(medium.reason.is_some());
    world.core.medium_delete(&world.admin, "iso").await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    world.check_whole().await.unwrap();
}
