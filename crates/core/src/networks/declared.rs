//! Networks that the configuration declares: made when they are not there, followed where a network can follow.

use super::check::check;
use super::{Network, NetworkAsk, NetworkKind};
use crate::access::Caller;
use crate::core::{Core, decided};
use crate::error::Result;

/// What has become of a declared network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared {
    /// It was not there, and is made.
    Made,
    /// It is as declared.
    Same,
    /// These properties were changed to what is declared.
    Altered(Vec<&'static str>),
    /// These properties are others, and cannot change as long as the network is there. Nothing was changed.
    Differs(Vec<&'static str>),
}

impl NetworkAsk {
    /// Refuses a network that makes no sense on any host.
    ///
    /// # Errors
    /// Invalid, with the property that makes none.
    pub fn check(&self) -> Result<()> {
        check(self)
    }

    /// Properties in which the network is another one, and stays so: machines' cards, addresses and the host's rules
    /// stand on them.
    fn fixed_differences(&self, network: &Network) -> Vec<&'static str> {
        let bridge_differs = self.bridge.is_some() && self.bridge != network.bridge;
        let all = [
            ("kind", self.kind != network.kind),
            ("uplink", self.uplink != network.uplink),
            ("bridge", bridge_differs),
            ("subnets", self.subnets != network.subnets),
        ];
        all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

impl Network {
    /// Takes over what may change in a network; answers which properties did.
    fn follow(&mut self, ask: &NetworkAsk) -> Vec<&'static str> {
        fn set<T: Clone + PartialEq>(name: &'static str, here: &mut T, wanted: &T) -> Option<&'static str> {
            let differs = here != wanted;
            here.clone_from(wanted);
            differs.then_some(name)
        }
        // What a bridge leads to is its uplink's affair.
        let outbound = if self.kind == NetworkKind::User { ask.outbound } else { self.outbound };
        let changed = [
            set("outbound", &mut self.outbound, &outbound),
            set("ranges", &mut self.ranges, &ask.ranges),
            set("domain", &mut self.domain, &ask.domain),
            set("resolvers", &mut self.resolvers, &ask.resolvers),
        ];
        changed.into_iter().flatten().collect()
    }
}

impl Core {
    /// Sees to it that a declared network is there, and as declared where it can change. Doing it again changes nothing.
    ///
    /// # Errors
    /// Those of [`Core::network_create`].
    pub async fn network_declare(&self, caller: &Caller, ask: &NetworkAsk) -> Result<Declared> {
        self.administers(caller, "network.create", "add networks").await?;
        check(ask)?;
        if let Some(there) = self.network_followed(caller, ask).await? {
            return Ok(there);
        }
        match self.network_create(caller, ask).await {
            Ok(_) => Ok(Declared::Made),
            // Another process with the same declaration was faster.
            Err(error) if error.code == "name_taken" => {
                self.network_followed(caller, ask).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Changes the network of this name to what is declared; none when there is no such network.
    async fn network_followed(&self, caller: &Caller, ask: &NetworkAsk) -> Result<Option<Declared>> {
        let found = decided(async || {
            let Some(mut network) = self.find_by::<Network>("name", ask.name.as_str()).await? else {
                return Ok(None);
            };
            let fixed = ask.fixed_differences(&network);
            if !fixed.is_empty() {
                return Ok(Some((network, Declared::Differs(fixed))));
            }
            let changed = network.follow(ask);
            if changed.is_empty() {
                return Ok(Some((network, Declared::Same)));
            }
            let mut changes = self.changes();
            changes.update(&network)?;
            self.deed(&mut changes, caller, "network.change", &network)?;
            self.commit(changes).await?;
            Ok(Some((network, Declared::Altered(changed))))
        })
        .await?;
        let Some((network, declared)) = found else { return Ok(None) };
        if matches!(declared, Declared::Altered(_)) {
            self.network_told(network.id, "a network cannot be changed yet").await;
        }
        Ok(Some(declared))
    }
}
