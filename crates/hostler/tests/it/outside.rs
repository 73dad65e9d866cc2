//! People from outside, with a directory and a provider in memory: what a failure changes, and whose answer counts.

use anyhow::{Context, Result, ensure};
use hostler_core::Core;
use hostler_core::access::outside::{LinkedDirectory, LinkedProvider, Mapping, Outside, ProviderAnswer};
use hostler_core::access::{Role, Via};
use hostler_core::error::ErrorKind;
use hostler_core::ports::{DriverErrorKind, Person};
use hostler_core::secret::Secret;
use hostler_sim::{Verb, World};

use hostler_sim::memory::{SimDirectory, SimProvider};
use std::sync::Arc;
use std::time::Duration;

const VIA: Via = Via { door: "native", address: None };

pub(crate) fn person(login: &str) -> Person {
    Person {
        key: format!("key-{login}"),
        login: login.into(),
        email: format!("{login}@example.org"),
        ..Person::default()
    }
}

struct Scene {
    world: World,
    core: Core,
    directory: SimDirectory,
    provider: SimProvider,
}

async fn scene() -> Result<Scene> {
    let world = World::new().await?;
    let mapping = Mapping { role: Some(Role::User), rules: Vec::new() };
    let directory = SimDirectory::new(world.faults.clone());
    let provider = SimProvider::new("sso", world.faults.clone());
    let linked = LinkedDirectory {
        directory: Arc::new(directory.clone()),
        mapping: mapping.clone(),
        interval: Some(Duration::from_secs(3600)),
        import: true,
    };
    let other = Arc::new(SimProvider::new("other", world.faults.clone()));
    let providers = vec![
        LinkedProvider { provider: Arc::new(provider.clone()), mapping: mapping.clone() },
        LinkedProvider { provider: other, mapping },
    ];
    let core = world.core.clone().with_outside(Outside { directories: vec![linked], providers });
    Ok(Scene { world, core, directory, provider })
}

#[tokio::test]
async fn a_directory_that_fails_or_is_empty_disables_nobody_and_one_that_is_due_is_followed_once()
-> Result<()> {
    let Scene { world, core, directory, .. } = scene().await?;
    directory.set(vec![person("ada"), person("bob")]);
    core.directories_follow().await?;
    ensure!(core.account_get(&world.admin, "bob").await?.enabled);
    directory.set(vec![person("ada")]);
    core.directories_follow().await?;
    ensure!(core.account_get(&world.admin, "bob").await?.enabled, "it is not due yet");
    world.clock.advance(Duration::from_secs(3600));
    world.faults.fail(Verb::DirectoryPeople, 1, DriverErrorKind::Unreachable);
    core.directories_follow().await?;
    ensure!(core.account_get(&world.admin, "bob").await?.enabled, "it did not answer");
    directory.set(Vec::new());
    let empty = core.directory_sync(&world.admin, "company").await.unwrap_err();
    ensure!(empty.code == "directory_empty", "{empty:?}");
    ensure!(core.account_get(&world.admin, "bob").await?.enabled);
    directory.set(vec![person("ada")]);
    world.clock.advance(Duration::from_secs(3600));
    core.directories_follow().await?;
    ensure!(!core.account_get(&world.admin, "bob").await?.enabled);
    directory.set(vec![person("ada"), person("bob")]);
    ensure!(core.directory_sync(&world.admin, "company").await?.changed == 1);
    ensure!(core.account_get(&world.admin, "bob").await?.enabled, "he came back");
    Ok(())
}

#[tokio::test]
async fn first_logins_at_once_make_one_account() -> Result<()> {
    let Scene { core, directory, .. } = scene().await?;
    directory.set(vec![person("ada")]);
    let password = Secret::new("ada");
    let logins = (0..20).map(|_| {
        let (core, password) =
            (core.clone(), Secret::new(password.expose().chars().rev().collect::<String>()));
        tokio::spawn(async move { core.log_in("ada", &password, VIA).await })
    });
    let mut accounts = Vec::new();
    for login in logins.collect::<Vec<_>>() {
        accounts.push(login.await??.account);
    }
    accounts.dedup();
    ensure!(accounts.len() == 1, "{accounts:?}");
    Ok(())
}

#[tokio::test]
async fn an_answer_counts_in_the_browser_that_asked_and_only_there() -> Result<()> {
    let Scene { world, core, provider, .. } = scene().await?;
    let begun = core.provider_begin("sso").await?;
    let state = begun.address.split_once("state=").context("state")?.1.to_owned();
    let answer = ProviderAnswer { code: Some("c".into()), state: Some(state), ..ProviderAnswer::default() };
    let cookie = begun.cookie.expose();
    let other = core.provider_begin("sso").await?;
    provider.expect("c", person("ada"));
    let wrong_state = ProviderAnswer { state: Some("0".repeat(64)), ..answer.clone() };
    let no_state = ProviderAnswer { state: None, ..answer.clone() };
    let mixed_up = ProviderAnswer { issuer: Some("https://evil.example".into()), ..answer.clone() };
    let refused = ProviderAnswer { error: Some("access_denied".into()), ..answer.clone() };
    let no_code = ProviderAnswer { code: None, ..answer.clone() };
    for (name, answer, cookie) in [
        ("sso", &wrong_state, cookie),
        ("sso", &no_state, cookie),
        ("sso", &mixed_up, cookie),
        ("sso", &refused, cookie),
        ("sso", &no_code, cookie),
        ("other", &answer, cookie),
        ("sso", &answer, other.cookie.expose()),
        ("sso", &answer, ""),
        ("sso", &answer, "bm90IHNlYWxlZA"),
    ] {
        let refused = core.provider_finish(name, answer, cookie, VIA).await.unwrap_err();
        ensure!(refused.kind == ErrorKind::Unauthenticated, "{refused:?}");
    }
    let ada = core.provider_finish("sso", &answer, cookie, VIA).await?;
    ensure!(ada.login == "ada");
    ensure!(core.provider_finish("sso", &answer, cookie, VIA).await.is_err(), "a code is good once");
    provider.expect("c", person("ada"));
    world.clock.advance(Duration::from_secs(600));
    ensure!(core.provider_finish("sso", &answer, cookie, VIA).await.is_err(), "it took too long");
    Ok(())
}

#[tokio::test]
async fn a_provider_takes_over_no_account_either() -> Result<()> {
    let Scene { core, provider, .. } = scene().await?;
    for (login, email) in
        [("admin", "x@example.org"), ("x", "admin@localhost"), ("x", "a@b\r\nBcc: c@d"), ("", "x@y.z")]
    {
        let begun = core.provider_begin("sso").await?;
        let state = begun.address.split_once("state=").context("state")?.1.to_owned();
        let answer =
            ProviderAnswer { code: Some("c".into()), state: Some(state), ..ProviderAnswer::default() };
        provider.expect("c", Person { login: login.into(), email: email.into(), ..person("x") });
        ensure!(
            core.provider_finish("sso", &answer, begun.cookie.expose(), VIA).await.is_err(),
            "{login} {email}"
        );
    }
    Ok(())
}
