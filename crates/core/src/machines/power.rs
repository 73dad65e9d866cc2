//! The tasks that change a machine's power: start, stop, restart, reset, pause, resume.

use super::boot::{self, Arrival};
use super::{Life, Machine, Observed, Power};
use crate::access::{Act, Action};
use crate::core::Changes;
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::ports::{DriverError, DriverErrorKind};
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Between two looks at a guest that was asked to turn itself off.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// A guest that did not react is asked again after this long: early in its boot it hears nothing.
const ASK_PAUSE: Duration = Duration::from_secs(5);

/// What can be done to a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Turn it on.
    Start,
    /// Ask the guest to turn itself off; cut the power when it does not.
    Stop,
    /// Stop, then start.
    Restart,
    /// Press the reset button.
    Reset,
    /// Stop guest code, keep its memory.
    Pause,
    /// Go on after a pause.
    Resume,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Stop, Self::Restart, Self::Reset, Self::Pause, Self::Resume];

    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reset => "reset",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// What it takes: whoever may use a machine may turn it on and off.
    pub(super) fn act(self) -> Act {
        Act::new(self.task_kind(), Action::Use)
    }

    pub(super) fn task_kind(self) -> &'static str {
        match self {
            Self::Start => "machine.start",
            Self::Stop => "machine.stop",
            Self::Restart => "machine.restart",
            Self::Reset => "machine.reset",
            Self::Pause => "machine.pause",
            Self::Resume => "machine.resume",
        }
    }
}

/// What a verb means for a machine as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// A task shall do it; the owner now wants this power.
    Do(Power),
    /// It is so already.
    AlreadySo,
}

