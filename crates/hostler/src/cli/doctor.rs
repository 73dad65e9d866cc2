//! `doctor`: asks the server what is wrong; without one, looks at what can be seen from outside.

use super::Session;
use super::args::{Doctor as Ask, Global};
use super::client::{Client, finish};
use super::show::{Show, units};
use crate::config::{self, Variables};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::serve::{DriverFactory, exposure};
use hostler_core::doctor::Finding as CoreFinding;
use hostler_doors::native::types::{Doctor, Finding, Level, RepairAsk, RepairOutcome, Repairs, Task};
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A durable write that takes longer makes everything wait.
const SLOW_WRITE: Duration = Duration::from_millis(20);

pub(super) async fn doctor(global: &Global, ask: &Ask, drivers: &dyn DriverFactory) -> Result<Exit, Failure> {
    if ask.repair || ask.dry_run {
        let session = Session { client: Client::new(global)?, show: Show::new(global.output) };
        return repair(&session, ask).await;
    }
    let found = match Client::new(global) {
        Ok(client) => client.get(&["doctor"]).await?,
        // A server that was named must answer; the local one may just not be there yet.
        Err(failure) if global.url.is_some() || failure.exit != Exit::FAILED => return Err(failure),
        Err(_) => without_server(global, drivers)?,
    };
    if Show::new(global.output).is_json() {
        output::json(&found);
    } else {
        print(&found);
    }
    Ok(if found.worst == Level::Problem { Exit::FAILED } else { Exit::DONE })
}

fn print(found: &Doctor) {
    for finding in &found.findings {
        let text = units::plain(&finding.text);
        output::line(format_args!("{:<8} {:<12} {text}", finding.level, finding.check));
        for (name, words) in [("cause", &finding.cause), ("hint", &finding.hint), ("repair", &finding.repair)]
        {
            if let Some(words) = words {
                output::line(format_args!("{:<21} {name}: {}", "", units::plain(words)));
            }
        }
    }
    let count = |level| found.findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    output::line(match (problems, warnings) {
        (0, 0) => "everything is as it should be".to_owned(),
        (0, warnings) => format!("{warnings} to be aware of"),
        (problems, warnings) => format!("{problems} wrong, {warnings} to be aware of"),
    });
    let repairs = found.findings.iter().filter(|finding| finding.repair.is_some()).count();
    if repairs > 0 {
        output::line(format_args!("`hostler doctor --repair` repairs {repairs} of them, after asking"));
    }
}

/// Shows what can be repaired, asks, and does no more than was shown.
async fn repair(session: &Session, ask: &Ask) -> Result<Exit, Failure> {
    let path = ["doctor", "repair"];
    let preview = RepairAsk { preview: true, only: None };
    let proposed: Repairs = session.client.post(&path, &preview).await?;
    if ask.dry_run || proposed.items.is_empty() {
        show(session, &proposed);
        return Ok(Exit::DONE);
    }
    if !ask.yes {
        list(&proposed);
        if !confirmed()? {
            output::line("nothing was changed");
            return Ok(Exit::DONE);
        }
    }
    let only = proposed.items.into_iter().map(|item| item.repair).collect();
    let wanted = RepairAsk { preview: false, only: Some(only) };
    let done: Repairs = session.client.post(&path, &wanted).await?;
    show(session, &done);
    let tasks = done.items.iter().filter_map(|item| Some((item.task.as_ref()?.id, item.task.clone()?)));
    for task in tasks.collect::<BTreeMap<uuid::Uuid, Task>>().into_values() {
        finish(&session.client, Some(task), ask.wait).await?;
    }
    let refused = done.items.iter().any(|item| item.outcome == RepairOutcome::Refused);
    Ok(if refused { Exit::FAILED } else { Exit::DONE })
}

fn show(session: &Session, repairs: &Repairs) {
    if session.show.is_json() {
        output::json(repairs);
    } else {
        list(repairs);
    }
}

