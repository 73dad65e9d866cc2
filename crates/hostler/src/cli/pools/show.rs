//! Pools, their machines and what is lent, for people.

use crate::cli::show::{Show, units};
use crate::output;
use hostler_doors::native::types::{
    Checkout, Golden, Machine, Pool, PoolDay, PoolShown, PoolSpec, Probe, Spread, Stock, Trouble,
};
use serde::Serialize;
use std::time::Duration;

pub(super) const POOLS: [&str; 8] =
    ["name", "template", "size", "ready", "filling", "lent", "last ready", "why not full"];
pub(super) const STOCK: [&str; 9] =
    ["name", "state", "born", "clone", "boot", "phases", "lent to", "created", "reason"];
const GOLDENS: [&str; 7] = ["state", "made in ms", "memory", "disk", "failures", "changed", "reason"];
pub(super) const FAILURES: [&str; 3] = ["name", "failed", "reason"];
pub(super) const LENT: [&str; 7] = ["name", "pool", "ssh", "ends", "account", "since", "tags"];
pub(super) const FIGURES: [&str; 7] = ["day", "pool", "lent", "missed", "failed", "clone", "boot"];

/// A pool with its newest machines, for programs.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    shown: PoolShown,
    newest: Vec<Machine>,
}

pub(super) fn shown(show: Show, shown: PoolShown, newest: Vec<Machine>) {
    if show.is_json() {
        return output::json(&Whole { shown, newest });
    }
    show.one(&shown, |shown| {
        let mut all = fields(&shown.pool);
        all.extend([("clone", spread(shown.clone)), ("boot", spread(shown.boot))]);
        all.extend(shown.pool.spec.iter().flat_map(properties));
        all
    });
    if !shown.goldens.is_empty() {
        output::line("\nGolden machines");
        show.list(&shown.goldens, &GOLDENS, golden_row);
    }
    if !newest.is_empty() {
        output::line("\nNewest machines");
        show.list(&newest, &STOCK, stock_row);
    }
    if !shown.failures.is_empty() {
        output::line("\nFailures, newest first");
        show.list(&shown.failures, &FAILURES, |failure| {
            vec![failure.name.clone(), units::ago(&failure.at), failure.reason.clone().unwrap_or_default()]
        });
    }
}

fn golden_row(golden: &Golden) -> Vec<String> {
    let made = golden.made_ms.map(|[boot, rest, save]| format!("boot {boot}, rest {rest}, save {save}"));
    vec![
        golden.state.clone(),
        made.unwrap_or_default(),
        golden.memory_bytes.map(units::bytes).unwrap_or_default(),
        golden.disk_bytes.map(units::bytes).unwrap_or_default(),
        golden.failures.to_string(),
        units::ago(&golden.changed_at),
        golden.reason.clone().unwrap_or_default(),
    ]
}

pub(super) fn pool_row(pool: &Pool) -> Vec<String> {
    vec![
        pool.name.clone(),
        pool.template.clone(),
        pool.size.to_string(),
        pool.ready.to_string(),
        pool.filling.to_string(),
        pool.lent.to_string(),
        pool.last_ready_at.as_deref().map(units::ago).unwrap_or_default(),
        why(pool),
    ]
}

/// Why a pool is not full; empty when it is.
fn why(pool: &Pool) -> String {
    match &pool.trouble {
        _ if pool.removing => "it is being removed".into(),
        Some(trouble) => trouble.reason.clone(),
        None if pool.ready >= u64::from(pool.size) => String::new(),
        None if pool.filling > 0 => "it is being filled".into(),
        None => "it will be filled".into(),
    }
}

pub(super) fn fields(pool: &Pool) -> Vec<(&'static str, String)> {
    let some = |count: u64| if count > 0 { count.to_string() } else { String::new() };
    let changed = |changed: bool, text: String, was: Option<String>| match was {
        _ if !changed => text,
        Some(was) => format!("{text} ({was} until it was changed)"),
        None => format!("{text} (changed)"),
    };
    let spec = pool.spec.as_ref();
    let (was_size, was_template) =
        (spec.map(|spec| spec.size.to_string()), spec.map(|spec| spec.template.clone()));
    let declared = if pool.declared { "by the configuration" } else { "" };
    vec![
        ("name", pool.name.clone()),
        ("number", pool.number.to_string()),
        ("id", pool.id.to_string()),
        ("description", pool.description.clone()),
        ("aliases", pool.aliases.join(", ")),
        ("declared", declared.to_owned()),
        ("template", changed(pool.overrides.template.is_some(), pool.template.clone(), was_template)),
        ("size", changed(pool.overrides.size.is_some(), pool.size.to_string(), was_size)),
        ("ready", pool.ready.to_string()),
        ("filling", pool.filling.to_string()),
        ("lent", pool.lent.to_string()),
        ("returned", some(pool.returned)),
        ("requested", some(pool.requested)),
        ("last ready", pool.last_ready_at.as_deref().map(units::ago).unwrap_or_default()),
        ("why not full", why(pool)),
        ("since", pool.trouble.as_ref().map(trouble).unwrap_or_default()),
        ("drained", pool.drained_at.as_deref().map(units::ago).unwrap_or_default()),
        ("created", units::ago(&pool.created_at)),
    ]
}

