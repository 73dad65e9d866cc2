//! What people call machines, whose they are and where they come to lie; settings.

use anyhow::Result;
use hostler_core::access::{AccountAsk, Caller, Role};
use hostler_core::core::ListAsk;
use hostler_core::error::ErrorKind;
use hostler_core::machines::{MachineAsk, MachineEdit};
use hostler_core::query::{Compare, Filter, Sort};
use hostler_core::secret::Secret;
use hostler_sim::{Mode, World};
use serde_json::json;

fn ask(title: &str, domain: &str) -> MachineAsk {
    MachineAsk { name: None, title: title.into(), domain: domain.into(), ..World::machine("unused") }
}

async fn user(world: &World, login: &str) -> Caller {
    let ask = AccountAsk {
        login: login.into(),
        email: format!("{login}@example.org"),
        full_name: String::new(),
        password: Some(Secret::new("long enough a password")),
        role: Role::User,
        enabled: true,
    };
    let account = world.core.account_create(&world.admin, ask).await.unwrap();
    Caller { account: account.id, login: account.login, role: Role::User, ..world.admin.clone() }
}

#[tokio::test]
async fn many_machines_have_one_title_and_each_a_host_name_of_its_own() -> Result<()> {
    let world = World::with_template().await?;
    let (core, admin) = (&world.core, &world.admin);
    let mut names = Vec::new();
    for (title, domain) in
        [("My Shop", ""), ("My Shop", ""), ("other", "shop.example.org"), ("v1", ""), ("", "")]
    {
        names.push(core.machine_create(admin, &ask(title, domain), None).await?.record.name.to_string());
    }
    assert_eq!((names[0].as_str(), names[2].as_str()), ("my-shop", "shop"));
    assert!(
        names[1].starts_with("my-shop-") && names[3].starts_with("m-") && names[4].starts_with("m-"),
        "{names:?}"
    );
    world.run_tasks(Mode::Plain).await?;
    let order = vec![Sort::descending("title"), Sort::ascending("id")];
    let filter = Filter::Is("title", Compare::Like, "my%".into());
    let found = core.machine_list(admin, ListAsk { filter, order, ..ListAsk::default() }).await?.items;
    assert_eq!(found.iter().map(|one| one.title()).collect::<Vec<_>>(), ["My Shop", "My Shop"]);
    // Who has no title is called by the host name, and is found by it.
    let nameless = ListAsk { filter: Filter::eq("title", names[4].as_str()), ..ListAsk::default() };
    assert_eq!(core.machine_list(admin, nameless).await?.items.len(), 1);
    let edit = MachineEdit {
        title: Some("Laden".into()),
        domain: Some("l.example".into()),
        ..MachineEdit::default()
    };
    let edited = core.machine_edit(admin, "my-shop", &edit).await?.record;
    assert_eq!(
        (edited.title(), edited.domain.as_str(), edited.name.as_str()),
        ("Laden", "l.example", "my-shop")
    );
    let long = MachineEdit { title: Some("x".repeat(256)), ..MachineEdit::default() };
    assert_eq!(core.machine_edit(admin, "my-shop", &long).await.unwrap_err().code, "invalid");
    world.check_whole().await
}

#[tokio::test]
async fn equal_titles_at_the_same_time_get_different_host_names() {
    let world = World::with_template().await.unwrap();
    let same = ask("same", "");
    let asked = (0..20).map(|_| world.core.machine_create(&world.admin, &same, None));
    let made = futures_util::future::join_all(asked).await;
    let mut names: Vec<String> = made.into_iter().map(|made| made.unwrap().record.name.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 20);
    assert!(names.contains(&"same".to_owned()));
}

#[tokio::test]
async fn administrators_make_machines_for_others_within_their_quotas() -> Result<()> {
    let world = World::with_template().await?;
    let (core, admin) = (&world.core, &world.admin);
    let ann = user(&world, "ann").await;
    let bob = user(&world, "bob").await;
    let for_ann = MachineAsk { owner: Some("ann".into()), ..ask("gift", "") };
    let made = core.machine_create(admin, &for_ann, None).await?.record;
    assert_eq!(made.owner, ann.account);
    assert_eq!(core.machine_get(&ann, "gift").await?.id, made.id);
    // To bob, ann is nobody.
    let refused = core.machine_create(&bob, &for_ann, None).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotFound);
    let reader = Caller { role: Role::ReadOnly, ..bob.clone() };
    assert_eq!(core.machine_create(&reader, &for_ann, None).await.unwrap_err().kind, ErrorKind::Denied);
    world.run_tasks(Mode::Plain).await
}

