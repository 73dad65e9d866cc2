//! The doctor: every way in which the installation is not as it should be, each with a cause and a hint, and with its
//! repair where that is safe.
//!
//! Everything is read anew ([`books`](Books)) and compared: records with each other (`examine_records`, `examine_tasks`), records
//! with what runs (`examine_machines`) and with what lies on disk (`examine_files`, `examine_networks`). Only the process of a host can look
//! at what is on it; records are anybody's.
//!
//! A [`Repair`] is one command: a small change of records, or a task on the host that it is about. None destroys what a
//! record speaks of; leftovers that no record knows are removed once they are old enough to be nobody's work in hand.

mod books;
pub(crate) mod clean;
mod examine_files;
mod examine_hosts;
mod examine_machines;
mod examine_networks;
mod examine_records;
mod examine_store;
mod examine_tasks;
mod repair;

use books::Books;
pub use repair::{Outcome, Repair, Repaired};

use crate::access::Caller;
use crate::core::Core;
use crate::error::Result;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as it could.
    Warning,
    /// Something does not work, or records and reality disagree.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, e.g. `accelerator`, `disk`, `machine`.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// Why, when that is known.
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What [`Core::doctor_repair`] does about it, where something safe can be done.
    pub repair: Option<Repair>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(check: &str, text: impl Into<String>) -> Self {
        let (check, text) = (check.into(), text.into());
        Self { check, level: Level::Ok, text, cause: None, hint: None, repair: None }
    }

    /// Something that works, but not as it could.
    pub fn warning(check: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::ok(check, text) }
    }

    /// Something that does not work.
    pub fn problem(check: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Problem, ..Self::ok(check, text) }
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what can be done about it by itself.
    #[must_use]
    pub fn repair(mut self, repair: Repair) -> Self {
        self.repair = Some(repair);
        self
    }
}

/// What this process says of itself, by what it is about: core cannot see sockets and files of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<BTreeMap<String, Finding>>);

impl Core {
    /// Says something of this process that the doctor shall show, in place of what was said of the same check before.
    pub fn doctor_note(&self, finding: Finding) {
        let mut notes = self.notes().0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert(finding.check.clone(), finding);
    }

    /// Looks at everything: hosts, storages, the store, and every disagreement between records and reality.
    ///
    /// # Errors
    /// Denied for anybody but administrators.
    pub async fn doctor(&self, caller: &Caller) -> Result<Vec<Finding>> {
        self.administers(caller, "doctor.ask", "ask the doctor").await?;
        let mut findings = Vec::new();
        if let Some(maintenance) = self.maintenance() {
            let text = format!("maintenance is on since {}, by {}", maintenance.since, maintenance.by);
            let finding = Finding::warning("maintenance", text).hint("`hostler maintenance off` ends it");
            let reason = (!maintenance.reason.is_empty()).then(|| maintenance.reason.clone());
            findings.push(Finding { cause: reason, ..finding });
        }
        findings.extend(self.notes().0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned());
        self.examine_store(&mut findings).await;
        self.examine_clock(&mut findings).await?;
        let books = Books::read(self, &mut findings).await?;
        self.examine_others(&books, &mut findings);
        for local in self.local_hosts() {
            self.examine_host(local, &mut findings).await;
            examine_hosts::examine_storage(local, &mut findings).await;
            self.examine_machines(local, &books, &mut findings).await?;
            self.examine_files(local, &books, &mut findings).await?;
            self.examine_networks(local, &books, &mut findings).await?;
        }
        self.examine_outside(&mut findings).await;
        self.examine_records(&books, &mut findings).await?;
        self.examine_tasks(&books, &mut findings).await?;
        Ok(findings)
    }
}
