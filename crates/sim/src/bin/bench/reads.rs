//! Reads over TCP with a token, by `wrk`: one machine, pages that an index serves, a page that none does.

use crate::bed::Bed;
use crate::fleet::Fleet;
use crate::server::{INSTANT, Server};
use crate::table::{Figure, ms};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::time::Duration;

/// Different machines that are read in turn.
const MACHINES: usize = 2000;

/// Measures the reads.
pub(crate) async fn measure(bed: &Bed, fleet: &Fleet) -> Result<Vec<Figure>> {
    let server = Server::start(bed, &bed.simulated(), &fleet.data, &INSTANT).await?;
    let load = Load { bed, url: server.url.clone(), token: server.token().await? };
    let Places { machines, cursors } = Places::find(&server).await?;
    let one: Vec<String> = machines.iter().map(|id| format!("/hostler/v1/machines/{id}")).collect();
    let named = |after: &String| format!("/hostler/v1/machines?limit=50&after={after}&order=name");
    let mut pages: Vec<String> = cursors.iter().map(named).collect();
    pages.push("/hostler/v1/machines?limit=50&observed=off".to_owned());
    // One index has the filter, another the order: the engine has to choose.
    let crossed: Vec<String> = cursors.iter().map(|after| format!("{}&life=present", named(after))).collect();
    let scans = ["/hostler/v1/machines?limit=50&name=99&order=-updated_at".to_owned()];

    bed.say("reading");
    // The first reads fill the caches of SQLite and of the system.
    load.run(&one, 8, 2).await?;
    let fast = load.run(&one, 32, bed.choose(10, 4)).await?;
    let single = load.run(&one, 1, bed.choose(5, 2)).await?;
    let paged = load.run(&pages, 4, bed.choose(10, 4)).await?;
    let torn = load.run(&crossed, 1, bed.choose(5, 3)).await?;
    let scanned = load.run(&scans, 1, bed.choose(5, 3)).await?;
    let (rss, pss) = server.memory()?;
    server.stop().await?;
    let total = fleet.machines;
    Ok(vec![
        Figure::new(format!("one machine of {total}, 32 connections"), fast.to_string())
            .budget(">= 15 000/s", fast.rate >= 15_000.0),
        Figure::new(format!("one machine of {total}, 1 connection"), single.to_string()),
        Figure::new("page of 50 by an index, 4 connections", paged.to_string())
            .budget("p99 <= 20 ms", paged.p99 <= Duration::from_millis(20)),
        Figure::new("page of 50, filter by one index, order by another", torn.to_string())
            .budget("p50 <= 250 ms", torn.p50 <= Duration::from_millis(250)),
        Figure::new("page of 50 by no index, 1 connection", scanned.to_string())
            .budget("p50 <= 250 ms", scanned.p50 <= Duration::from_millis(250)),
        Figure::new("memory after these reads", format!("RSS {} MiB, PSS {} MiB", rss >> 10, pss >> 10)),
    ])
}

/// Machines and pages from all over the fleet, in an order that helps no cache.
struct Places {
    machines: Vec<String>,
    cursors: Vec<String>,
}

impl Places {
    async fn find(server: &Server) -> Result<Self> {
        let (mut machines, mut cursors) = (Vec::new(), Vec::new());
        let mut query = "limit=1000&order=name".to_owned();
        loop {
            let page = server.machines(&query).await?;
            machines.extend(page.items.iter().map(|machine| machine.id.to_string()));
            let Some(next) = page.next else { break };
            query = format!("limit=1000&order=name&after={next}");
            cursors.push(next);
        }
        ensure!(!machines.is_empty() && !cursors.is_empty(), "the fleet is too small");
        // A stride without a common divisor with the number of machines visits all of them.
        let count = machines.len();
        let machines = (0..MACHINES.min(count)).map(|turn| machines[turn * 7919 % count].clone()).collect();
        Ok(Self { machines, cursors })
    }
}

/// What `wrk` found.
struct Found {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s, p50 {}, p99 {}", self.rate, ms(self.p50), ms(self.p99))
    }
}

/// Loads a server.
struct Load<'a> {
    bed: &'a Bed,
    url: String,
    token: String,
}

impl Load<'_> {
    /// Asks for these paths in turn for so many seconds.
    async fn run(&self, paths: &[String], connections: u32, seconds: u32) -> Result<Found> {
        let script = self.bed.folder.join("wrk.lua");
        std::fs::write(&script, self.script(paths))?;
        let threads = connections.min(2);
        let mut command = self.bed.command(Path::new("wrk"));
        command.args(["--latency", "-t", &threads.to_string(), "-c", &connections.to_string()]);
        command.args(["-d", &format!("{seconds}s"), "-s"]).arg(&script).arg(&self.url);
        let output = command.output().await.context("cannot run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
        if let Some(line) =
            text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
        {
            bail!("wrk: {}", line.trim());
        }
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(str::trim).with_context(|| format!("wrk tells no {name}: {text}"))
        };
        Ok(Found {
            rate: field("Requests/sec:")?.parse()?,
            p50: duration(field("50%")?)?,
            p99: duration(field("99%")?)?,
        })
    }

    /// The token goes into the file: arguments are for everybody to see.
    fn script(&self, paths: &[String]) -> String {
        let list: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
        format!(
            r#"wrk.headers["Authorization"] = "Bearer {}"
local paths = {{ {} }}
local made, at = {{}}, 0
function init() for i, path in ipairs(paths) do made[i] = wrk.format("GET", path) end end
function request() at = at % #made + 1; return made[at] end
"#,
            self.token,
            list.join(", ")
        )
    }
}

/// A time as `wrk` writes it, e.g. `812.00us`, `1.25ms`, `1.02s`.
fn duration(text: &str) -> Result<Duration> {
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).context("a time has a unit")?;
    let (number, unit) = text.split_at(letters);
    let number: f64 = number.parse()?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => bail!("`{text}` is no time"),
    };
    Ok(Duration::from_secs_f64(seconds))
}
