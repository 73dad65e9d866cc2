//! Size, medium and network cards of a machine.

use super::args::{self, NicCommand, Resize};
use super::{fields, rules};
use crate::cli::Session;
use crate::cli::args::Wait;
use crate::cli::client::finish;
use crate::failure::{Exit, Failure};
use crate::output;
use hostler_doors::native::types::{Accepted, Inbound, Machine, MachineResize, MediumChange, NicAttach};
use reqwest::Method;

pub(super) async fn resize(session: &Session, ask: Resize) -> Result<(), Failure> {
    let change = MachineResize { vcpus: ask.vcpus, memory_mib: ask.memory };
    let accepted = session.client.post(&["machines", &ask.machine, "resize"], &change).await?;
    finished(session, accepted, ask.wait).await
}

pub(super) async fn medium(
    session: &Session,
    machine: &str,
    medium: Option<String>,
    force: bool,
    wait: Wait,
) -> Result<(), Failure> {
    let change = MediumChange { medium, force };
    let accepted = session.client.post(&["machines", machine, "medium"], &change).await?;
    finished(session, accepted, wait).await
}

pub(super) async fn nic(session: &Session, command: NicCommand) -> Result<(), Failure> {
    match command {
        NicCommand::Add { machine, network, address, mac, wait } => {
            let ask = NicAttach { network, address, mac };
            let accepted = session.client.post(&["machines", &machine, "nics"], &ask).await?;
            finished(session, accepted, wait).await
        }
        NicCommand::Remove { machine, mac, wait } => {
            let accepted = session.client.delete(&["machines", &machine, "nics", &mac]).await?;
            finished(session, accepted, wait).await
        }
        NicCommand::Inbound(ask) => inbound(session, ask).await,
    }
}

/// Shows the rules of one card, after setting them if any are given.
async fn inbound(session: &Session, ask: args::Inbound) -> Result<(), Failure> {
    let (client, mac) = (&session.client, ask.mac.to_ascii_lowercase());
    let machine: Machine = if ask.all || ask.none || !ask.rules.is_empty() {
        let change = Inbound { rules: (!ask.all).then_some(ask.rules) };
        let request = client.request(Method::PUT, &["machines", &ask.machine, "nics", &mac, "inbound"]);
        client.json(request.json(&change)).await?
    } else {
        client.get(&["machines", &ask.machine]).await?
    };
    let nic = machine.nics.into_iter().find(|nic| nic.mac == mac);
    let nic =
        nic.ok_or_else(|| Failure::new(format!("{} has no card {mac}", machine.name)).exit(Exit::NOT_FOUND))?;
    match nic.inbound {
        rules if session.show.is_json() => output::json(&Inbound { rules }),
        None => output::line(format_args!("everything is let in")),
        Some(rules) if rules.is_empty() => output::line(format_args!("nothing is let in but answers")),
        Some(rules) => session.show.list(&rules, &["protocol", "ports", "from"], rules::columns),
    }
    Ok(())
}

/// Shows the machine as it is once the change is made.
pub(super) async fn finished(
    session: &Session,
    accepted: Accepted<Machine>,
    wait: Wait,
) -> Result<(), Failure> {
    if finish(&session.client, accepted.task.clone(), wait).await? {
        let id = accepted.record.id.to_string();
        let machine: Machine = session.client.get(&["machines", &id]).await?;
        session.show.one(&machine, fields);
    } else if session.show.is_json() {
        output::json(&accepted);
    }
    Ok(())
}
