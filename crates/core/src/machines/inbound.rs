//! What others may begin to send to a machine's card.

use super::{Life, Machine};
use crate::access::{Caller, acts};
use crate::core::{Core, decided};
use crate::error::{Error, Result};
use crate::networks::{Network, NetworkKind};
use crate::ports::{InboundRule, Protocol};
use std::net::IpAddr;

/// Rules of one card at most.
const MAX_RULES: usize = 64;

impl Core {
    /// Sets what others may begin to send to the card of this MAC; none lets everything through. It holds at once, for
    /// running machines too, and goes on holding after restarts.
    ///
    /// # Errors
    /// Not found for machine or card; invalid; unsupported on networks that are no bridges; conflict when it is gone.
    pub async fn machine_inbound(
        &self,
        caller: &Caller,
        key: &str,
        mac: &str,
        rules: Option<&[InboundRule]>,
    ) -> Result<Machine> {
        check(rules.unwrap_or_default())?;
        let (machine, network) = decided(async || {
            let mut machine = self.machine_for(caller, acts::MACHINE_INBOUND, key).await?;
            if machine.life == Life::Gone {
                return Err(Error::conflict("wrong_state", "the machine is gone").into());
            }
            let nic = machine.nics.iter_mut().find(|nic| nic.mac == mac);
            let nic = nic.ok_or_else(|| Error::not_found("card", mac))?;
            let network: Network = self.get(nic.network.0).await?;
            if network.kind != NetworkKind::Bridge {
                let text = format!("network {} is no bridge, so it has no rules", network.name);
                return Err(Error::unsupported(text).into());
            }
            nic.inbound = rules.map(<[InboundRule]>::to_vec);
            machine.updated_at = self.now();
            let mut changes = self.changes();
            changes.update(&machine)?;
            self.deed(&mut changes, caller, acts::MACHINE_INBOUND.name, &machine)?;
            machine.rev = self.commit(changes).await?.stamps[0].rev;
            Ok((machine, network.id))
        })
        .await?;
        self.network_told(network, "a machine's rules are not in force yet").await;
        Ok(machine)
    }
}

fn check(rules: &[InboundRule]) -> Result<()> {
    if rules.len() > MAX_RULES {
        return Err(Error::invalid("rules", format!("a card has {MAX_RULES} rules at most")));
    }
    for (place, rule) in rules.iter().enumerate() {
        let refuse = |part: &str, text: &str| Err(Error::invalid(format!("rules/{place}/{part}"), text));
        match (rule.protocol, rule.ports) {
            (Protocol::Icmp, Some(_)) => return refuse("ports", "ICMP has no ports"),
            (_, Some((first, last))) if first > last => {
                return refuse("ports", "the first port comes after the last");
            }
            _ => {}
        }
        let longest = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        if rule.source.is_some_and(|(ip, prefix)| prefix > longest(ip)) {
            return refuse("source", "the prefix is longer than the address");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let rule = |protocol, ports, source| InboundRule { protocol, ports, source };
        let from = |prefix| Some(("10.0.0.0".parse().unwrap(), prefix));
        assert!(check(&[rule(Protocol::Tcp, Some((22, 22)), from(8))]).is_ok());
        assert!(check(&[rule(Protocol::Icmp, Some((1, 2)), None)]).is_err());
        assert!(check(&[rule(Protocol::Udp, Some((2, 1)), None)]).is_err());
        assert!(check(&[rule(Protocol::Tcp, None, from(33))]).is_err());
        assert!(check(&vec![rule(Protocol::Tcp, None, None); 65]).is_err());
    }
}
