//! People of a real LDAP directory: how they come in, and all the ways in which nobody may.

use crate::slapd::{ADMINS, PEOPLE, Shape, Slapd, entries, missing, person};
use anyhow::{Context, Result, ensure};
use hostler_core::Core;
use hostler_core::access::outside::{LinkedDirectory, Mapping, Outside, Rule};
use hostler_core::access::{AccountAsk, AccountChange, CredentialAsk, CredentialKind, Role, Via};
use hostler_core::core::ListAsk;
use hostler_core::doctor::Level;
use hostler_core::error::ErrorKind;
use hostler_core::ports::{Directory, DriverErrorKind};
use hostler_core::secret::Secret;
use hostler_drivers::identity::ldap::{LdapConfig, LdapDirectory};
use hostler_sim::World;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

const VIA: Via = Via { door: "native", address: None };

async fn usual() -> Result<Slapd> {
    Slapd::start(&Shape { tls: true, ldif: entries(9) }).await
}

/// Asks by this configuration; the login name of whom it lets in.
async fn asks(config: &LdapConfig, login: &str, password: &str) -> Result<Option<String>> {
    let person = LdapDirectory::new(config.clone()).log_in(login, &Secret::new(password)).await?;
    Ok(person.map(|person| person.login))
}

fn linked(config: LdapConfig, import: bool) -> Outside {
    let rules = vec![
        Rule {
            group: config.groups[0].clone(),
            role: Some(Role::Administrator),
            into: Some("operators".into()),
        },
        Rule { group: config.groups[1].clone(), role: Some(Role::AdvancedUser), into: None },
    ];
    let directory = Arc::new(LdapDirectory::new(config));
    let mapping = Mapping { role: Some(Role::User), rules };
    let interval = Some(Duration::from_secs(3600));
    Outside {
        directories: vec![LinkedDirectory { directory, mapping, interval, import }],
        providers: Vec::new(),
    }
}

/// Somebody of hostler itself.
fn carol() -> AccountAsk {
    AccountAsk {
        login: "carol".into(),
        email: "carol@example.org".into(),
        full_name: String::new(),
        password: Some(Secret::new("correct horse")),
        role: Role::User,
        enabled: true,
    }
}

async fn log_in(
    core: &Core,
    name: &str,
    password: &str,
) -> Result<hostler_core::access::Caller, hostler_core::Error> {
    core.log_in(name, &Secret::new(password), VIA).await
}

#[tokio::test]
async fn people_are_found_in_every_base_and_bind_over_tls() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let slapd = usual().await?;
    let start_tls = slapd.config();
    let ldaps =
        LdapConfig { url: format!("ldaps://127.0.0.1:{}", slapd.ldaps), start_tls: false, ..slapd.config() };
    for config in [&start_tls, &ldaps] {
        ensure!(asks(config, "ada", "secret-of-ada").await?.as_deref() == Some("ada"));
        ensure!(asks(config, "EVE@example.org", "secret-of-eve").await?.as_deref() == Some("eve"));
        ensure!(asks(config, "ada", "secret-of-bob").await?.is_none());
        ensure!(asks(config, "nobody", "secret-of-ada").await?.is_none());
    }
    let person = LdapDirectory::new(start_tls.clone()).log_in("eve", &Secret::new("secret-of-eve")).await?;
    let person = person.context("eve")?;
    ensure!(person.email == "eve@example.org" && person.full_name == "eve Example" && person.key.len() == 36);
    ensure!(person.groups == [start_tls.groups[1].clone()], "{person:?}");
    let found = LdapDirectory::new(start_tls).check().await?;
    ensure!(found.contains("StartTLS") && found.contains("2 bases, 2 groups"), "{found}");
    Ok(())
}

