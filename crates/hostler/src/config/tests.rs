//! The rules by which a setting is found, and what is said when it is wrong.

use super::source::parse;
use super::{Config, EXAMPLE, LogFormat, Overrides, Variables, load};
use std::io::Write;
use std::path::{Path, PathBuf};

fn file(text: &str) -> (tempfile::NamedTempFile, Overrides) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let config = Some(file.path().to_owned());
    (file, Overrides { config, data_dir: Some("/data".into()), ..Overrides::default() })
}

fn refusal(text: &str) -> String {
    parse(Path::new("hostler.toml"), text).unwrap_err().to_string()
}

#[test]
fn the_example_says_every_default_and_nothing_else() {
    let example: Config = toml::from_str(EXAMPLE).unwrap();
    assert_eq!(example, Config::default());
    let written = toml::Table::try_from(Config::default()).unwrap();
    for (section, value) in &written {
        for key in value.as_table().into_iter().flat_map(toml::Table::keys) {
            assert!(EXAMPLE.contains(&format!("\n{key} = ")), "{section}.{key} is not in the example");
        }
    }
}

#[test]
fn an_unknown_key_is_refused_with_line_and_column() {
    let text = refusal("listen = \"[::1]:80\"\n\n  lisen = 1\n");
    assert!(text.starts_with("hostler.toml:3:3: unknown field `lisen`"), "{text}");
    assert!(text.ends_with("\n  |\n3 |   lisen = 1\n  |   ^^^^^"), "{text}");
}

#[test]
fn an_unknown_key_in_a_section_is_refused_where_it_stands() {
    let text = refusal("[tasks]\nconcurency = 3\n");
    assert!(text.starts_with("hostler.toml:2:1: unknown field `concurency`"), "{text}");
    assert!(refusal("[qmu]\n").starts_with("hostler.toml:1:2: unknown field `qmu`"));
}

#[test]
fn a_wrong_value_and_broken_syntax_name_their_place() {
    let text = refusal("[log]\nformat = \"xml\"\n");
    assert!(text.starts_with("hostler.toml:2:10: unknown variant `xml`"), "{text}");
    let text = refusal("listen = \"nonsense\"\n");
    assert!(text.starts_with("hostler.toml:1:10: `nonsense` is no address to listen on"), "{text}");
    assert!(refusal("a = \"ä\" b\n").starts_with("hostler.toml:1:"), "multi-byte text does not confuse it");
}

#[test]
fn users_of_machines_are_nobody_elses() {
    let text = refusal("[isolation]\nuids = \"0-1000\"\n");
    assert!(text.starts_with("hostler.toml:2:8: isolation.uids `0-1000` has numbers outside of"), "{text}");
    assert!(refusal("[isolation]\nuids = \"many\"\n").contains("write FIRST-LAST"));
    assert!(refusal("[isolation]\nmemory_overhead_mib = 10\n").contains("must be between 150"));
    parse(Path::new("hostler.toml"), "[isolation]\nuids = \"\"\n").unwrap();
}

#[test]
fn a_value_out_of_range_names_its_setting() {
    let text = refusal("[tasks]\nconcurrency = 0\n");
    assert!(text.starts_with("hostler.toml:2:15: tasks.concurrency must be between 1 and 1024\n"), "{text}");
    let text = refusal("[images]\nallow_addresses = [\"10.0.0.1/8\"]\n");
    assert!(text.contains("says more than its length: did you mean 10.0.0.0/8?\n"), "{text}");
    assert!(refusal("[images]\nproxy = \"socks5://a\"\n").contains("images.proxy must be the address"));
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let (_file, mut overrides) = file("listen = \"127.0.0.1:1\"\n[log]\nlevel = \"debug\"\n");
    let none = Variables::default();
    assert_eq!(load(&overrides, &none).unwrap().0.listen.as_str(), "127.0.0.1:1");
    let general = Variables::from_iter([("HOSTLER__LISTEN", "127.0.0.1:2")]);
    assert_eq!(load(&overrides, &general).unwrap().0.listen.as_str(), "127.0.0.1:2");
    let named = Variables::from_iter([("HOSTLER__LISTEN", "127.0.0.1:2"), ("HOSTLER_LISTEN", "127.0.0.1:3")]);
    assert_eq!(load(&overrides, &named).unwrap().0.listen.as_str(), "127.0.0.1:3");
    overrides.listen = Some("127.0.0.1:4".parse().unwrap());
    let (config, data_dir) = load(&overrides, &named).unwrap();
    assert_eq!(config.listen.as_str(), "127.0.0.1:4");
    assert_eq!(config.log.level, "debug");
    assert_eq!(data_dir, PathBuf::from("/data"));
}

