//! The settings, their units and their defaults.

use super::{ConfigError, Ldap, Listen, Oidc, Pool, Vmpooler};
use hostler_core::core::Settings;
use hostler_doors::TrustedProxies;
use hostler_doors::native::types::NetworkCreate;
use hostler_drivers::fetch::FetchRules;
use hostler_drivers::qemu::UidRange;
use hostler_store::{Address, OpenError};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every setting there is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the HTTP doors listen.
    pub listen: Listen,
    /// Prefixes of proxies that may say on whose behalf they ask.
    pub trusted_proxies: Vec<String>,
    /// Where everything is kept; none means the usual place of the user.
    pub data_dir: Option<PathBuf>,
    /// Whether the TCP listener speaks TLS.
    pub tls: Tls,
    /// The process.
    pub server: Server,
    /// What is logged.
    pub log: Log,
    /// Where records are kept.
    pub store: Store,
    /// How machines are run.
    pub qemu: Qemu,
    /// What images and media may be fetched.
    pub images: Images,
    /// What keeps machines apart.
    pub isolation: Isolation,
    /// Work in the background.
    pub tasks: Tasks,
    /// How long what has ended is kept.
    pub keep: Keep,
    /// Networks that shall be there, in the words of the native API.
    pub network: Vec<NetworkCreate>,
    /// Pools that shall be there.
    pub pool: Vec<Pool>,
    /// What holds for all pools, and at vmpooler's door.
    pub vmpooler: Vmpooler,
    /// Who did what.
    pub audit: Audit,
    /// Directories whose people may come in.
    pub ldap: Vec<Ldap>,
    /// OpenID providers whose people may come in.
    pub oidc: Vec<Oidc>,
    /// Read by `hostler-sim` only, which knows what may stand here.
    pub sim: toml::Table,
}

/// TLS of the TCP listener. With neither files nor `self_signed` it speaks plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate and those that vouch for it, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Serve a certificate made at the first start.
    pub self_signed: bool,
    /// Host names and addresses in that certificate; none means the usual ones of this host.
    pub names: Vec<String>,
}

impl Tls {
    /// What single values cannot say.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let odd = |name: &&String| {
            name.is_empty() || name.contains(|c: char| c.is_whitespace() || !c.is_ascii() || c == '/')
        };
        if let Some(name) = self.names.iter().find(odd) {
            return Err(("tls.names", format!("`{name}` is no host name or address")));
        }
        Ok(())
    }
}

/// The process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Steps of tasks that have not finished so long after SIGTERM are cut off; at most 9 s.
    pub shutdown_s: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self { shutdown_s: 8 }
    }
}

/// What is logged, on stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,hostler_drivers=debug`.
    pub level: String,
    /// In which form.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Where records are kept. With neither setting it is SQLite, in the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// A PostgreSQL database: `postgres://user:password@host:5432/name`.
    pub url: Option<Secret>,
    /// A file that holds the address and nothing else, and that not everybody may read.
    pub url_file: Option<PathBuf>,
}

/// Text with a password in it: shown to nobody.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(not shown)")
    }
}

/// How machines are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Qemu {
    /// The emulator; a bare name is looked for in `PATH`.
    pub binary: PathBuf,
    /// The tool for disk images; a bare name is looked for in `PATH`.
    pub qemu_img: PathBuf,
    /// `kvm`, `tcg` or `auto` (the best that works here); with a CPU model after a colon if need be.
    pub accelerator: String,
    /// The static guest agent that templates embed; none means the one beside the program.
    pub agent: Option<PathBuf>,
    /// A machine's console log is cut down when it grows beyond this.
    pub console_bytes: u64,
}

impl Default for Qemu {
    fn default() -> Self {
        Self {
            binary: "qemu-system-x86_64".into(),
            qemu_img: "qemu-img".into(),
            accelerator: "auto".into(),
            agent: None,
            console_bytes: 1024 * 1024,
        }
    }
}

/// What images and media may be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Prefixes of addresses that are not public and may be fetched from all the same, e.g. `10.0.0.0/8`.
    pub allow_addresses: Vec<String>,
    /// An HTTP proxy to fetch through; the environment is not asked for one.
    pub proxy: Option<String>,
    /// The longest that one file may take.
    pub patience_s: u64,
    /// How long a server may send nothing.
    pub stall_s: u64,
}

impl Default for Images {
    fn default() -> Self {
        let rules = FetchRules::default();
        Self {
            allow_addresses: Vec::new(),
            proxy: None,
            patience_s: rules.patience.as_secs(),
            stall_s: rules.stall.as_secs(),
        }
    }
}