#[tokio::test]
async fn people_may_bind_at_once_with_names_of_several_kinds() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let slapd = usual().await?;
    let direct = vec!["uid={login},ou=staff,dc=example,dc=org".to_owned(), format!("uid={{login}},{PEOPLE}")];
    let config = LdapConfig { direct, bind_dn: String::new(), bind_password: None, ..slapd.config() };
    config.check().map_err(anyhow::Error::msg)?;
    ensure!(asks(&config, "ada", "secret-of-ada").await?.as_deref() == Some("ada"));
    ensure!(asks(&config, "eve", "secret-of-eve").await?.as_deref() == Some("eve"));
    ensure!(asks(&config, "eve", "secret-of-ada").await?.is_none());
    // Neither another entry nor another place can be named in the place of a login.
    for forged in ["ada,ou=people,dc=example,dc=org", "ada+cn=x", "x,uid=ada", "ada\\2cou=people"] {
        ensure!(asks(&config, forged, "secret-of-ada").await?.is_none(), "{forged}");
    }
    let listed = LdapDirectory::new(config).people().await.unwrap_err();
    ensure!(listed.kind == DriverErrorKind::Unsupported);
    Ok(())
}

#[tokio::test]
async fn an_empty_password_and_what_filters_are_made_of_let_nobody_in() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let slapd = usual().await?;
    let config = slapd.config();
    // This server takes a name without a password for a good bind.
    let direct = LdapConfig { direct: vec![format!("uid={{login}},{PEOPLE}")], ..slapd.config() };
    for config in [&config, &direct] {
        for password in ["", "\0"] {
            ensure!(asks(config, "ada", password).await?.is_none(), "{password:?}");
        }
    }
    for login in
        ["*", "a*", "ada)(uid=*", "*)(objectClass=*", "ada\\", "", " ", "a\0da", "ada\r\nx", &"a".repeat(300)]
    {
        ensure!(asks(&config, login, "secret-of-ada").await?.is_none(), "{login:?}");
    }
    let world = World::new().await?;
    let core = world.core.clone().with_outside(linked(config, false));
    ensure!(log_in(&core, "ada", "").await.is_err());
    ensure!(core.account_list(&world.admin, ListAsk::default()).await?.items.len() == 1);
    Ok(())
}

