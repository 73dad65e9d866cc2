//! Machines forked from a golden one by real QEMU: how soon each is itself, what it takes, and how many live together.

use crate::bed::Bed;
use crate::server::Server;
use crate::table::{Figure, Runs};
use anyhow::{Context, Result, ensure};
use hostler_doors::native::types::{Machine, Page, PoolShown};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// Longer than any pool takes to fill.
const PATIENCE: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(50);

/// What is forked, and what that may take.
pub(crate) struct Kind {
    /// The template.
    pub(crate) template: &'static str,
    pub(crate) memory_mib: u64,
    /// From the command to its identity, one at a time.
    pub(crate) budget: Duration,
    /// Memory of a fork in MiB, what it shares counted in part.
    pub(crate) budget_mib: u64,
}

/// One by one, eight at a time, and as many together as are asked for (0 for none).
pub(crate) async fn measure(bed: &Bed, server: &Server, kind: &Kind, together: usize) -> Result<Vec<Figure>> {
    let template = kind.template;
    bed.say(&format!("forking {template} one by one"));
    let serial = Pool::filled(server, kind, "serial", bed.choose(8, 3), 1).await?;
    let golden = serial.golden(server).await?;
    let (started, identity, banner) = serial.phases(server).await?;
    let mut figures = vec![
        Figure::new(format!("{template}: golden machine booted, at rest, saved"), golden),
        Figure::new(
            format!("{template}, forked one by one: command until guest code runs"),
            started.to_string(),
        ),
        Figure::new(
            format!("{template}, forked one by one: until it has its identity"),
            identity.to_string(),
        )
        .budget(format!("p50 <= {} ms", kind.budget.as_millis()), identity.median() <= kind.budget),
        Figure::new(format!("{template}, forked one by one: until its SSH banner"), banner.to_string()),
        serial.memory(server, bed, kind).await?,
    ];
    serial.removed(server).await?;
    bed.say(&format!("forking {template} eight at a time"));
    let many = Pool::filled(server, kind, "eight", 8, 8).await?;
    let (_, identity, banner) = many.phases(server).await?;
    let rate = 8.0 / many.took.as_secs_f64();
    let text = format!("{identity}; {banner}; {rate:.1} a second");
    let figure = Figure::new(format!("{template}, eight at a time: until identity; until SSH banner"), text);
    figures.push(if template == "micro" { figure.budget(">= 6/s, goal 8/s", rate >= 6.0) } else { figure });
    many.removed(server).await?;
    if together > 0 {
        bed.say(&format!("forking {together} of {template}"));
        let all = Pool::filled(server, kind, "together", together, 4).await?;
        let shown: PoolShown = server.get("/pools/together").await?;
        let failed = shown.failures.len();
        let figure = Figure::new(
            format!("{template}: {together} forks together, until all are ready"),
            format!("{:.1} s, {failed} failed", all.took.as_secs_f64()),
        );
        figures.push(figure.budget("none fails", failed == 0));
        figures.push(all.memory(server, bed, kind).await?);
        all.removed(server).await?;
    }
    Ok(figures)
}

struct Pool {
    name: &'static str,
    /// From the first to the last that became ready.
    took: Duration,
}

impl Pool {
    /// Its golden machine is there before the clock starts.
    async fn filled(
        server: &Server,
        kind: &Kind,
        name: &'static str,
        size: usize,
        clones: usize,
    ) -> Result<Self> {
        let spec = json!({
            "name": name, "template": kind.template, "memory_mib": kind.memory_mib, "size": 1, "clones": clones,
            "probe": "ssh",
        });
        let _: Value = server.ask("POST", "/pools", Some(spec)).await?;
        Self::until(server, name, 1).await?;
        let began = Instant::now();
        let _: Value =
            server.ask("PATCH", &format!("/pools/{name}"), Some(json!({ "size": size + 1 }))).await?;
        Self::until(server, name, size as u64 + 1).await?;
        Ok(Self { name, took: began.elapsed() })
    }

    async fn until(server: &Server, name: &str, ready: u64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let shown: PoolShown = server.get(&format!("/pools/{name}")).await?;
            if shown.pool.ready == ready {
                return Ok(());
            }
            ensure!(Instant::now() < until, "pool {name} is not filled: {:?}", shown.pool.trouble);
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn machines(&self, server: &Server) -> Result<Vec<Machine>> {
        let page: Page<Machine> =
            server.get(&format!("/pools/{}/machines?stock=ready&limit=1000", self.name)).await?;
        Ok(page.items)
    }

    async fn golden(&self, server: &Server) -> Result<String> {
        let shown: PoolShown = server.get(&format!("/pools/{}", self.name)).await?;
        let golden = shown.goldens.first().context("a golden machine")?;
        let [boot, rest, save] = golden.made_ms.context("it was made")?;
        let memory = golden.memory_bytes.unwrap_or_default() / MIB;
        Ok(format!("{boot} + {rest} + {save} ms; {memory} MiB of memory"))
    }

    /// By hostler's own clock: until guest code runs, until the identity was taken, until the SSH server said its banner.
    async fn phases(&self, server: &Server) -> Result<(Runs, Runs, Runs)> {
        let (mut started, mut identity, mut banner) = (Runs::default(), Runs::default(), Runs::default());
        for machine in self.machines(server).await? {
            let birth = machine.stock.and_then(|stock| stock.birth).context("its birth")?;
            ensure!(birth.forked, "{} was booted", machine.name);
            let mut sum = Duration::ZERO;
            for phase in birth.phases {
                sum += Duration::from_millis(phase.ms);
                match phase.name.as_str() {
                    "start" => started.push(sum),
                    "identity" => identity.push(sum),
                    "probe" => banner.push(sum),
                    _ => {}
                }
            }
        }
        Ok((started, identity, banner))
    }

    /// What one process takes, its share of what all have counted in.
    async fn memory(&self, server: &Server, bed: &Bed, kind: &Kind) -> Result<Figure> {
        let homes = bed.folder.join("real/machines").canonicalize()?;
        let (mut sum, mut count) = (0_u64, 0_u64);
        for machine in self.machines(server).await? {
            sum += pss_kib(&homes.join(machine.id.to_string()))?;
            count += 1;
        }
        let mib = sum / 1024 / count.max(1);
        let figure = Figure::new(
            format!("{}: memory of a fork among {count} (PSS)", kind.template),
            format!("{mib} MiB"),
        );
        Ok(figure.budget(format!("<= {} MiB", kind.budget_mib), mib <= kind.budget_mib))
    }

    async fn removed(&self, server: &Server) -> Result<()> {
        let _: Value = server.ask("DELETE", &format!("/pools/{}", self.name), None).await?;
        let until = Instant::now() + PATIENCE;
        while server.get::<PoolShown>(&format!("/pools/{}", self.name)).await.is_ok() {
            ensure!(Instant::now() < until, "pool {} does not go", self.name);
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

fn pss_kib(home: &Path) -> Result<u64> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == home) {
            let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("its memory")?;
            return Ok(line.trim().trim_end_matches("kB").trim().parse()?);
        }
    }
    anyhow::bail!("{} has no process", home.display())
}
