//! Load by `wrk`: requests over TCP with a token, as fast as they are answered.

use crate::bed::Bed;
use crate::table::ms;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::time::Duration;

/// What `wrk` found.
pub(crate) struct Found {
    /// Requests in a second.
    pub(crate) rate: f64,
    /// What half of them did not exceed.
    pub(crate) p50: Duration,
    /// What all but a hundredth did not exceed.
    pub(crate) p99: Duration,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s, p50 {}, p99 {}", self.rate, ms(self.p50), ms(self.p99))
    }
}

/// Loads a server.
pub(crate) struct Load<'a> {
    /// Where this happens.
    pub(crate) bed: &'a Bed,
    /// The server.
    pub(crate) url: String,
    /// What its client comes in with.
    pub(crate) token: String,
}

impl Load<'_> {
    /// Asks for these paths in turn for so many seconds.
    pub(crate) async fn run(&self, paths: &[String], connections: u32, seconds: u32) -> Result<Found> {
        self.by("GET", paths, connections, seconds).await
    }

    /// The same by `POST`, with nothing in the body.
    pub(crate) async fn posts(&self, paths: &[String], connections: u32, seconds: u32) -> Result<Found> {
        self.by("POST", paths, connections, seconds).await
    }

    async fn by(&self, method: &str, paths: &[String], connections: u32, seconds: u32) -> Result<Found> {
        let script = self.bed.folder.join("wrk.lua");
        std::fs::write(&script, self.script(method, paths))?;
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
    fn script(&self, method: &str, paths: &[String]) -> String {
        let list: Vec<String> = paths.iter().map(|path| format!("{path:?}")).collect();
        format!(
            r#"local token = "{}"
wrk.headers["Authorization"] = "Bearer " .. token
wrk.headers["x-xsrf-token"] = token
wrk.headers["x-auth-token"] = token
local paths = {{ {} }}
local made, at = {{}}, 0
function init() for i, path in ipairs(paths) do made[i] = wrk.format("{method}", path) end end
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
