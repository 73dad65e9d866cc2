//! `:config:` and the smaller sections.

use super::Draft;
use super::pools::Usual;
use super::section::{HOUR, MINUTE, Section, text};
use super::yaml::{Node, Value, Wrong};
use regex::Regex;

/// `:config:`.
///
/// # Errors
/// A value of the wrong type, with the place.
pub(super) fn config(section: &mut Section<'_>, usual: &mut Usual, draft: &mut Draft) -> Result<(), Wrong> {
    lifetimes(section, draft)?;
    usual.check_s = section.time("vm_checktime", MINUTE)?;
    usual.ready_ttl_s = section.time("ready_ttl", MINUTE)?;
    usual.boot_deadline_s = section.time("timeout", MINUTE)?;
    usual.clone_target = section.text("clone_target")?;
    let each = [
        ("vm_checktime", "check_s", usual.check_s.is_some()),
        ("ready_ttl", "ready_ttl_s", usual.ready_ttl_s.is_some()),
        ("timeout", "boot_deadline_s", usual.boot_deadline_s.is_some()),
        ("clone_target", "clone_target", usual.clone_target.is_some()),
    ];
    for (old, new, _) in each.iter().filter(|(_, _, set)| *set) {
        draft.report.taken(&section.key(old), format!("{new} of each [[pool]] that has none of its own"));
    }
    if usual.ready_ttl_s.is_none() {
        let text = "ready machines stay until somebody takes them; newer versions of vmpooler replace them after an hour: \
                    ready_ttl_s";
        draft.report.different("config.ready_ttl", text);
    }
    if let Some(mut weights) = section.section("backend_weight")? {
        for (target, _) in weights.all() {
            if let Some(weight) = weights.number(target)? {
                usual.weights.insert(target.clone(), weight);
            }
        }
        draft.report.taken("config.backend_weight", "weight of each [[pool]] with that clone_target");
    }
    counts(section, draft)?;
    names(section, draft)?;
    for (old, new) in
        [("experimental_features", "experimental_features"), ("rate_limiting_enabled", "rate_limit")]
    {
        if let Some(flag) = section.flag(old)? {
            draft.set("vmpooler", new, flag, &section.key(old));
        }
    }
    for key in section.unread() {
        draft.report.left(&section.key(key), why_left(key));
    }
    Ok(())
}

fn lifetimes(section: &mut Section<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    match section.time("vm_lifetime", HOUR)? {
        Some(seconds) => draft.number("vmpooler", "lifetime_s", seconds, "config.vm_lifetime"),
        None => draft.report.different(
            "config.vm_lifetime",
            "a machine is lent for 12 hours, as it was at first; newer versions of vmpooler have 24: lifetime_s",
        ),
    }
    let with_token = section.time("vm_lifetime_auth", HOUR)?;
    if let Some(seconds) = with_token.filter(|seconds| *seconds > 0) {
        draft.number("vmpooler", "lifetime_with_token_s", seconds, "config.vm_lifetime_auth");
    }
    if let Some(seconds) = section.time("max_lifetime_upper_limit", HOUR)? {
        draft.number("vmpooler", "lifetime_max_s", seconds, "config.max_lifetime_upper_limit");
    }
    if let Some(seconds) = section.time("ondemand_request_ttl", MINUTE)? {
        draft.number("vmpooler", "request_deadline_s", seconds, "config.ondemand_request_ttl");
    }
    Ok(())
}

fn counts(section: &mut Section<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    for (old, new) in [
        ("task_limit", "clones"),
        ("ondemand_clone_limit", "request_clones"),
        ("max_ondemand_instances_per_request", "request_most"),
        ("max_vm_retries", "request_retries"),
    ] {
        let Some(count) = section.number(old)? else { continue };
        let key = section.key(old);
        if count == 0 && new.ends_with("clones") {
            draft
                .report
                .due(&key, format!("{new} is at least 1, and was not set: a pool of size 0 makes nothing"));
        } else {
            draft.number("vmpooler", new, count, &key);
        }
    }
    Ok(())
}