fn trouble(trouble: &Trouble) -> String {
    let failed = match trouble.failures {
        0 => String::new(),
        1 => ", a machine failed".to_owned(),
        count => format!(", {count} machines failed in a row"),
    };
    let again = units::ago(&trouble.again_at);
    let again = if again.starts_with("in ") { again } else { "now".into() };
    format!("{}{failed}, tried again {again}", units::ago(&trouble.since))
}

/// What only administrators see.
fn properties(spec: &PoolSpec) -> Vec<(&'static str, String)> {
    let times = |seconds: Option<u64>| seconds.map(lasting).unwrap_or_default();
    let probe = match &spec.probe {
        Probe::Agent => "agent".to_owned(),
        Probe::Ssh => "ssh".to_owned(),
        Probe::Tcp(port) => format!("tcp:{port}"),
        Probe::Command(argv) => argv.join(" "),
    };
    vec![
        ("probe", probe),
        ("vcpus", spec.vcpus.map(|count| count.to_string()).unwrap_or_default()),
        ("memory", spec.memory_mib.map(units::mib).unwrap_or_default()),
        ("disk", spec.disk_mib.map(units::mib).unwrap_or_default()),
        ("network", spec.network.clone().unwrap_or_default()),
        ("domain", spec.domain.clone().unwrap_or_default()),
        ("prefix", spec.prefix.clone()),
        ("lent for", times(spec.lifetime_s)),
        ("with token", times(spec.lifetime_with_token_s)),
        ("at most", times(spec.lifetime_max_s)),
        ("stands for", times(spec.ready_ttl_s)),
        (
            "looked at",
            spec.check_s
                .map(|s| if s == 0 { "never".into() } else { format!("every {}", lasting(s)) })
                .unwrap_or_default(),
        ),
        ("boot deadline", times(spec.boot_deadline_s)),
        ("clones", spec.clones.map(|count| count.to_string()).unwrap_or_default()),
        (
            "forked",
            spec.fork.map(|fork| if fork { "if it can be" } else { "never" }.to_owned()).unwrap_or_default(),
        ),
        ("keys", spec.ssh_keys.join("\n")),
    ]
}

/// Seconds as people read them; 0 stands for ever.
fn lasting(seconds: u64) -> String {
    if seconds == 0 { "ever".into() } else { units::duration(Duration::from_secs(seconds)) }
}

/// How long something took, over many.
fn spread(spread: Spread) -> String {
    match spread.total_ms.checked_div(spread.count) {
        None => String::new(),
        Some(mean) if spread.count == 1 => format!("{mean} ms"),
        Some(mean) => {
            format!("{mean} ms on average, {} to {} ms, of {}", spread.min_ms, spread.max_ms, spread.count)
        }
    }
}

pub(super) fn stock_row(machine: &Machine) -> Vec<String> {
    let stock = machine.stock.as_ref();
    let ms = |ms: Option<u64>| ms.map(|ms| format!("{ms} ms")).unwrap_or_default();
    let lent = stock.and_then(|stock| stock.checkout.as_ref()).map(|checkout| checkout.login.clone());
    vec![
        machine.name.clone(),
        stock.map(|stock| stock.state.to_string()).unwrap_or_default(),
        stock.map(born).unwrap_or_default(),
        ms(stock.and_then(|stock| stock.clone_ms)),
        ms(stock.and_then(|stock| stock.boot_ms)),
        stock.map(phases).unwrap_or_default(),
        lent.unwrap_or_default(),
        units::ago(&machine.created_at),
        machine.reason.clone().unwrap_or_default(),
    ]
}

fn born(stock: &Stock) -> String {
    match &stock.birth {
        Some(birth) if birth.forked => "forked".into(),
        Some(_) => "cold".into(),
        None => String::new(),
    }
}

fn phases(stock: &Stock) -> String {
    let phases = stock.birth.iter().flat_map(|birth| &birth.phases);
    phases.map(|phase| format!("{} {}", phase.name, phase.ms)).collect::<Vec<_>>().join(", ")
}

pub(super) fn failure_row(machine: &Machine) -> Vec<String> {
    vec![machine.name.clone(), units::ago(&machine.updated_at), machine.reason.clone().unwrap_or_default()]
}

pub(super) fn lent_row(machine: &Machine) -> Vec<String> {
    let checkout = machine.stock.as_ref().and_then(|stock| stock.checkout.as_ref());
    vec![
        machine.name.clone(),
        machine.stock.as_ref().map(|stock| stock.pool_name.clone()).unwrap_or_default(),
        machine.ssh.as_ref().map(|ssh| format!("{}:{}", ssh.address, ssh.port)).unwrap_or_default(),
        checkout.map(ends).unwrap_or_default(),
        checkout.map(|checkout| checkout.login.clone()).unwrap_or_default(),
        checkout.map(|checkout| units::ago(&checkout.at)).unwrap_or_default(),
        checkout.map(tags).unwrap_or_default(),
    ]
}

/// When a checkout ends.
pub(super) fn ends(checkout: &Checkout) -> String {
    checkout.until.as_deref().map_or_else(|| "never".into(), units::ago)
}

fn tags(checkout: &Checkout) -> String {
    let tags = checkout.tags.iter().map(|(key, value)| format!("{key}={value}"));
    tags.collect::<Vec<_>>().join(", ")
}

pub(super) fn figures_row(day: &PoolDay) -> Vec<String> {
    vec![
        day.day.clone(),
        day.pool.clone(),
        day.checkouts.to_string(),
        day.misses.to_string(),
        day.failures.to_string(),
        spread(day.clone),
        spread(day.boot),
    ]
}
