//! Commands about machines.

mod args;
mod banner;
mod console;
mod create;
mod devices;
mod log;
mod rules;
mod ssh;

pub(super) use args::{MachineCommand, Ssh};
pub(super) use ssh::ssh;

use super::Session;
use super::args::Wait;
use super::client::finish;
use super::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use args::{Edit, Run};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostler_doors::native::types::{
    Accepted, Life, Machine, MachineEdit, Observed, Power, PowerChange, Run as RunAsk, RunOutput,
};
use reqwest::Method;
use std::io::Read;

pub(super) async fn run(session: &Session, command: MachineCommand) -> Result<Exit, Failure> {
    match command {
        MachineCommand::Create(create) => create::create(session, *create).await?,
        MachineCommand::List(list) => {
            let machines = session.client.list(&["machines"], &list.filters(), list.limit).await?;
            session.show.list(&machines, &COLUMNS, row);
        }
        MachineCommand::Show { machine } => {
            let machine: Machine = session.client.get(&["machines", &machine]).await?;
            session.show.one(&machine, fields);
        }
        MachineCommand::Start(power) => change(session, &power.machine, "start", power.wait, false).await?,
        MachineCommand::Stop(power) => {
            change(session, &power.machine, "stop", power.wait, power.force).await?;
        }
        MachineCommand::Restart(power) => {
            change(session, &power.machine, "restart", power.wait, power.force).await?;
        }
        MachineCommand::Reset(power) => change(session, &power.machine, "reset", power.wait, false).await?,
        MachineCommand::Pause(power) => change(session, &power.machine, "pause", power.wait, false).await?,
        MachineCommand::Resume(power) => change(session, &power.machine, "resume", power.wait, false).await?,
        MachineCommand::Delete(delete) => {
            for machine in &delete.machines {
                remove(session, machine, delete.wait).await?;
            }
        }
        MachineCommand::Edit(edit) => change_record(session, edit).await?,
        MachineCommand::Resize(ask) => devices::resize(session, ask).await?,
        MachineCommand::Insert(ask) => {
            devices::medium(session, &ask.machine, Some(ask.medium), ask.force, ask.wait).await?;
        }
        MachineCommand::Eject(ask) => {
            devices::medium(session, &ask.machine, None, ask.force, ask.wait).await?;
        }
        MachineCommand::Nic(command) => devices::nic(session, command).await?,
        MachineCommand::Console { machine } => console::console(session, &machine).await?,
        MachineCommand::Log(ask) => log::log(session, &ask).await?,
        MachineCommand::Run(ask) => return in_guest(session, ask).await,
        MachineCommand::Ssh(ask) => return ssh(session, ask).await,
    }
    Ok(Exit::DONE)
}

async fn change(
    session: &Session,
    machine: &str,
    verb: &str,
    wait: Wait,
    force: bool,
) -> Result<(), Failure> {
    let accepted: Accepted<Machine> =
        session.client.post(&["machines", machine, verb], &PowerChange { force }).await?;
    if finish(&session.client, accepted.task.clone(), wait).await? {
        let id = accepted.record.id.to_string();
        let machine: Machine = session.client.get(&["machines", &id]).await?;
        let sentence = format!("machine {} is {}", machine.name, state(&machine));
        session.show.said(&machine, sentence);
    } else if session.show.is_json() {
        output::json(&accepted);
    }
    Ok(())
}

async fn remove(session: &Session, machine: &str, wait: Wait) -> Result<(), Failure> {
    let accepted: Accepted<Machine> = session.client.delete(&["machines", machine]).await?;
    let ended = finish(&session.client, accepted.task.clone(), wait).await?;
    if session.show.is_json() {
        output::json(&accepted);
    } else if ended {
        output::line(format_args!("machine {} is gone", accepted.record.name));
    }
    Ok(())
}

async fn change_record(session: &Session, edit: Edit) -> Result<(), Failure> {
    let path = ["machines", edit.machine.as_str()];
    let labels = (edit.no_labels || !edit.labels.is_empty()).then(|| edit.labels.into_iter().collect());
    let change = MachineEdit {
        title: edit.title,
        domain: edit.domain,
        description: edit.description,
        labels,
        vcpus: edit.vcpus,
        memory_mib: edit.memory,
    };
    if change == MachineEdit::default() {
        return Err(
            Failure::usage("nothing to change").hint("`hostler machine edit --help` lists what can be")
        );
    }
    let answer: serde_json::Value =
        session.client.json(session.client.request(Method::PATCH, &path).json(&change)).await?;
    let senseless = |error| Failure::because("the server's answer makes no sense", &error);
    // A size that a running machine grows to takes a task; all else is answered with the machine itself.
    if answer.get("record").is_some() {
        return devices::finished(session, serde_json::from_value(answer).map_err(senseless)?, edit.wait)
            .await;
    }
    let machine: Machine = serde_json::from_value(answer).map_err(senseless)?;
    session.show.one(&machine, fields);
    Ok(())
}

