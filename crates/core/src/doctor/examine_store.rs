//! The database and the clock.

use super::Finding;
use crate::core::Core;
use crate::error::Result;
use std::time::Duration;

/// Clocks are corrected by less than this all the time.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

impl Core {
    pub(super) async fn examine_store(&self, findings: &mut Vec<Finding>) {
        match self.store().facts(true).await {
            Err(error) => findings
                .push(Finding::problem("store", "the database does not answer").because(error.to_string())),
            Ok(facts) => {
                let text = format!(
                    "{} {}, schema {}, {} KiB",
                    facts.engine,
                    facts.version,
                    facts.schema,
                    facts.bytes / 1024
                );
                findings.push(Finding::ok("store", text));
                for damage in facts.damage {
                    let hint = "stop hostler and restore a backup of its database";
                    findings.push(
                        Finding::problem("store", "the database is damaged").because(damage).hint(hint),
                    );
                }
            }
        }
    }

    /// Nothing here can ask the world for the time; but what was written down in the future tells of a clock that jumped.
    pub(super) async fn examine_clock(&self, findings: &mut Vec<Finding>) -> Result<()> {
        let now = self.now();
        let (_, last) = self.event_bounds().await?;
        let newest = self.store().events_after(last - 1, 1).await?.pop().map(|event| event.event.at);
        findings.push(match newest {
            Some(at) if at > now.plus(CLOCK_SLACK) => {
                let text = format!("it is {now} here, but something was recorded at {at}");
                let hint = "set the clock and keep it with NTP; leases and lifetimes wait for it";
                Finding::problem("clock", text).because("the clock went back").hint(hint)
            }
            _ => Finding::ok("clock", format!("it is {now}")),
        });
        Ok(())
    }
}
