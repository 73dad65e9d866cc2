//! Finding machines.

use super::{Life, Machine};
use crate::access::{Act, Caller, Object, acts};
use crate::core::{Core, ListAsk, Page};
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::query::{Filter, Select};
use crate::record::Value;
use crate::volumes::Volume;
use std::collections::HashMap;

impl Core {
    /// One machine, by any of its three names. A host name finds the machine that has it now; removed machines are
    /// found by id and number only.
    ///
    /// A machine whose host is absent is shown as `unknown` with that reason, whatever its record says.
    ///
    /// # Errors
    /// Not found, also when it is somebody else's.
    pub async fn machine_get(&self, caller: &Caller, key: &str) -> Result<Machine> {
        let machine = self.machine_named(key).await?;
        self.sees(caller, Object::of(&machine), key).await?;
        Ok(self.shown_machine(machine))
    }

    /// A machine that the caller may do this with.
    pub(crate) async fn machine_for(&self, caller: &Caller, act: Act, key: &str) -> Result<Machine> {
        let machine = self.machine_named(key).await?;
        self.may(caller, act, Object::of(&machine), key).await?;
        Ok(self.shown_machine(machine))
    }

    /// Whether the caller may use a machine's consoles; asked again while one is open.
    ///
    /// # Errors
    /// Not found; denied.
    pub async fn machine_console_allowed(&self, caller: &Caller, key: &str) -> Result<()> {
        self.machine_for(caller, acts::MACHINE_CONSOLE, key).await.map(drop)
    }

    pub(crate) async fn machine_named(&self, key: &str) -> Result<Machine> {
        let found = match (key.parse::<MachineId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => {
                let filter = Filter::eq("name", key).and(Filter::ne("life", Life::Gone.word()));
                self.select::<Machine>(Select::new(filter, 1)).await?.pop()
            }
        };
        found.ok_or_else(|| Error::not_found("machine", key))
    }

    /// The machines that the caller may see. Removed ones only when the filter names `life`. A
    /// filter by `observed` means what was seen last, also on an absent host.
    pub async fn machine_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Machine>> {
        ask.filter = caller.visible().and(ask.filter);
        let mut page = self.page(ask).await?;
        page.items = page.items.into_iter().map(|machine| self.shown_machine(machine)).collect();
        Ok(page)
    }

    /// The volumes of machines that the caller has been shown, each machine's in the order of their positions. Whoever
    /// sees a machine sees what it is made of, so no right is asked for again; one question serves them all.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn volumes_on(&self, machines: &[Machine]) -> Result<HashMap<MachineId, Vec<Volume>>> {
        let mut found: HashMap<MachineId, Vec<Volume>> = HashMap::new();
        let ids: Vec<Value> = machines.iter().map(|machine| machine.id.0.into()).collect();
        if ids.is_empty() {
            return Ok(found);
        }
        for volume in self.all::<Volume>(Filter::In("machine", ids)).await? {
            if let Some(machine) = volume.machine {
                found.entry(machine).or_default().push(volume);
            }
        }
        found.values_mut().for_each(|volumes| volumes.sort_by_key(|volume| (volume.position, volume.id)));
        Ok(found)
    }
}