#[tokio::test]
async fn what_is_not_encrypted_or_not_trusted_is_not_talked_to() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let bare = Slapd::start(&Shape { tls: false, ldif: entries(9) }).await?;
    let refused = asks(&bare.config(), "ada", "secret-of-ada").await.unwrap_err();
    ensure!(
        refused.to_string().contains("directory"),
        "StartTLS is refused, and nothing else is said: {refused}"
    );
    let plain = LdapConfig { start_tls: false, ca_file: None, ..bare.config() };
    ensure!(asks(&plain, "ada", "secret-of-ada").await?.is_some(), "only StartTLS was in the way");

    let slapd = usual().await?;
    let other = usual().await?;
    for ca_file in [None, Some(other.authority()), Some("/nonexistent".into())] {
        for (url, start_tls) in [
            (format!("ldaps://127.0.0.1:{}", slapd.ldaps), false),
            (format!("ldap://127.0.0.1:{}", slapd.ldap), true),
        ] {
            let config = LdapConfig { ca_file: ca_file.clone(), url, start_tls, ..slapd.config() };
            ensure!(asks(&config, "ada", "secret-of-ada").await.is_err(), "{config:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_referral_is_not_followed_and_silence_is_not_waited_for() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let elsewhere = TcpListener::bind("127.0.0.1:0").await?;
    let port = elsewhere.local_addr()?.port();
    let slapd = Slapd::start(&Shape { tls: true, ldif: entries(port) }).await?;
    let directory = LdapDirectory::new(slapd.config());
    ensure!(directory.people().await?.len() == 3);
    ensure!(asks(&slapd.config(), "ada", "secret-of-ada").await?.is_some());
    let beyond = LdapConfig { bases: vec![format!("ou=elsewhere,{PEOPLE}")], ..slapd.config() };
    let refused = LdapDirectory::new(beyond).people().await.unwrap_err();
    ensure!(refused.to_string().contains("another server"), "{refused}");
    let nobody_came = tokio::time::timeout(Duration::ZERO, elsewhere.accept()).await.is_err();
    ensure!(nobody_came, "the pointer was followed");

    // It takes connections and says nothing.
    let silent = LdapConfig {
        url: format!("ldap://127.0.0.1:{port}"),
        timeout: Duration::from_millis(200),
        ..slapd.config()
    };
    for start_tls in [true, false] {
        let silent = LdapConfig { start_tls, ..silent.clone() };
        let late = LdapDirectory::new(silent).log_in("ada", &Secret::new("x")).await.unwrap_err();
        ensure!(late.kind == DriverErrorKind::Timeout, "{late:?}");
    }
    Ok(())
}

#[tokio::test]
async fn thousands_come_in_pages_and_a_part_is_never_taken_for_all() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let mut ldif = entries(9);
    for number in 0..3000 {
        ldif += &person(&format!("user{number}"), PEOPLE, &format!("user{number}@example.org"));
    }
    let slapd = Slapd::start(&Shape { tls: true, ldif }).await?;
    let people = LdapDirectory::new(slapd.config()).people().await?;
    ensure!(people.len() == 3003, "{}", people.len());
    let ada = people.iter().find(|person| person.login == "ada").context("ada")?;
    ensure!(ada.groups == [slapd.config().groups[0].clone()], "{ada:?}");
    // Others than its administrator are cut off after fifty entries here.
    let cut = LdapConfig {
        bind_dn: format!("uid=bob,{PEOPLE}"),
        bind_password: Some(Secret::new("secret-of-bob")),
        ..slapd.config()
    };
    let refused = LdapDirectory::new(cut).people().await.unwrap_err();
    ensure!(refused.to_string().contains("cuts its list off"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn accounts_follow_the_directory_from_the_first_login_to_the_end() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let mut slapd = usual().await?;
    let world = World::new().await?;
    let core = world.core.clone().with_outside(linked(slapd.config(), false));
    let ada = log_in(&core, "ada", "secret-of-ada").await?;
    ensure!(ada.role == Role::Administrator && ada.groups.len() == 1 && ada.login == "ada");
    let again = log_in(&core, "ADA@example.org", "secret-of-ada").await?;
    ensure!(again.account == ada.account, "one person, one account");
    let bob = log_in(&core, "bob", "secret-of-bob").await?;
    ensure!(bob.role == Role::User && bob.groups.is_empty());
    let ask = CredentialAsk { kind: CredentialKind::Session, idle_s: Some(600), ..CredentialAsk::default() };
    let (_, session) = core.credential_make(&bob, ask).await?;
    let kinds = [CredentialKind::Session];
    ensure!(core.caller_by(session.expose(), &kinds, VIA).await?.account == bob.account);

    // Renamed, moved and no longer an administrator: the same account. Gone: disabled, and out.
    let group = ADMINS;
    slapd.modify(&format!(
        "dn: {group}\nchangetype: modify\nreplace: member\nmember: uid=eve,ou=staff,dc=example,dc=org\n\n\
         dn: uid=ada,{PEOPLE}\nchangetype: moddn\nnewrdn: uid=lovelace\ndeleteoldrdn: 1\n\
         newsuperior: ou=staff,dc=example,dc=org\n\ndn: uid=bob,{PEOPLE}\nchangetype: delete\n"
    ))?;
    let synced = core.directory_sync(&world.admin, "company").await?;
    ensure!(
        synced.people == 2 && synced.changed == 1 && synced.disabled == 1 && synced.created == 0,
        "{synced:?}"
    );
    let account = core.account_get(&world.admin, "lovelace").await?;
    ensure!(account.id == ada.account && account.role == Role::User, "{account:?}");
    ensure!(core.caller_by(session.expose(), &kinds, VIA).await.is_err(), "his session has ended");
    ensure!(log_in(&core, "bob", "secret-of-bob").await.is_err());
    let twice = core.directory_sync(&world.admin, "company").await?;
    ensure!(twice.changed == 0 && twice.disabled == 0, "{twice:?}");
    ensure!(log_in(&core, "lovelace", "secret-of-ada").await?.groups.is_empty());

    // Somebody new under an old name is somebody else, and does not get what bob had.
    slapd.modify(&person("bob", PEOPLE, "bob@example.org").replacen('\n', "\nchangetype: add\n", 1))?;
    let refused = log_in(&core, "bob", "secret-of-bob").await.unwrap_err();
    ensure!(refused.kind == ErrorKind::Conflict, "{refused:?}");

    core.account_create(&world.admin, carol()).await?;
    // Down: people of it cannot come in and are told so, others can, and nobody is disabled.
    slapd.stop()?;
    let silent = log_in(&core, "lovelace", "secret-of-ada").await.unwrap_err();
    ensure!(matches!(silent.kind, ErrorKind::Unavailable { .. }), "{silent:?}");
    ensure!(log_in(&core, "carol", "correct horse").await.is_ok(), "she is of hostler itself");
    ensure!(core.directory_sync(&world.admin, "company").await.is_err());
    ensure!(core.account_get(&world.admin, "lovelace").await?.enabled);
    let listed = core.directory_list(&world.admin).await?;
    ensure!(listed[0].last.as_ref().is_some_and(|last| last.problem.is_some()), "{listed:?}");
    let findings = core.doctor(&world.admin).await?;
    let finding = findings.iter().find(|finding| finding.check == "directory").context("a finding")?;
    ensure!(finding.level == Level::Problem && finding.cause.is_some(), "{finding:?}");
    Ok(())
}

#[tokio::test]
async fn nobody_takes_over_an_account_by_a_name_or_an_address() -> Result<()> {
    if missing() {
        return Ok(());
    }
    let mut ldif = entries(9);
    ldif += &person("admin", PEOPLE, "other@example.org");
    ldif += &person("mallory", PEOPLE, "admin@localhost");
    ldif += &person("inject", PEOPLE, "a@example.org>,<b@example.org");
    let _ = write!(
        ldif,
        "{}",
        person("bcc", PEOPLE, "").replace("mail: ", "mail:: eEBleGFtcGxlLm9yZw1CY2M6IHlAei5vcmc=")
    );
    let slapd = Slapd::start(&Shape { tls: true, ldif }).await?;
    let world = World::new().await?;
    let core = world.core.clone().with_outside(linked(slapd.config(), true));
    // The name of a local account is not even asked for outside.
    ensure!(log_in(&core, "admin", "secret-of-admin").await.is_err());
    ensure!(
        log_in(&core, "other@example.org", "secret-of-admin").await.unwrap_err().kind == ErrorKind::Conflict
    );
    ensure!(log_in(&core, "mallory", "secret-of-mallory").await.unwrap_err().kind == ErrorKind::Conflict);
    for login in ["inject", "bcc"] {
        let refused = log_in(&core, login, &format!("secret-of-{login}")).await;
        ensure!(refused.is_err(), "{login}");
    }
    let admin = core.account_get(&world.admin, "admin").await?;
    let synced = core.directory_sync(&world.admin, "company").await?;
    ensure!(synced.created == 3 && synced.refused.len() == 4, "{synced:?}");
    ensure!(core.account_get(&world.admin, "admin").await? == admin, "untouched");

    // Whom an administrator has disabled stays so, whatever the directory says.
    let disable = AccountChange { enabled: Some(false), ..AccountChange::default() };
    core.account_change(&world.admin, "eve", disable).await?;
    ensure!(log_in(&core, "eve", "secret-of-eve").await.is_err());
    core.directory_sync(&world.admin, "company").await?;
    ensure!(!core.account_get(&world.admin, "eve").await?.enabled);
    core.account_create(&world.admin, carol()).await?;
    ensure!(log_in(&core, "carol", "correct horse").await.is_ok());
    Ok(())
}
