//! The task that tells a guest whose SSH keys let in: a machine that was ready before it became somebody's.

use super::{Life, Machine, Observed};
use crate::core::{Changes, Core};
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::ports::{DriverError, GuestCommand};
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What it may take in a slow guest.
const PATIENCE: Duration = Duration::from_secs(20);
/// Replaces the administrator's file by what it reads.
const SCRIPT: &str = "umask 077; mkdir -p /root/.ssh && cat > /root/.ssh/authorized_keys.new \
                      && mv /root/.ssh/authorized_keys.new /root/.ssh/authorized_keys";

/// Gives a guest the SSH keys in its machine's record. It does not hold the machine: what is written is the same
/// whatever else is done to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keys {
    machine: MachineId,
}

impl Keys {
    pub(crate) fn new(machine: MachineId) -> Self {
        Self { machine }
    }
}

async fn told(core: &Core, machine: &Machine) -> Result<(), StepError> {
    let stdin = machine.ssh_keys.iter().flat_map(|key| [key.as_str(), "\n"]).collect::<String>().into_bytes();
    let argv = ["sh", "-c", SCRIPT].map(ToOwned::to_owned).to_vec();
    let command = GuestCommand { argv, stdin, deadline: PATIENCE };
    let output = core.host(machine.host)?.hypervisor.guest_run(machine.id, &command).await?;
    match output.status {
        Some(0) => Ok(()),
        _ => Err(DriverError::timeout("the guest did not take the SSH keys").into()),
    }
}

#[async_trait::async_trait]
impl Work for Keys {
    fn step(&self) -> &'static str {
        "keys"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let machine: Option<Machine> = core.find(self.machine.0).await?;
        // A guest that is off gets them with its identity when it is started.
        let up = |machine: &Machine| machine.life == Life::Present && machine.observed.power == Observed::On;
        if let Some(machine) = machine.filter(up) {
            told(core, &machine).await?;
        }
        Ok(Step { outcome: Outcome::Done, changes: core.changes(), progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        Ok(context.core.changes())
    }

    async fn abandon(&self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        Ok(context.core.changes())
    }
}