/// Decides whether a verb applies. Pure, so that the whole table can be tested.
///
/// # Errors
/// Conflict, naming state and verb.
pub(super) fn ruling(life: Life, wanted: Power, observed: Observed, verb: Verb) -> Result<Ruling> {
    let refuse = |state: &str| {
        let text = format!("the machine is {state}, so it cannot be asked to {}", verb.word());
        Err(Error::conflict("wrong_state", text))
    };
    if life != Life::Present {
        return refuse(life.word());
    }
    Ok(match (verb, observed) {
        (Verb::Start, Observed::On) if wanted == Power::On => Ruling::AlreadySo,
        (Verb::Stop, Observed::Off) if wanted == Power::Off => Ruling::AlreadySo,
        (Verb::Pause, Observed::Paused) => Ruling::AlreadySo,
        (Verb::Resume, Observed::On) => Ruling::AlreadySo,
        (Verb::Start, Observed::Paused) => return refuse("paused").map_err(|error| error.hint("resume it")),
        (Verb::Start | Verb::Restart, _) => Ruling::Do(Power::On),
        (Verb::Stop, _) => Ruling::Do(Power::Off),
        (Verb::Reset | Verb::Pause, Observed::On) | (Verb::Resume, Observed::Paused) => Ruling::Do(Power::On),
        (Verb::Reset | Verb::Pause | Verb::Resume, other) => return refuse(other.word()),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Ask,
    AwaitOff,
    Cut,
    Start,
    Agent,
    Press,
}

/// Changes a machine's power.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PowerWork {
    machine: MachineId,
    verb: Verb,
    stage: Stage,
    generation: u64,
    deadline: Timestamp,
    asked: Timestamp,
}

impl PowerWork {
    /// The work for `verb` on this machine; `force` cuts the power instead of asking the guest.
    pub(super) fn new(machine: &Machine, verb: Verb, force: bool) -> Self {
        let stage = match verb {
            Verb::Start => Stage::Start,
            Verb::Stop | Verb::Restart if force => Stage::Cut,
            Verb::Stop | Verb::Restart => Stage::Ask,
            Verb::Reset | Verb::Pause | Verb::Resume => Stage::Press,
        };
        Self {
            machine: machine.id,
            verb,
            stage,
            generation: machine.observed.generation + 1,
            deadline: Timestamp(0),
            asked: Timestamp(0),
        }
    }

    async fn ask(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let machine: Machine = core.get(self.machine.0).await?;
        let hypervisor = &core.host(machine.host)?.hypervisor;
        context.progress.report(0.0, "asking the guest to turn itself off");
        // A guest that stands still cannot hear. That nothing runs is no error: the next step finds it off.
        if machine.observed.power == Observed::Paused {
            unless_off(hypervisor.resume(self.machine).await)?;
        }
        unless_off(hypervisor.shut_down(self.machine).await)?;
        let changes = core.changes();
        self.asked = changes.now();
        if self.deadline == Timestamp(0) {
            self.deadline = self.asked.plus(core.settings().stop_patience);
        }
        self.stage = Stage::AwaitOff;
        Ok(Step { outcome: Outcome::Next, changes, progress: 0.1 })
    }

    async fn await_off(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let machine: Machine = core.get(self.machine.0).await?;
        let seen = core.host(machine.host)?.hypervisor.observe(self.machine).await;
        let off = match seen {
            Ok(sighting) => sighting.observed == Observed::Off,
            Err(error) if error.kind == DriverErrorKind::Gone => true,
            Err(error) => return Err(error.into()),
        };
        let changes = core.changes();
        let now = changes.now();
        if off || now >= self.deadline {
            self.stage = Stage::Cut;
            return Ok(Step { outcome: Outcome::Next, changes, progress: 0.5 });
        }
        if now.since(self.asked) >= ASK_PAUSE {
            self.stage = Stage::Ask;
        }
        let why = format!("waiting for the guest to turn itself off, at most until {}", self.deadline);
        Ok(Step { outcome: Outcome::Wait { until: now.plus(LOOK_PAUSE), why }, changes, progress: 0.2 })
    }

    async fn cut(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        core.host(machine.host)?.hypervisor.power_off(self.machine).await?;
        let mut changes = core.changes();
        machine.saw_nothing(changes.now());
        machine.updated_at = changes.now();
        if self.verb == Verb::Restart {
            changes.update(&machine)?;
            self.stage = Stage::Start;
            return Ok(Step { outcome: Outcome::Next, changes, progress: 0.6 });
        }
        machine.let_go(None);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn start(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let machine = boot::start(context, self.machine, self.generation, None).await?;
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        self.await_agent(context);
        Ok(Step { outcome: Outcome::Next, changes, progress: 0.7 })
    }

    fn await_agent(&mut self, context: &StepContext<'_>) {
        self.stage = Stage::Agent;
        self.deadline = context.core.now().plus(context.core.settings().boot_patience);
    }

    async fn agent(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let arrival = boot::arrive(context, self.machine, self.deadline).await?;
        let mut changes = context.core.changes();
        let mut machine = match arrival {
            Arrival::NotYet => {
                let why = "waiting for the guest's agent".into();
                return Ok(Step {
                    outcome: Outcome::Wait { until: changes.now().plus(boot::LOOK_PAUSE), why },
                    changes,
                    progress: 0.8,
                });
            }
            Arrival::Silent(machine) => machine,
            Arrival::Ready(mut machine) => {
                machine.reason = None;
                machine
            }
        };
        let reason = machine.reason.take();
        machine.let_go(reason);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn press(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        let hypervisor = &core.host(machine.host)?.hypervisor;
        match self.verb {
            Verb::Pause => hypervisor.pause(self.machine).await?,
            Verb::Resume => hypervisor.resume(self.machine).await?,
            _ => hypervisor.reset(self.machine).await?,
        }
        let sighting = hypervisor.observe(self.machine).await?;
        let mut changes = core.changes();
        machine.saw(&sighting, changes.now());
        machine.updated_at = changes.now();
        if self.verb == Verb::Reset {
            machine.ready_at = None;
            changes.update(&machine)?;
            self.await_agent(context);
            return Ok(Step { outcome: Outcome::Next, changes, progress: 0.5 });
        }
        machine.let_go(None);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }
}

/// What a verb answers, when a machine that is off is no error.
fn unless_off(answer: Result<(), DriverError>) -> Result<(), DriverError> {
    answer.or_else(|error| match error.kind {
        DriverErrorKind::Gone | DriverErrorKind::Refused => Ok(()),
        _ => Err(error),
    })
}

#[async_trait::async_trait]
impl Work for PowerWork {
    fn step(&self) -> &'static str {
        match self.stage {
            Stage::Ask => "ask",
            Stage::AwaitOff => "await_off",
            Stage::Cut => "cut",
            Stage::Start => "start",
            Stage::Agent => "agent",
            Stage::Press => self.verb.word(),
        }
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    /// Once asked, a guest goes off whether we want it or not.
    fn cancellable(&self) -> bool {
        self.asked == Timestamp(0) || !matches!(self.stage, Stage::Ask | Stage::AwaitOff | Stage::Cut)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        match self.stage {
            Stage::Ask => self.ask(context).await,
            Stage::AwaitOff => self.await_off(context).await,
            Stage::Cut => self.cut(context).await,
            Stage::Start => self.start(context).await,
            Stage::Agent => self.agent(context).await,
            Stage::Press => self.press(context).await,
        }
    }

    /// A start that failed leaves the machine off; anything else leaves it as it is now seen.
    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        let hypervisor = &core.host(machine.host)?.hypervisor;
        if matches!(self.stage, Stage::Start | Stage::Agent) && self.verb != Verb::Reset {
            hypervisor.power_off(self.machine).await?;
        }
        let mut changes = core.changes();
        match hypervisor.observe(self.machine).await {
            Ok(sighting) => machine.saw(&sighting, changes.now()),
            Err(error) if error.kind == DriverErrorKind::Gone => machine.saw_nothing(changes.now()),
            Err(error) => return Err(error.into()),
        }
        machine.wanted = if machine.observed.power == Observed::Off { Power::Off } else { Power::On };
        machine.updated_at = changes.now();
        machine.let_go(Some(format!("{} failed: {why}", self.verb.word())));
        changes.update(&machine)?;
        Ok(changes)
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut machine: Machine = context.core.get(self.machine.0).await?;
        machine.observed.power = Observed::Unknown;
        machine.let_go(Some(why.to_owned()));
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table: what each verb means for a present machine in each state.
    #[test]
    fn every_verb_in_every_state_is_ruled() {
        let letter = |verb, wanted, observed| match ruling(Life::Present, wanted, observed, verb) {
            Ok(Ruling::Do(_)) => 'd',
            Ok(Ruling::AlreadySo) => 's',
            Err(_) => '-',
        };
        let row = |verb| -> String {
            let observed = [Observed::On, Observed::Paused, Observed::Off, Observed::Unknown];
            let on = observed.map(|observed| letter(verb, Power::On, observed));
            let off = observed.map(|observed| letter(verb, Power::Off, observed));
            on.into_iter().chain([' ']).chain(off).collect()
        };
        //                         wanted on, off; observed on, paused, off, unknown
        assert_eq!(row(Verb::Start), "s-dd d-dd");
        assert_eq!(row(Verb::Stop), "dddd ddsd");
        assert_eq!(row(Verb::Restart), "dddd dddd");
        assert_eq!(row(Verb::Reset), "d--- d---");
        assert_eq!(row(Verb::Pause), "ds-- ds--");
        assert_eq!(row(Verb::Resume), "sd-- sd--");
    }

    #[test]
    fn only_present_machines_have_power() {
        for life in [Life::Creating, Life::Deleting, Life::Gone] {
            for verb in Verb::ALL {
                let error = ruling(life, Power::On, Observed::On, verb).unwrap_err();
                assert!(error.text.contains(life.word()) && error.text.contains(verb.word()));
            }
        }
    }
}
