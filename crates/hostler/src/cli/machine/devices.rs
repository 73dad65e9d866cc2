//! Size, medium and network cards of a machine.

use super::args::{NicCommand, Resize};
use super::fields;
use crate::cli::Session;
use crate::cli::args::Wait;
use crate::cli::client::finish;
use crate::failure::Failure;
use crate::output;
use hostler_doors::native::types::{Accepted, Machine, MachineResize, MediumChange, NicAttach};

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
    }
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
