//! Networks of one host: whether each bridge is as recorded, and each belongs to a record.

use super::Finding;
use super::books::Books;
use super::clean::Leftover;
use crate::core::{Core, LocalHost};
use crate::error::Result;

impl Core {
    pub(super) async fn examine_networks(
        &self,
        local: &LocalHost,
        books: &Books,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        match local.switch.networks().await {
            Err(error) => {
                findings.push(Finding::problem("network", "networks cannot be seen").because(error.detail));
            }
            Ok(networks) => {
                for id in networks {
                    if !books.networks.iter().any(|network| network.id == id) {
                        findings.push(self.leftover(local, Leftover::Network(id), id.0));
                    }
                }
            }
        }
        self.examine_bridges(local, findings).await
    }

    async fn examine_bridges(&self, local: &LocalHost, findings: &mut Vec<Finding>) -> Result<()> {
        let bridges = self.bridges_of(local).await?;
        if let Some(problem) = local.switch.problem() {
            let text = "this host makes no bridges: machines can be on user networks only";
            let finding = match bridges.len() {
                0 => Finding::warning("network", text),
                count => Finding::problem("network", format!("{text}, but {count} networks are bridges")),
            };
            let hint = "run hostler as root and install nftables and dnsmasq-base";
            findings.push(finding.because(problem).hint(hint));
            return Ok(());
        }
        let mut well = 0;
        for network in &bridges {
            let name = &network.name;
            let defects = local.switch.defects(&self.network_spec(local, network).await?).await;
            let defects = defects.unwrap_or_else(|error| vec![error.detail]);
            well += u32::from(defects.is_empty());
            findings.extend(defects.into_iter().map(|defect| {
                let text = format!("network {name} is not as it should be");
                Finding::problem("network", text).because(defect).hint(
                    "what is hostler's own is put right within a minute; the log says what is in the way",
                )
            }));
        }
        findings.push(Finding::ok("network", format!("{well} of {} bridges are as recorded", bridges.len())));
        Ok(())
    }
}