#[test]
fn variables_are_typed_by_the_setting() {
    let (_file, overrides) = file("[tasks]\nconcurrency = 2\nboot_patience_s = 7\n");
    let variables = Variables::from_iter([
        ("HOSTLER__TASKS__CONCURRENCY", "5"),
        ("HOSTLER__LOG__FORMAT", "json"),
        ("HOSTLER__QEMU__BINARY", "123"),
        ("HOSTLER__SIM__BOOT_MS", "9"),
        ("HOSTLER_URL", "not ours"),
    ]);
    let config = load(&overrides, &variables).unwrap().0;
    assert_eq!((config.tasks.concurrency, config.tasks.boot_patience_s), (5, 7));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.qemu.binary, PathBuf::from("123"));
    assert_eq!(config.sim["boot_ms"].as_integer(), Some(9));
}

#[test]
fn a_wrong_variable_is_named() {
    let (_file, overrides) = file("");
    let refused = |name: &str, value: &str| {
        load(&overrides, &Variables::from_iter([(name, value)])).unwrap_err().to_string()
    };
    let text = refused("HOSTLER__TASKS__CONCURRENCY", "many");
    assert!(text.starts_with("variable HOSTLER__TASKS__CONCURRENCY: invalid type"), "{text}");
    let text = refused("HOSTLER__TASK__CONCURRENCY", "1");
    assert!(text.starts_with("variable HOSTLER__TASK__CONCURRENCY: unknown field `task`"), "{text}");
    assert_eq!(
        refused("HOSTLER__LISTEN__PORT__", "1"),
        "variable HOSTLER__LISTEN__PORT__: name a setting as HOSTLER__SECTION__KEY"
    );
    assert!(refused("HOSTLER_LISTEN", "1").starts_with("HOSTLER_LISTEN: `1` is no address"));
    assert!(refused("HOSTLER__SERVER__SHUTDOWN_S", "60").contains("must be at most 9"));
}

#[test]
fn a_named_file_must_exist() {
    let overrides = Overrides { config: Some("/nonexistent/h.toml".into()), ..Overrides::default() };
    let text = load(&overrides, &Variables::default()).unwrap_err().to_string();
    assert!(text.starts_with("cannot read the configuration /nonexistent/h.toml: "), "{text}");
}

#[test]
fn a_database_is_named_once_and_its_password_is_never_shown() {
    let (_file, overrides) = file("");
    let with = |all: &[(&str, &str)]| load(&overrides, &Variables::from_iter(all.iter().copied()));
    assert!(with(&[]).unwrap().0.database().unwrap().is_none());
    let url = "postgres://hostler:secret@db.example:6000/fleet";
    let config = with(&[("HOSTLER__STORE__URL", url)]).unwrap().0;
    let shown =
        format!("{:?} {config:?} {}", config.database().unwrap(), serde_json::to_string(&config).unwrap());
    assert!(shown.contains("fleet at db.example:6000") && !shown.contains("secret"), "{shown}");

    let both = [("HOSTLER__STORE__URL", url), ("HOSTLER__STORE__URL_FILE", "/etc/hostler/database")];
    let refused = with(&both).unwrap_err().to_string();
    assert!(refused.contains("store.url and store.url_file cannot both be set"), "{refused}");
    for wrong in ["mysql://hostler:secret@db/x", "postgres://hostler:secret@[::/x", "secret"] {
        let refused = with(&[("HOSTLER__STORE__URL", wrong)]).unwrap_err().to_string();
        assert!(refused.contains("store.url cannot be used") && !refused.contains("secret"), "{refused}");
    }
    let text = refusal("[store]\nurl = \"postgres://hostler:secret@db/x\n");
    assert!(text.contains("postgres://hostler:******@db/x"), "{text}");
}

#[test]
fn the_file_with_the_address_must_be_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut held = tempfile::NamedTempFile::new().unwrap();
    writeln!(held, "postgres://hostler:secret@db.example/fleet").unwrap();
    let (_file, overrides) = file(&format!("[store]\nurl_file = \"{}\"\n", held.path().display()));
    let config = load(&overrides, &Variables::default()).unwrap().0;
    assert_eq!(config.database().unwrap().unwrap().to_string(), "fleet at db.example:5432");
    std::fs::set_permissions(held.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(config.database().unwrap_err().to_string().contains("everybody may read it"));
    drop(held);
    assert!(config.database().unwrap_err().to_string().contains("No such file"));
}