impl Images {
    /// As the driver wants it. Prefixes were checked before.
    pub fn rules(&self) -> FetchRules {
        FetchRules {
            allow_addresses: self.allow_addresses.iter().filter_map(|prefix| prefix.parse().ok()).collect(),
            proxy: self.proxy.clone(),
            patience: Duration::from_secs(self.patience_s),
            stall: Duration::from_secs(self.stall_s),
            ..FetchRules::default()
        }
    }
}

/// What keeps machines apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Isolation {
    /// User ids for machines, one for each, as `FIRST-LAST`; used when we are root. Empty: machines run as we do.
    pub uids: String,
    /// What a machine's process may take beyond the guest's memory.
    pub memory_overhead_mib: u64,
}

impl Default for Isolation {
    fn default() -> Self {
        Self { uids: UidRange::USUAL.text(), memory_overhead_mib: 256 }
    }
}

impl Isolation {
    /// The range, if there is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn range(&self) -> Result<Option<UidRange>, String> {
        if self.uids.is_empty() { Ok(None) } else { UidRange::parse(&self.uids).map(Some) }
    }
}

/// Work in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tasks {
    /// Tasks that run at the same time.
    pub concurrency: usize,
    /// How long a guest's agent may take to answer after a start.
    pub boot_patience_s: u64,
    /// How long a guest may take to turn itself off before its power is cut.
    pub stop_patience_s: u64,
}

impl Default for Tasks {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            concurrency: settings.concurrency,
            boot_patience_s: settings.boot_patience.as_secs(),
            stop_patience_s: settings.stop_patience.as_secs(),
        }
    }
}

/// How long what has ended is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Records of machines that are gone, hours.
    pub machines_h: u64,
    /// Tasks that have ended, hours.
    pub tasks_h: u64,
    /// Events, and answers to idempotent requests, hours.
    pub events_h: u64,
}

/// The audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// How long its lines are kept, days.
    pub keep_days: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { keep_days: Settings::default().keep_deeds.as_secs() / 86_400 }
    }
}

impl Default for Keep {
    fn default() -> Self {
        let settings = Settings::default();
        let hours = |time: Duration| time.as_secs() / 3600;
        Self {
            machines_h: hours(settings.keep_gone),
            tasks_h: hours(settings.keep_tasks),
            events_h: hours(settings.keep_events),
        }
    }
}

