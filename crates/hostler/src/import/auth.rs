//! `:auth:`: who may have tokens.

use super::Draft;
use super::section::Section;
use super::settings::each;
use super::yaml::{Node, Value, Wrong};
use toml::Value as Toml;

/// The variable that the password of the directory's service account is expected in.
pub(super) const PASSWORD: &str = "LDAP_PASSWORD";

/// Reads one section, or a list of such.
///
/// # Errors
/// A value of the wrong type, with the place.
pub(super) fn read(node: Option<&Node>, draft: &mut Draft) -> Result<(), Wrong> {
    let sections = node.map(each).unwrap_or_default();
    if sections.is_empty() {
        draft.set("vmpooler", "auth", "none", "auth");
        draft.report.different(
            "auth",
            "it is absent, so there are no tokens, and nobody needs one: `auth = \"none\"`",
        );
        return Ok(());
    }
    let mut word = "local";
    for node in sections {
        let mut section = Section::of("auth", node)?;
        let provider = section.word("provider")?;
        let ldap = section.take("ldap");
        match provider.as_deref() {
            Some("ldap") | None if ldap.is_some() => {
                word = "ldap";
                for node in ldap.map(each).unwrap_or_default() {
                    directory(&mut Section::of("auth.ldap", node)?, draft)?;
                }
            }
            Some("ldap") => {
                let place = section.place_of("provider");
                return Err(Wrong::at(place, "auth.provider is ldap, but there is no auth.ldap"));
            }
            Some("dummy") => draft.report.due(
                "auth.provider",
                "the dummy let in anybody with a password; here make accounts: `hostler account create`",
            ),
            _ => draft.report.due(
                "auth.provider",
                "hostler does not know this one: make accounts, or name a directory in [[ldap]] or a provider in [[oidc]]",
            ),
        }
        for key in section.unread() {
            draft.report.left(&section.key(key), "not known to hostler");
        }
    }
    draft.set("vmpooler", "auth", word, "auth.provider");
    Ok(())
}

/// One directory.
fn directory(section: &mut Section<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    let hosts = section.texts("host")?;
    let Some(host) = hosts.first() else {
        return Err(Wrong::at(section.place, "auth.ldap needs a host"));
    };
    if hosts.len() > 1 {
        draft.report.left("auth.ldap.host", "only the first one is asked");
    }
    let number = draft.ldap.len() + 1;
    let name = if number == 1 { "directory".to_owned() } else { format!("directory-{number}") };
    let mut table = vec![("name", Toml::from(name.as_str()))];
    let port = section.number("port")?.unwrap_or(389);
    secrecy(section, host, port, &mut table, draft)?;
    let bases = section.texts("base")?;
    if bases.is_empty() {
        return Err(Wrong::at(section.place, "auth.ldap needs a base"));
    }
    let mut attributes = section.texts("user_object")?;
    if attributes.is_empty() {
        attributes.push("uid".to_owned());
        draft
            .report
            .due("auth.ldap.user_object", "it is absent, so people are called by `uid`: login_attributes");
    }
    match section.section("service_account_hash")? {
        Some(mut account) => {
            let dn = account.text("user_dn")?.unwrap_or_default();
            // Whatever it is, it stays in the old file.
            let _ = account.take("password");
            table.push(("bind_dn", dn.into()));
            table.push(("bind_password_variable", PASSWORD.into()));
            table.push(("bases", bases.into()));
            let text = format!(
                "put it into the variable {PASSWORD}, or into a file named by bind_password_file: passwords are not copied"
            );
            draft.report.due("auth.ldap.service_account_hash.password", text);
        }
        None => {
            let pair = |base: &String| {
                attributes.iter().map(|one| format!("{one}={{login}},{base}")).collect::<Vec<_>>()
            };
            table.push(("direct", bases.iter().flat_map(pair).collect::<Vec<_>>().into()));
            // Nobody is there to search it.
            table.push(("sync_s", 0.into()));
        }
    }
    if attributes.iter().any(|one| {
        one.eq_ignore_ascii_case("samaccountname") || one.eq_ignore_ascii_case("userprincipalname")
    }) {
        table.push(("key_attribute", "objectGUID".into()));
    }
    table.push(("login_attributes", attributes.into()));
    table.push(("role", "user".into()));
    draft.report.taken("auth.ldap", format!("[[ldap]] `{name}`"));
    draft.report.different(
        "auth.ldap",
        "everybody of the directory becomes an account of the role `user` here: role, groups; only entries of the class person \
         count: user_filter",
    );
    for key in section.unread() {
        draft.report.left(&section.key(key), "not known to hostler");
    }
    draft.ldap.push(table);
    Ok(())
}

/// How nobody else reads passwords on the way.
fn secrecy(
    section: &mut Section<'_>,
    host: &str,
    port: u64,
    table: &mut Vec<(&'static str, Toml)>,
    draft: &mut Draft,
) -> Result<(), Wrong> {
    let method = match section.take("encryption") {
        None => "start_tls".to_owned(),
        Some(node @ Node { value: Value::Map(_), .. }) => {
            let mut inner = Section::of("auth.ldap.encryption", node)?;
            inner.word("method")?.unwrap_or_default()
        }
        Some(_) => section.word("encryption")?.unwrap_or_default(),
    };
    // An IPv6 address stands in brackets.
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let scheme = if method == "simple_tls" { "ldaps" } else { "ldap" };
    table.push(("url", format!("{scheme}://{host}:{port}").into()));
    match method.as_str() {
        "simple_tls" | "start_tls" => {
            if scheme == "ldap" {
                table.push(("start_tls", true.into()));
            }
            let text = "the directory's certificate is checked here: ca_file, if the system does not know its authority";
            draft.report.different("auth.ldap.encryption", text);
        }
        _ => {
            table.push(("plaintext", true.into()));
            draft
                .report
                .different("auth.ldap.encryption", "passwords travel unencrypted, as before: start_tls");
        }
    }
    Ok(())
}