#[test]
fn a_certificate_has_a_key_wherever_each_is_named() {
    let (_file, overrides) = file("[tls]\ncertificate = \"/c.pem\"\n");
    let key = Variables::from_iter([("HOSTLER__TLS__KEY", "/k.pem")]);
    let config = load(&overrides, &key).unwrap().0;
    assert_eq!(config.tls.key.as_deref(), Some(Path::new("/k.pem")));
    let refused = load(&overrides, &Variables::default()).unwrap_err().to_string();
    assert!(refused.contains("tls.certificate and tls.key belong together"), "{refused}");
    let signed =
        Variables::from_iter([("HOSTLER__TLS__KEY", "/k.pem"), ("HOSTLER__TLS__SELF_SIGNED", "true")]);
    let refused = load(&overrides, &signed).unwrap_err().to_string();
    assert!(refused.contains("cannot both be set"), "{refused}");
    assert!(refusal("[tls]\nnames = [\"a b\"]\n").contains("no host name"));
    assert!(refusal("trusted_proxies = [\"0.0.0.0/0\"]\n").contains("would let everybody"));
}

#[test]
fn a_declared_network_that_makes_no_sense_is_refused_where_it_stands() {
    let text = refusal("[[network]]\nname = \"lab\"\nkinds = \"user\"\n");
    assert!(text.starts_with("hostler.toml:3:1: unknown field `kinds`"), "{text}");
    let text = refusal("[[network]]\nname = \"a b\"\n");
    assert!(text.starts_with("hostler.toml:2:8: network `a b`: a network's name has"), "{text}");
    let bridge = "[[network]]\nname = \"lab\"\nkind = \"bridge\"\n";
    let text = refusal(&format!("{bridge}uplink = {{ to = \"nat\" }}\n"));
    assert!(text.starts_with("hostler.toml:1:1: network `lab`: a network that leads out"), "{text}");
    let text = refusal(&format!("{bridge}subnets = [{{ gateway = \"10.0.0.1\", prefix = 33 }}]\n"));
    assert!(text.starts_with("hostler.toml:4:11: network `lab`: a prefix length"), "{text}");
    let range = "ranges = [{ first = \"10.0.0.9\", last = \"10.0.0.1\" }]\n";
    let text = refusal(&format!("[[network]]\nname = \"lab\"\n{range}"));
    assert!(text.starts_with("hostler.toml:3:10: network `lab`: the range"), "{text}");
    let text = refusal("[[network]]\nname = \"lab\"\n\n[[network]]\nname = \"lab\"\n");
    assert!(text.starts_with("hostler.toml:5:8: network `lab`: it is declared twice"), "{text}");
}

#[test]
fn a_declared_pool_that_makes_no_sense_is_refused_where_it_stands() {
    let refused = |more: &str| refusal(&format!("[[pool]]\nname = \"a\"\ntemplate = \"micro\"\n{more}"));
    assert!(refused("sizes = 3\n").starts_with("hostler.toml:4:"), "{}", refused("sizes = 3\n"));
    for (more, text) in [
        ("size = 100001\n", "hostler.toml:4:8: pool `a`: a pool has at most 100000"),
        ("aliases = [\"b\", \"v1\"]\n", "hostler.toml:4:11: pool `a`: `v1` is no name"),
        ("boot_deadline_s = 0\n", "hostler.toml:4:19: pool `a`: a machine needs some time"),
        (
            "[[pool]]\nname = \"a\"\ntemplate = \"micro\"\n",
            "hostler.toml:5:8: pool `a`: it is declared twice",
        ),
        ("[vmpooler]\ntag_filters = { url = \"(\" }\n", "hostler.toml:5:"),
        ("[vmpooler]\nclones = 0\n", "hostler.toml:5:10: "),
        ("[vmpooler]\nanonymous = \"some\"\n", "hostler.toml:5:13: "),
    ] {
        let told = refused(more);
        assert!(told.starts_with(text), "{told}");
    }
}

#[test]
fn pools_are_declared_with_one_alias_or_several_and_what_is_left_out_is_usual() {
    let text = "[vmpooler]\ndomain = \"example.com\"\ntag_filters = { url = \"(.*)/\" }\n\
                [[pool]]\nname = \"a\"\ntemplate = \"micro\"\naliases = \"x\"\nprobe = { tcp = 22 }\n\
                [[pool]]\nname = \"b\"\ntemplate = \"micro\"\naliases = [\"x\", \"y\"]\nsize = 0\n";
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("hostler.toml");
    std::fs::write(&path, text).unwrap();
    let overrides = Overrides { config: Some(path), ..Overrides::default() };
    let config = load(&overrides, &Variables::default()).unwrap().0;
    let pools = config.pools();
    assert_eq!((pools[0].size, pools[1].size), (1, 0));
    assert_eq!((pools[0].aliases.len(), pools[1].aliases.len()), (1, 2));
    assert_eq!(pools[0].probe, hostler_core::pools::Probe::Tcp(22));
    assert_eq!(pools[1].domain.as_deref(), Some("example.com"));
    assert_eq!(config.pool_rules().tag_filters.len(), 1);
}

