//! Finding machines.

use super::{Life, Machine};
use crate::access::Caller;
use crate::core::{Core, ListAsk, Page};
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::query::{Filter, Select};

impl Core {
    /// One machine, by any of its three names. A host name finds the machine that has it now; removed machines are
    /// found by id and number only.
    ///
    /// A machine whose host is absent is shown as `unknown` with that reason, whatever its record says.
    ///
    /// # Errors
    /// Not found, also when it is somebody else's.
    pub async fn machine_get(&self, caller: &Caller, key: &str) -> Result<Machine> {
        let missing = || Error::not_found("machine", key);
        let found = match (key.parse::<MachineId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => {
                let filter = Filter::eq("name", key).and(Filter::ne("life", Life::Gone.word()));
                self.select::<Machine>(Select::new(filter, 1)).await?.pop()
            }
        };
        let machine = found.ok_or_else(missing)?;
        caller.may_use(machine.owner, "machine", key)?;
        Ok(self.shown_machine(machine))
    }

    /// The caller's machines; an administrator sees everybody's. Removed ones only when the filter names `life`. A
    /// filter by `observed` means what was seen last, also on an absent host.
    pub async fn machine_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Machine>> {
        ask.filter = caller.visible().and(ask.filter);
        let mut page = self.page(ask).await?;
        page.items = page.items.into_iter().map(|machine| self.shown_machine(machine)).collect();
        Ok(page)
    }
}
