//! Rights on objects over core and simulated hosts: what grants open, to whom, and for how long.

use hostler_core::ErrorKind;
use hostler_core::access::{Account, Action, Caller, Grant, Group, Member, Origin, Role, Subject};
use hostler_core::core::ListAsk;
use hostler_core::ids::{AccountId, GroupId, MemberId};
use hostler_core::machines::{MachineEdit, Verb};
use hostler_core::ports::{Alteration, Commit, Store};
use hostler_core::record::Record;
use hostler_core::snapshots::SnapshotAsk;
use hostler_core::time::Timestamp;
use hostler_sim::{Mode, World};
use std::collections::BTreeSet;
use uuid::Uuid;

pub(crate) async fn put<R: Record>(world: &World, record: &R) {
    let alterations = vec![Alteration::Insert(record.document().unwrap())];
    world.store.commit(Commit { alterations, ..Commit::default() }).await.unwrap();
}

/// An account of this role; `seed` makes its key.
pub(crate) async fn account(world: &World, seed: u128, role: Role) -> Caller {
    let id = AccountId(Uuid::from_u128(seed));
    let login = format!("user-{seed}");
    let account = Account {
        id,
        number: 0,
        rev: 0,
        login: login.clone(),
        email: format!("{login}@example.org"),
        full_name: String::new(),
        password: None,
        role,
        enabled: true,
        origin: Origin::Local,
        created_at: Timestamp(0),
    };
    put(world, &account).await;
    Caller { account: id, login, role, groups: [].into(), footing: None, ..world.admin.clone() }
}

/// The same caller in a new group.
pub(crate) async fn in_group(world: &World, seed: u128, caller: &Caller) -> (Caller, GroupId) {
    let group = GroupId(Uuid::from_u128(seed));
    let record = Group {
        id: group,
        number: 0,
        rev: 0,
        name: format!("group-{seed}"),
        description: String::new(),
        origin: Origin::Local,
        created_at: Timestamp(0),
    };
    put(world, &record).await;
    let id = MemberId(Uuid::from_u128(seed + 1));
    put(world, &Member { id, number: 0, rev: 0, group, account: caller.account, created_at: Timestamp(0) })
        .await;
    (Caller { groups: [group].into(), ..caller.clone() }, group)
}