impl Config {
    /// What only settings that come from several places can break, once all are known.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub(super) fn check_together(&self) -> Result<(), (&'static str, String)> {
        let tls = &self.tls;
        if tls.certificate.is_some() != tls.key.is_some() {
            return Err(("tls.certificate", "and tls.key belong together".to_owned()));
        }
        if tls.self_signed && tls.certificate.is_some() {
            return Err(("tls.self_signed", "and tls.certificate cannot both be set".to_owned()));
        }
        Ok(())
    }

    /// Which of several directories or providers is wrong, where that is what `key` names.
    pub(super) fn wrong_element(&self, key: &str) -> Option<usize> {
        match key {
            "ldap" => (0..self.ldap.len()).find(|index| {
                let one = &self.ldap[*index];
                one.check().is_err() || self.ldap[..*index].iter().any(|other| other.name == one.name)
            }),
            "oidc" => (0..self.oidc.len()).find(|index| {
                let one = &self.oidc[*index];
                one.check().is_err() || self.oidc[..*index].iter().any(|other| other.name == one.name)
            }),
            _ => None,
        }
    }

    /// What a single value's type cannot say.
    ///
    /// # Errors
    /// The dotted name of the setting, and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let refuse = |key, why: &str| Err((key, why.to_owned()));
        if self.data_dir.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            return refuse("data_dir", "must not be empty");
        }
        if let Err(why) = self.proxies() {
            return Err(("trusted_proxies", why));
        }
        self.tls.check()?;
        self.vmpooler.check()?;
        if self.server.shutdown_s > 9 {
            return refuse("server.shutdown_s", "must be at most 9: the process ends within 10 s");
        }
        if !(1..=1024).contains(&self.tasks.concurrency) {
            return refuse("tasks.concurrency", "must be between 1 and 1024");
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            return Err(("log.level", format!("`{}` is no level or filter: {error}", self.log.level)));
        }
        for (key, seconds) in [
            ("tasks.boot_patience_s", self.tasks.boot_patience_s),
            ("tasks.stop_patience_s", self.tasks.stop_patience_s),
        ] {
            if !(1..=86_400).contains(&seconds) {
                return refuse(key, "must be between 1 and 86400");
            }
        }
        for (key, hours) in [
            ("keep.machines_h", self.keep.machines_h),
            ("keep.tasks_h", self.keep.tasks_h),
            ("keep.events_h", self.keep.events_h),
            ("audit.keep_days", self.audit.keep_days.saturating_mul(24)),
        ] {
            if !(1..=876_600).contains(&hours) {
                return refuse(key, "must be between 1 and 876600, in hours");
            }
        }
        for (index, ldap) in self.ldap.iter().enumerate() {
            ldap.check().map_err(|why| ("ldap", why))?;
            if self.ldap[..index].iter().any(|other| other.name == ldap.name) {
                return Err(("ldap", format!("`{}` is there twice", ldap.name)));
            }
        }
        for (index, oidc) in self.oidc.iter().enumerate() {
            oidc.check().map_err(|why| ("oidc", why))?;
            if self.oidc[..index].iter().any(|other| other.name == oidc.name) {
                return Err(("oidc", format!("`{}` is there twice", oidc.name)));
            }
        }
        for prefix in &self.images.allow_addresses {
            if let Err(why) = FetchRules::check_prefix(prefix) {
                return Err(("images.allow_addresses", why));
            }
        }
        if self.images.proxy.as_ref().is_some_and(|proxy| !proxy.starts_with("http://")) {
            return refuse("images.proxy", "must be the address of an HTTP proxy, http://HOST:PORT");
        }
        for (key, seconds) in
            [("images.patience_s", self.images.patience_s), ("images.stall_s", self.images.stall_s)]
        {
            if !(1..=604_800).contains(&seconds) {
                return refuse(key, "must be between 1 and 604800");
            }
        }
        if self.store.url.is_some() && self.store.url_file.is_some() {
            return refuse("store.url", "and store.url_file cannot both be set");
        }
        if let Some(url) = &self.store.url
            && let Err(error) = url.expose().parse::<Address>()
        {
            return Err(("store.url", format!("cannot be used: {error}")));
        }
        if self.qemu.console_bytes < 4096 {
            return refuse("qemu.console_bytes", "must be at least 4096");
        }
        if let Err(why) = self.isolation.range() {
            return Err(("isolation.uids", why));
        }
        if !(150..=1 << 20).contains(&self.isolation.memory_overhead_mib) {
            return refuse("isolation.memory_overhead_mib", "must be between 150 and 1048576");
        }
        if self.qemu.accelerator.is_empty() {
            return refuse("qemu.accelerator", "must be `auto`, `kvm` or `tcg`");
        }
        Ok(())
    }

    /// Proxies that may say on whose behalf they ask.
    ///
    /// # Errors
    /// Which of them is no prefix.
    pub fn proxies(&self) -> Result<TrustedProxies, String> {
        TrustedProxies::parse(&self.trusted_proxies)
    }

    /// The address of the database; none for the one in the data directory.
    ///
    /// # Errors
    /// The file that holds it cannot be read, may be read by everybody, or holds something else.
    pub fn database(&self) -> Result<Option<Address>, ConfigError> {
        let Some(path) = &self.store.url_file else {
            let url = self.store.url.as_ref().map(|url| url.expose().parse::<Address>());
            return url.transpose().map_err(|error| ConfigError::new(error.to_string()));
        };
        address_in(path).map(Some)
    }

    /// The part that core needs.
    pub fn settings(&self) -> Settings {
        let hours = |count: u64| Duration::from_secs(count * 3600);
        Settings {
            boot_patience: Duration::from_secs(self.tasks.boot_patience_s),
            stop_patience: Duration::from_secs(self.tasks.stop_patience_s),
            keep_gone: hours(self.keep.machines_h),
            keep_tasks: hours(self.keep.tasks_h),
            keep_events: hours(self.keep.events_h),
            keep_deeds: hours(self.audit.keep_days * 24),
            concurrency: self.tasks.concurrency,
        }
    }
}

/// The address of a database that a file holds.
///
/// # Errors
/// The file cannot be read, may be read by everybody, or holds something else.
pub fn address_in(path: &Path) -> Result<Address, ConfigError> {
    let refused = |why: String| ConfigError::new(format!("{}: {why}", path.display()));
    let meta = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if meta.mode() & 0o007 != 0 {
        return Err(refused("everybody may read it, and it may hold a password: chmod o= it".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    text.trim().parse().map_err(|error: OpenError| refused(error.to_string()))
}