fn names(section: &mut Section<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    if let Some(prefix) = section.text("prefix")?.filter(|prefix| !prefix.is_empty()) {
        let lower = prefix.to_ascii_lowercase();
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if lower.len() <= 24 && lower.bytes().all(fits) && !lower.starts_with('-') {
            draft.set("vmpooler", "prefix", lower.as_str(), "config.prefix");
        } else {
            let text = "names begin with at most 24 of a-z, 0-9 and -: set prefix in [vmpooler]";
            draft.report.due("config.prefix", text);
        }
    }
    if let Some(domain) = section.text("domain")?.filter(|domain| !domain.is_empty()) {
        draft.set("vmpooler", "domain", domain, "config.domain");
    }
    if let Some(name) = section.text("site_name")? {
        draft.set("vmpooler", "site_name", name, "config.site_name");
    }
    let tags = section.texts("allowed_tags")?;
    if !tags.is_empty() {
        draft.set("vmpooler", "allowed_tags", tags, "config.allowed_tags");
    }
    Ok(())
}

/// Why a key of `:config:` has no counterpart.
fn why_left(key: &str) -> &'static str {
    match key {
        "logfile" => "hostler writes its log to stderr, for the journal; [log] has its level and form",
        "timeout_notification" => "a pool says at once why it is not full",
        "check_loop_delay_min" | "check_loop_delay_max" | "check_loop_delay_decay" => {
            "pools are filled when something changes, not in rounds"
        }
        "check_ready_vm_hostname_for_mismatch" => "hostler names its machines itself",
        "purge_unconfigured_resources" | "purge_unconfigured_folders" | "purge_enabled" => {
            "pools that are no longer declared are emptied; hostler removes nothing that it has not made"
        }
        "usage_stats" => "`/prometheus` counts users always",
        "request_logger" => "[log] says what is logged",
        "create_linked_clones" | "create_template_delta_disks" => {
            "disks of machines always lie upon their template's"
        }
        "migration_limit" | "manage_host_selection" | "host_selection_max_age" | "utilization_limit" => {
            "machines stay on the host that they were made on"
        }
        "max_tries" | "retry_factor" => "what fails is tried again by itself, later and later",
        "create_folders" => "there are no folders",
        key if key.starts_with("health_check") => "`hostler doctor` looks at everything",
        key if key.starts_with("dlq_") => "what fails is kept as a record with its reason",
        key if key.starts_with("purge_") || key.starts_with("max_") && key.ends_with("_age") => {
            "nothing becomes stale: records follow what is there"
        }
        key if key.contains("circuit_breaker") || key.contains("adaptive_timeout") => {
            "there is no provider to be spared"
        }
        "vsphere" => "machines are made by hostler itself, on the hosts that it has",
        _ => "not known to hostler",
    }
}

/// `:redis:`: only how long destroyed machines are known.
///
/// # Errors
/// A value of the wrong type, with the place.
pub(super) fn redis(section: &mut Section<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    if let Some(seconds) = section.time("data_ttl", HOUR)? {
        draft.number("vmpooler", "keep_destroyed_s", seconds, "redis.data_ttl");
        let hours = seconds.div_ceil(HOUR);
        if hours > 168 {
            draft.number("keep", "machines_h", hours, "redis.data_ttl");
        }
    }
    for key in section.unread() {
        draft.report.left(&section.key(key), "hostler has a database of its own, [store]");
    }
    Ok(())
}

/// `:tagfilter:`.
///
/// # Errors
/// A filter that is no text, with the place.
pub(super) fn tag_filters(section: &mut Section<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    let mut filters = toml::Table::new();
    for (tag, node) in section.all() {
        let key = section.key(tag);
        let filter = text(&key, node)?;
        if Regex::new(&filter).is_ok() {
            filters.insert(tag.clone(), filter.into());
        } else {
            let text = "hostler's expressions have no lookaround and no back references: write it anew in tag_filters";
            draft.report.due(&key, text);
        }
    }
    if !filters.is_empty() {
        draft.set("vmpooler", "tag_filters", filters, "tagfilter");
    }
    Ok(())
}