async fn with_machine() -> (World, Caller) {
    let world = World::with_template().await.unwrap();
    let owner = account(&world, 101, Role::User).await;
    world.core.machine_create(&owner, &World::machine("m"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    (world, owner)
}

fn of(caller: &Caller) -> Subject {
    Subject::Account(caller.account)
}

async fn grant(
    world: &World,
    by: &Caller,
    subject: Subject,
    actions: &[Action],
) -> hostler_core::error::Result<Option<Grant>> {
    let actions: BTreeSet<Action> = actions.iter().copied().collect();
    world.core.grant_set(by, ("machine", "m"), subject, &actions).await
}

/// Does every kind of thing with machine `m`, each undone by what comes after or refused for its state; answers how the
/// rights stood to it.
async fn tries(world: &World, caller: &Caller) -> Vec<(&'static str, Option<ErrorKind>)> {
    let core = &world.core;
    let mut seen = Vec::new();
    let mut note = |what, result: Result<(), hostler_core::Error>| {
        let kind = result.err().map(|error| error.kind);
        seen.push((what, kind.filter(|kind| matches!(kind, ErrorKind::NotFound | ErrorKind::Denied))));
    };
    let edit = MachineEdit { description: Some("x".into()), ..MachineEdit::default() };
    let snapshot = SnapshotAsk { name: "s".into(), description: String::new(), memory: false };
    note("see", core.machine_get(caller, "m").await.map(drop));
    note("use", core.machine_power(caller, "m", Verb::Start, false).await.map(drop));
    world.run_tasks(Mode::Plain).await.unwrap();
    note("use", core.machine_console_log(caller, "m", 10).await.map(drop));
    note("attach", core.machine_medium(caller, "m", None, false).await.map(drop));
    world.run_tasks(Mode::Plain).await.unwrap();
    note("alter", core.machine_edit(caller, "m", &edit).await.map(drop));
    note("alter", core.snapshot_take(caller, "m", &snapshot, None).await.map(drop));
    world.run_tasks(Mode::Plain).await.unwrap();
    seen
}

#[tokio::test]
async fn grants_open_exactly_what_they_say() {
    let (world, owner) = with_machine().await;
    let stranger = account(&world, 102, Role::User).await;
    let (member, group) = in_group(&world, 200, &account(&world, 103, Role::User).await).await;
    let reader = account(&world, 104, Role::ReadOnly).await;
    assert!(tries(&world, &stranger).await.iter().all(|(_, kind)| *kind == Some(ErrorKind::NotFound)));
    assert!(tries(&world, &owner).await.iter().all(|(_, kind)| kind.is_none()));
    assert!(tries(&world, &world.admin).await.iter().all(|(_, kind)| kind.is_none()));
    for (what, kind) in tries(&world, &reader).await {
        assert_eq!(kind, (what != "see").then_some(ErrorKind::Denied), "{what}");
    }
    for (caller, subject) in [(&stranger, of(&stranger)), (&member, Subject::Group(group))] {
        for action in [Action::Use, Action::Attach, Action::Alter, Action::Delete, Action::All] {
            grant(&world, &owner, subject, &[action]).await.unwrap();
            for (what, kind) in tries(&world, caller).await {
                let may = what == "see" || action == Action::All || what == action.word();
                assert_eq!(kind, (!may).then_some(ErrorKind::Denied), "{what} with {action:?}");
            }
            let deleted = world.core.machine_delete(caller, "nothing").await.unwrap_err();
            assert_eq!(deleted.kind, ErrorKind::NotFound);
        }
        grant(&world, &owner, subject, &[]).await.unwrap();
        assert!(tries(&world, caller).await.iter().all(|(_, kind)| *kind == Some(ErrorKind::NotFound)));
    }
    grant(&world, &owner, of(&stranger), &[Action::Use]).await.unwrap();
    assert_eq!(world.core.machine_delete(&stranger, "m").await.unwrap_err().kind, ErrorKind::Denied);
    grant(&world, &owner, of(&stranger), &[Action::Delete]).await.unwrap();
    world.core.machine_delete(&stranger, "m").await.unwrap();
}

#[tokio::test]
async fn an_action_is_passed_on_by_who_holds_it() {
    let (world, owner) = with_machine().await;
    let (one, two) = (account(&world, 102, Role::User).await, account(&world, 103, Role::User).await);
    assert_eq!(grant(&world, &one, of(&one), &[Action::Use]).await.unwrap_err().kind, ErrorKind::NotFound);
    grant(&world, &owner, of(&one), &[Action::Use]).await.unwrap();
    grant(&world, &one, of(&two), &[Action::Use]).await.unwrap();
    let refused = grant(&world, &one, of(&two), &[Action::Use, Action::Delete]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    grant(&world, &owner, of(&two), &[Action::Use, Action::Delete]).await.unwrap();
    let refused = grant(&world, &one, of(&two), &[]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied, "one does not hold what it would take back");
    assert_eq!(world.core.grant_list(&two, "machine", "m").await.unwrap().len(), 2);

    // Nobody owns a network: its last `all` is taken back by administrators only.
    let all = BTreeSet::from([Action::All]);
    let network = world.core.network_list(&one, ListAsk::default()).await.unwrap().items[0].id.to_string();
    let on_network = async |by: &Caller, subject: Subject, actions: &BTreeSet<Action>| {
        world.core.grant_set(by, ("network", &network), subject, actions).await
    };
    assert_eq!(on_network(&one, of(&one), &all).await.unwrap_err().kind, ErrorKind::Denied);
    on_network(&world.admin, of(&one), &all).await.unwrap();
    assert_eq!(on_network(&one, of(&one), &BTreeSet::new()).await.unwrap_err().code, "last_all");
    on_network(&one, of(&two), &all).await.unwrap();
    on_network(&one, of(&one), &BTreeSet::new()).await.unwrap();
    on_network(&world.admin, of(&two), &BTreeSet::new()).await.unwrap();
}

#[tokio::test]
async fn lists_and_events_show_what_is_granted_and_nothing_else() {
    let (world, owner) = with_machine().await;
    let (user, group) = in_group(&world, 200, &account(&world, 102, Role::User).await).await;
    let core = &world.core;
    let counts = async |caller: &Caller| {
        let ask = ListAsk::default;
        let machines = core.machine_list(caller, ask()).await.unwrap().items.len();
        let tasks = core.task_list(caller, ask()).await.unwrap().items.len();
        (machines, tasks, core.snapshot_list(caller, ask()).await.unwrap().items.len())
    };
    let snapshot = SnapshotAsk { name: "s".into(), description: String::new(), memory: false };
    core.snapshot_take(&owner, "m", &snapshot, None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(counts(&owner).await, (1, 2, 1));
    assert_eq!(counts(&user).await, (0, 0, 0));

    let mut sight = core.sight(&user);
    let mut at = core.event_bounds().await.unwrap().1;
    let mut news = async || {
        let (events, reached) = core.events_after(&mut sight, at, 1000).await.unwrap();
        at = reached;
        events.iter().filter(|event| event.event.kind != hostler_core::record::Kind::Grant).count()
    };
    let edit = MachineEdit { description: Some("x".into()), ..MachineEdit::default() };
    core.machine_edit(&owner, "m", &edit).await.unwrap();
    assert_eq!(news().await, 0);
    grant(&world, &owner, Subject::Group(group), &[Action::Use]).await.unwrap();
    assert_eq!(counts(&user).await, (1, 2, 1));
    core.machine_edit(&owner, "m", &edit).await.unwrap();
    assert_eq!(news().await, 1);
    // A task that another ordered is seen by who sees the machine, and not cancelled.
    let task = core.machine_power(&owner, "m", Verb::Stop, true).await.unwrap().task.unwrap();
    assert_eq!(core.task_get(&user, &task.id.to_string()).await.unwrap().id, task.id);
    let refused = core.task_cancel(&user, &task.id.to_string()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
    world.run_tasks(Mode::Plain).await.unwrap();
    assert!(news().await >= 2, "of the task and of the machine");
    grant(&world, &owner, Subject::Group(group), &[]).await.unwrap();
    core.machine_edit(&owner, "m", &edit).await.unwrap();
    assert_eq!(news().await, 0);
    assert_eq!(counts(&user).await, (0, 0, 0));
    let hidden = core.task_get(&user, &task.id.to_string()).await.unwrap_err();
    assert_eq!(hidden.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn grants_go_with_their_object() {
    let (world, owner) = with_machine().await;
    let user = account(&world, 102, Role::User).await;
    let kept = grant(&world, &owner, of(&user), &[Action::Delete]).await.unwrap().unwrap();
    world.core.machine_delete(&user, "m").await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    assert!(world.store.get(Grant::KIND, kept.id.0).await.unwrap().is_none());
}