#[tokio::test]
async fn machines_come_to_lie_where_their_template_does() -> Result<()> {
    let world = World::with_template().await?;
    let (core, admin) = (&world.core, &world.admin);
    let placed = |cluster: &str, host: &str| MachineAsk {
        cluster: Some(cluster.into()),
        host: Some(host.into()),
        ..ask("placed", "")
    };
    core.machine_create(admin, &placed("1", "1"), None).await?;
    for (cluster, host) in [("2", "1"), ("1", "2"), ("nowhere", "1")] {
        let refused = core.machine_create(admin, &placed(cluster, host), None).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotFound, "{cluster} {host}");
    }
    world.run_tasks(Mode::Plain).await
}

#[tokio::test]
async fn what_only_a_dialect_understands_is_bounded_and_passwords_are_one_line() -> Result<()> {
    let world = World::with_template().await?;
    let attributes = |bytes: usize| [("vmmanager".to_owned(), json!("x".repeat(bytes)))].into();
    let large = MachineAsk { attributes: attributes(20_000), ..ask("a", "") };
    assert_eq!(world.core.machine_create(&world.admin, &large, None).await.unwrap_err().code, "invalid");
    let small = MachineAsk { attributes: attributes(100), ..ask("a", "") };
    assert_eq!(
        world.core.machine_create(&world.admin, &small, None).await?.record.attributes,
        attributes(100)
    );
    for password in ["", "a\nroot:b", &"x".repeat(257)] {
        let wrong = MachineAsk { password: Some(Secret::new(password)), ..ask("b", "") };
        assert_eq!(world.core.machine_create(&world.admin, &wrong, None).await.unwrap_err().code, "invalid");
    }
    let both = MachineAsk {
        password: Some(Secret::new("p")),
        user_data: Some(Secret::new("#cloud-config")),
        ..ask("b", "")
    };
    assert_eq!(world.core.machine_create(&world.admin, &both, None).await.unwrap_err().code, "invalid");
    world.run_tasks(Mode::Plain).await
}

#[tokio::test]
async fn settings_are_an_administrators_and_bounded() -> Result<()> {
    let world = World::with_template().await?;
    let (core, admin) = (&world.core, &world.admin);
    assert_eq!(core.setting_get(admin, "a/b").await?, None);
    let first = core.setting_put(admin, "a/b", &json!(1)).await?;
    let second = core.setting_put(admin, "a/b", &json!({ "x": [true] })).await?;
    assert_eq!((first.id, first.number), (second.id, second.number));
    assert_eq!(core.setting_get(admin, "a/b").await?.map(|one| one.value), Some(json!({ "x": [true] })));
    let values: Vec<_> = (0..10).map(|place| json!(place)).collect();
    let at_once = values.iter().map(|value| core.setting_put(admin, "many", value));
    let mut made = Vec::new();
    for put in futures_util::future::join_all(at_once).await {
        match put {
            Ok(setting) => made.push(setting.id),
            // Nobody is kept waiting for ever.
            Err(error) => assert_eq!(error.code, "changed_meanwhile"),
        }
    }
    assert!(!made.is_empty() && made.iter().all(|id| *id == made[0]), "{made:?}");
    let ann = user(&world, "ann").await;
    assert_eq!(core.setting_get(&ann, "a/b").await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(core.setting_put(&ann, "a/b", &json!(2)).await.unwrap_err().kind, ErrorKind::Denied);
    let reader = Caller { role: Role::ReadOnly, ..ann };
    assert!(core.setting_get(&reader, "a/b").await?.is_some());
    assert_eq!(core.setting_put(&reader, "a/b", &json!(2)).await.unwrap_err().kind, ErrorKind::Denied);
    for (name, value) in [("", json!(1)), ("a b", json!(1)), ("a", json!("x".repeat(5000)))] {
        assert_eq!(core.setting_put(admin, name, &value).await.unwrap_err().code, "invalid");
    }
    assert_eq!(core.setting_put(admin, &"n".repeat(129), &json!(1)).await.unwrap_err().code, "invalid");
    Ok(())
}