/// `:dns_configs:` and `:providers:`, of which only domains count.
///
/// # Errors
/// A value of the wrong type, with the place.
pub(super) fn domains(root: &mut Section<'_>, usual: &mut Usual, draft: &mut Draft) -> Result<(), Wrong> {
    if let Some(mut all) = root.section("dns_configs")? {
        for (name, node) in all.all() {
            let mut one = Section::of(&all.key(name), node)?;
            let class = one.word("dns_class")?.unwrap_or_default();
            if class != "dynamic-dns" && !class.is_empty() {
                let text = "names are answered by hostler on its bridges; it tells nobody else's DNS of them";
                draft.report.left(&one.key("dns_class"), text);
            }
            if let Some(domain) = one.text("domain")? {
                draft.report.taken(&one.key("domain"), "domain of each [[pool]] with that dns_plugin");
                usual.dns.insert(name.clone(), domain);
            }
            for key in one.unread() {
                draft.report.left(&one.key(key), "names are answered by hostler on its bridges");
            }
        }
    }
    if let Some(mut all) = root.section("providers")? {
        for (name, node) in all.all() {
            provider(name, &mut Section::of(&all.key(name), node)?, usual, draft)?;
        }
    }
    if let Some(mut one) = root.section("vsphere")? {
        provider("vsphere", &mut one, usual, draft)?;
    }
    Ok(())
}

fn provider(
    name: &str,
    section: &mut Section<'_>,
    usual: &mut Usual,
    draft: &mut Draft,
) -> Result<(), Wrong> {
    if let Some(domain) = section.text("domain")? {
        draft.report.taken(&section.key("domain"), "domain of each [[pool]] with that provider");
        usual.providers.insert(name.to_owned(), domain);
    }
    let own = section.name.clone();
    let text = "machines are made by hostler itself, on the hosts that it has; it has no use for this one's address and password";
    draft.report.left(&own, text);
    Ok(())
}

/// Sections that have no counterpart at all.
pub(super) fn why_left_section(name: &str) -> &'static str {
    match name {
        "statsd" | "graphite" | "graphs" => {
            "hostler sends its figures to nobody: they are read at `/prometheus`"
        }
        "tracing" => "hostler writes what it does to its log",
        _ => "not known to hostler",
    }
}

/// `:prometheus:`.
///
/// # Errors
/// A value of the wrong type, with the place.
pub(super) fn prometheus(section: &mut Section<'_>, draft: &mut Draft) -> Result<(), Wrong> {
    let (names, label) = (section.text("prometheus_prefix")?, section.text("prefix")?);
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    match names.clone().or(label.clone()) {
        Some(prefix) if word(&prefix) => {
            draft.set("vmpooler", "prometheus_prefix", prefix, "prometheus.prometheus_prefix");
        }
        Some(_) => draft.report.due(
            "prometheus.prometheus_prefix",
            "names of metrics begin with letters, digits and _: set prometheus_prefix in [vmpooler]",
        ),
        None => {}
    }
    if names.is_some() && label.is_some() && names != label {
        let text = "the label vmpooler_instance is what the names begin with, too";
        draft.report.different("prometheus.prefix", text);
    }
    if section.text("prometheus_endpoint")?.is_some_and(|path| path.trim_end_matches('/') != "/prometheus") {
        draft.report.left("prometheus.prometheus_endpoint", "it is always `/prometheus`");
    }
    for key in section.unread() {
        draft.report.left(&section.key(key), "not known to hostler");
    }
    Ok(())
}

/// What must be a list of maps, or one map: each of them.
pub(super) fn each(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::List(nodes) => nodes.iter().collect(),
        Value::Null => Vec::new(),
        Value::Scalar(_) | Value::Map(_) => vec![node],
    }
}