fn list(repairs: &Repairs) {
    for item in &repairs.items {
        let outcome = match item.outcome {
            RepairOutcome::Proposed => "would",
            RepairOutcome::Done => "done",
            RepairOutcome::Ordered => "ordered",
            RepairOutcome::Refused => "refused",
        };
        output::line(format_args!("{outcome:<8} {}", units::plain(&item.repair)));
        output::line(format_args!("{:<8} because {}", "", units::plain(&item.finding.text)));
        if let Some(hint) = item.finding.hint.as_ref().filter(|_| item.outcome == RepairOutcome::Proposed) {
            output::line(format_args!("{:<8} hint: {}", "", units::plain(hint)));
        }
        if let Some(error) = &item.error {
            output::line(format_args!("{:<8} error: {}", "", units::plain(error)));
        }
    }
    if repairs.items.is_empty() {
        output::line("there is nothing to repair");
    }
}

/// Asks on the terminal; without one there is nobody to be asked.
fn confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked whether to do this").hint("say --yes"));
    }
    output::bytes(b"Do this? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::because("cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn without_server(global: &Global, drivers: &dyn DriverFactory) -> Result<Doctor, Failure> {
    let (config, data_dir) = config::load(&global.overrides(None), &Variables::of_process())?;
    drivers.check(&config)?;
    let mut findings = vec![
        CoreFinding::warning("server", format!("no server is running on {}", data_dir.display()))
            .because("only what shows without one was looked at")
            .hint("start one with `hostler serve`, or name its directory with --data-dir"),
    ];
    findings.extend(directory(&data_dir));
    findings.extend(drivers.examine(&config));
    findings.extend(exposure(&config, config.listen.as_str()));
    let findings: Vec<Finding> = findings.into_iter().map(wire).collect();
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    Ok(Doctor { worst, findings })
}

fn wire(finding: CoreFinding) -> Finding {
    let CoreFinding { check, level, text, cause, hint, repair } = finding;
    let repair = repair.map(|repair| repair.to_string());
    Finding { check, level: level.into(), text, cause, hint, repair }
}

/// Whether the data directory can be used, and how fast it is.
fn directory(path: &Path) -> Vec<CoreFinding> {
    let shown = path.display();
    let elsewhere = "name another directory with --data-dir or HOSTLER_DATA_DIR";
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return vec![CoreFinding::ok("data", format!("{shown} will be made at the first start"))];
        }
        Err(error) => {
            let finding = CoreFinding::problem("data", format!("{shown} cannot be used"));
            return vec![finding.because(error.to_string()).hint(elsewhere)];
        }
        Ok(meta) if !meta.is_dir() => {
            return vec![CoreFinding::problem("data", format!("{shown} is not a directory")).hint(elsewhere)];
        }
        Ok(_) => {}
    }
    match write_time(path) {
        Err(error) => {
            let user = rustix::process::geteuid();
            let finding = CoreFinding::problem("data", format!("user {user} cannot write to {shown}"));
            vec![finding.because(error.to_string()).hint(elsewhere)]
        }
        Ok(time) => {
            let text = format!("a small durable write takes {} µs", time.as_micros());
            let write = if time > SLOW_WRITE {
                CoreFinding::warning("fsync", text)
                    .hint("put the data directory on a faster disk: every acknowledged change waits for it")
            } else {
                CoreFinding::ok("fsync", text)
            };
            vec![CoreFinding::ok("data", format!("{shown} can be written")), write]
        }
    }
}

fn write_time(path: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::Builder::new().prefix(".doctor-").tempfile_in(path)?;
    let start = Instant::now();
    file.write_all(&[0; 4096])?;
    file.as_file().sync_all()?;
    Ok(start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::doctor::Level;

    #[test]
    fn a_data_directory_is_looked_at_without_a_server() {
        let parent = tempfile::tempdir().unwrap();
        let levels = |path: &Path| directory(path).iter().map(|finding| finding.level).collect::<Vec<_>>();
        assert_eq!(levels(&parent.path().join("none")), [Level::Ok]);
        assert_eq!(levels(parent.path())[0], Level::Ok);
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(levels(&file), [Level::Problem]);
    }
}