async fn in_guest(session: &Session, ask: Run) -> Result<Exit, Failure> {
    let mut stdin = Vec::new();
    if ask.stdin {
        std::io::stdin()
            .read_to_end(&mut stdin)
            .map_err(|error| Failure::because("cannot read standard input", &error))?;
    }
    let run = RunAsk {
        argv: ask.argv,
        stdin: ask.stdin.then(|| STANDARD.encode(stdin)),
        base64: true,
        deadline_s: u32::try_from(ask.deadline.as_secs()).unwrap_or(u32::MAX),
    };
    let done: RunOutput = session.client.post(&["machines", &ask.machine, "run"], &run).await?;
    if session.show.is_json() {
        output::json(&done);
    } else {
        let decoded = |text: &str| {
            let bytes = STANDARD.decode(text);
            bytes.map_err(|error| Failure::because("the server's answer makes no sense", &error))
        };
        output::bytes(&decoded(&done.stdout)?);
        output::error_bytes(&decoded(&done.stderr)?);
        if done.truncated {
            output::note("note: output beyond 256 KiB was left out");
        }
    }
    match done.status {
        Some(status) => Ok(Exit(u8::try_from(status).unwrap_or(Exit::FAILED.0))),
        None if done.timed_out => {
            Err(Failure::new("the command took too long and was ended").hint("give it more with --deadline"))
        }
        None => Err(Failure::new("the command was ended by a signal")),
    }
}

const COLUMNS: [&str; 8] = ["name", "state", "template", "cpus", "memory", "ssh", "created", "reason"];

fn row(machine: &Machine) -> Vec<String> {
    let ssh = machine.ssh.as_ref().map(|ssh| format!("{}:{}", ssh.address, ssh.port)).unwrap_or_default();
    let created = units::ago(&machine.created_at);
    let memory = units::mib(machine.memory_mib);
    let reason = machine.reason.clone().unwrap_or_default();
    let (name, vcpus) = (machine.name.clone(), machine.vcpus.to_string());
    vec![name, state(machine), template(machine), vcpus, memory, ssh, created, reason]
}

/// Life, wanted and observed power in one or two words.
fn state(machine: &Machine) -> String {
    match machine.life {
        Life::Creating | Life::Deleting | Life::Gone => return machine.life.to_string(),
        Life::Present => {}
    }
    match (machine.observed.power, machine.wanted) {
        (Observed::On, Power::On) if !machine.ready => "booting".into(),
        (Observed::On, Power::Off) => "on (should be off)".into(),
        (Observed::Off, Power::On) => "off (should be on)".into(),
        (power, _) => power.to_string(),
    }
}

fn template(machine: &Machine) -> String {
    let template = &machine.template;
    match (&template.name, template.version) {
        (Some(name), Some(version)) => format!("{name}@{version}"),
        (Some(name), None) => name.clone(),
        (None, _) => template.id.to_string(),
    }
}

fn fields(machine: &Machine) -> Vec<(&'static str, String)> {
    let labels = machine.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    let nics = machine.nics.iter().map(|nic| {
        let addresses = nic.addresses.iter().map(|address| format!(" {address}"));
        format!("{}{}", nic.mac, addresses.collect::<String>())
    });
    let volumes = machine.volumes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let ssh = machine.ssh.as_ref().map(|ssh| format!("{} port {}", ssh.address, ssh.port));
    let guest = machine.guest.as_ref();
    vec![
        ("name", machine.name.clone()),
        ("number", machine.number.to_string()),
        ("id", machine.id.to_string()),
        ("title", machine.title.clone()),
        ("domain", machine.domain.clone()),
        ("description", machine.description.clone()),
        ("state", state(machine)),
        ("reason", machine.reason.clone().unwrap_or_default()),
        ("ready", machine.ready_at.as_deref().filter(|_| machine.ready).map(units::ago).unwrap_or_default()),
        ("task", machine.task.map(|task| task.to_string()).unwrap_or_default()),
        ("template", template(machine)),
        ("cpus", machine.vcpus.to_string()),
        ("memory", units::mib(machine.memory_mib)),
        ("nics", nics.collect::<Vec<_>>().join("\n")),
        ("volumes", volumes.join("\n")),
        ("ssh", ssh.unwrap_or_default()),
        ("host key", machine.ssh_host_key.clone().unwrap_or_default()),
        ("labels", labels.join("\n")),
        ("system", guest.map(|guest| guest.os.clone()).unwrap_or_default()),
        ("kernel", guest.map(|guest| guest.kernel.clone()).unwrap_or_default()),
        ("host", machine.host.to_string()),
        ("owner", machine.owner.to_string()),
        ("created", units::ago(&machine.created_at)),
        ("updated", units::ago(&machine.updated_at)),
    ]
}
