//! The audit trail over core and simulated hosts: every command leaves a line, refusals leave few, and nothing secret.

use crate::rights::account;
use hostler_core::access::{Caller, Deed, Outcome, Role, Via};
use hostler_core::core::ListAsk;
use hostler_core::machines::MachineEdit;
use hostler_core::secret::Secret;
use hostler_sim::{Mode, World};

async fn trail(world: &World, caller: &Caller) -> Vec<Deed> {
    world.core.audit_list(caller, ListAsk { limit: 1000, ..ListAsk::default() }).await.unwrap().items
}

#[tokio::test]
async fn commands_leave_a_line_in_the_same_commit() {
    let world = World::with_template().await.unwrap();
    let core = &world.core;
    let user = account(&world, 101, Role::User).await;
    let address = Some("192.0.2.7".parse().unwrap());
    let user = user.through(Via { door: "native", address });
    let before = trail(&world, &world.admin).await.len();
    core.machine_create(&user, &World::machine("m"), None).await.unwrap();
    let lines = trail(&world, &world.admin).await;
    let line = &lines[before];
    assert_eq!((line.action.as_str(), line.outcome), ("machine.create", Outcome::Done));
    assert_eq!((line.object_kind.as_str(), line.object_name.as_str()), ("machine", "m"));
    assert_eq!((line.account, line.door.as_str(), line.address), (Some(user.account), "native", address));
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(trail(&world, &world.admin).await.len(), before + 1, "what tasks do is nobody's deed");
    let edit = MachineEdit { description: Some("x".into()), ..MachineEdit::default() };
    core.machine_edit(&user, "m", &edit).await.unwrap();
    // Refused for its name: nothing changed, nothing is told.
    core.machine_create(&user, &World::machine("m"), None).await.unwrap_err();
    core.machine_delete(&user, "m").await.unwrap();
    let actions: Vec<String> = trail(&world, &user).await.into_iter().map(|line| line.action).collect();
    assert_eq!(actions, ["machine.create", "machine.edit", "machine.delete"]);
}

#[tokio::test]
async fn refusals_are_told_to_administrators_and_bounded() {
    let world = World::with_template().await.unwrap();
    let core = &world.core;
    let (user, other) = (account(&world, 101, Role::User).await, account(&world, 102, Role::ReadOnly).await);
    core.machine_create(&user, &World::machine("m"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    for _ in 0..30 {
        core.machine_delete(&other, "m").await.unwrap_err();
        let secret = Secret::new("hunter2-not-to-be-kept");
        core.log_in("nobody", &secret, Via::ITSELF).await.unwrap_err();
    }
    let lines = trail(&world, &world.admin).await;
    let denied = |action: &str| {
        lines.iter().filter(|line| line.outcome == Outcome::Denied && line.action == action).count()
    };
    assert_eq!((denied("machine.delete"), denied("account.login")), (10, 10));
    let kept = serde_json::to_string(&lines).unwrap();
    assert!(!kept.contains("hunter2"), "{kept}");
    assert!(trail(&world, &user).await.iter().all(|line| line.account == Some(user.account)));
}