#[test]
fn the_network_of_the_example_can_be_declared() {
    let (_, network) = EXAMPLE.split_once("# [[network]]\n").unwrap();
    let lines =
        network.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("# "));
    let setting = |line: &&str| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let declared: Vec<&str> = lines.filter(setting).collect();
    let text = format!("[[network]]\n{}\n", declared.join("\n"));
    let (_file, overrides) = file(&text);
    let networks = load(&overrides, &Variables::default()).unwrap().0.networks();
    assert_eq!((networks.len(), networks[0].name.as_str()), (1, "lab"));
    assert_eq!(networks[0].bridge.as_deref(), Some("br-lab"));
}

/// What an administrator gets wrong about identity: each is named by its line and its cause.
#[test]
fn what_is_wrong_with_identity_is_named_by_line_and_cause() {
    let ldap = "[[ldap]]\nname = \"company\"\nurl = \"ldaps://ldap.example\"\nbases = [\"dc=example\"]\nrole = \"user\"\n";
    let oidc = "[[oidc]]\nname = \"sso\"\nissuer = \"https://sso.example\"\nclient_id = \"hostler\"\n\
        public_url = \"https://hostler.example\"\nrole = \"user\"\n";
    for good in [ldap, oidc] {
        parse(Path::new("hostler.toml"), good).unwrap();
    }
    let in_ldap = |old: &str, new: &str| ldap.replace(old, new);
    let in_oidc = |old: &str, new: &str| oidc.replace(old, new);
    for (text, line, cause) in [
        (in_ldap("ldaps:", "ldap:"), 1, "passwords would travel unencrypted"),
        (in_ldap("role = \"user\"\n", ""), 1, "nobody could come in"),
        (in_ldap("role = \"user\"", "role = \"boss\""), 5, "unknown variant `boss`"),
        (in_ldap("bases", "basis"), 4, "unknown field `basis`"),
        (in_ldap("company", "The Company"), 1, "must be 1 to 32 of a-z"),
        (format!("{ldap}timeout_s = 0\n"), 1, "timeout_s must be between 1 and 60"),
        (format!("{ldap}sync_s = 5\n"), 1, "sync_s must be 0 or at least 60"),
        (format!("{ldap}bind_password = \"x\"\n"), 6, "unknown field `bind_password`"),
        (
            format!("{ldap}bind_password_file = \"/a\"\nbind_password_variable = \"A\"\n"),
            1,
            "cannot both be set",
        ),
        (format!("{ldap}\n{ldap}"), 7, "`company` is there twice"),
        (format!("{ldap}[[ldap.groups]]\ngroup = \"cn=a\"\n"), 1, "each of groups needs a group"),
        (in_oidc("https://sso", "http://sso"), 1, "issuer"),
        (in_oidc("https://hostler.example", "hostler.example"), 1, "public_url"),
        (in_oidc("client_id", "client"), 4, "unknown field `client`"),
        (in_oidc("role = \"user\"\n", ""), 1, "nobody could come in"),
        (format!("{oidc}client_secret = \"x\"\n"), 7, "unknown field `client_secret`"),
        (format!("{ldap}\n{oidc}\n{oidc}"), 14, "`sso` is there twice"),
        ("[tls]\nself_signed = true\nnames = [\"a b\"]\n".into(), 3, "`a b` is no host name"),
        ("[tls]\nself_sign = true\n".into(), 2, "unknown field `self_sign`"),
        ("\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy\"]\n".into(), 2, "`proxy` is no prefix"),
        ("trusted_proxies = [\"::/0\"]\n".into(), 1, "would let everybody claim"),
        ("trusted_proxies = \"10.0.0.1\"\n".into(), 1, "invalid type"),
    ] {
        let refused = refusal(&text);
        assert!(
            refused.starts_with(&format!("hostler.toml:{line}:")),
            "not in line {line}: {refused}\n{text}"
        );
        assert!(refused.contains(cause), "{cause} is not in {refused}");
    }
}

#[test]
fn how_long_destroyed_machines_are_known_is_set() {
    let kept = |text: &str| toml::from_str::<Config>(text).unwrap().vmpooler_door().keep_destroyed.as_secs();
    assert_eq!(kept(""), 168 * 3600);
    assert_eq!(kept("[vmpooler]\nkeep_destroyed_s = 60\n"), 60);
}
