//! Writing and reading the audit trail.
//!
//! What a command changes and the line that tells of it are one commit. What was refused has no commit of its own, so
//! it is written apart, and at most [`MOST`] times a minute for each caller: nobody fills the database by being denied.

use super::{Caller, Deed, Outcome, Via};
use crate::core::{Changes, Core, ListAsk, Page};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AccountId, DeedId};
use crate::query::Filter;
use crate::record::{Kind, Record};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// Refusals written in a minute for one login name or address.
const MOST: u32 = 10;
/// Callers remembered in a minute; more are not written.
const CALLERS: usize = 1024;

/// What somebody tried, when it did not come to a commit.
#[derive(Clone, Debug)]
pub struct Attempted<'a> {
    /// The account, if it is known.
    pub account: Option<AccountId>,
    /// The login name, or the one that was tried; cut to 128 bytes.
    pub login: &'a str,
    /// What, `account.login` for instance.
    pub action: &'a str,
    /// Kind and key of the object, if there is one.
    pub object: Option<(Kind, Uuid)>,
    /// How it came.
    pub via: &'a Via,
    /// Denied or failed.
    pub outcome: Outcome,
    /// Why; must not hold a secret.
    pub reason: &'a str,
}

/// How many refusals were written in this minute, by login name and address.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<(i64, HashMap<String, u32>)>);

impl Refusals {
    /// Whether one more of this caller is written.
    fn admits(&self, minute: i64, who: String) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.0 != minute {
            *counted = (minute, HashMap::new());
        }
        if counted.1.len() >= CALLERS && !counted.1.contains_key(&who) {
            return false;
        }
        let count = counted.1.entry(who).or_default();
        *count += 1;
        *count <= MOST
    }
}

impl Core {
    /// Writes into these changes that the caller made them, and with what.
    pub(crate) fn deed<R: Record>(
        &self,
        changes: &mut Changes,
        caller: &Caller,
        action: &str,
        record: &R,
    ) -> Result<()> {
        let summary = record.summary().unwrap_or_default();
        let name = summary.get("name").and_then(|name| name.as_str()).unwrap_or_default();
        self.deed_about(changes, caller, action, (R::KIND.word(), record.key(), name))
    }

    /// The same for an object given by its kind, key and name.
    pub(crate) fn deed_about(
        &self,
        changes: &mut Changes,
        caller: &Caller,
        action: &str,
        (object_kind, object, object_name): (&str, Uuid, &str),
    ) -> Result<()> {
        changes.insert(&Deed {
            object_kind: object_kind.to_owned(),
            object: Some(object),
            object_name: object_name.to_owned(),
            ..self.done(caller, action)
        })
    }

    /// Writes down that the caller does something whose changes are no single commit, before it is done.
    ///
    /// # Errors
    /// When the store does not answer; then it must not be done.
    pub(crate) async fn note_deed(
        &self,
        caller: &Caller,
        action: &str,
        (object_kind, object_name): (&str, &str),
    ) -> Result<()> {
        let mut changes = self.changes();
        changes.insert(&Deed {
            object_kind: object_kind.to_owned(),
            object_name: object_name.to_owned(),
            ..self.done(caller, action)
        })?;
        self.commit(changes).await?;
        Ok(())
    }

    /// The line of something that the caller does, about nothing yet.
    fn done(&self, caller: &Caller, action: &str) -> Deed {
        let line = self.line(Some(caller.account), &caller.login, action, &caller.via, Outcome::Done);
        Deed { credential: caller.credential.map(|credential| credential.0), ..line }
    }

    /// A line about nothing yet.
    fn line(
        &self,
        account: Option<AccountId>,
        login: &str,
        action: &str,
        via: &Via,
        outcome: Outcome,
    ) -> Deed {
        Deed {
            id: DeedId(self.ids().uuid()),
            number: 0,
            rev: 0,
            account,
            login: login.to_owned(),
            action: action.to_owned(),
            object_kind: String::new(),
            object: None,
            object_name: String::new(),
            door: via.door.to_owned(),
            address: via.address,
            credential: None,
            outcome,
            reason: None,
            created_at: self.now(),
        }
    }

    /// Writes down something that was denied or that failed, at most ten times a minute for each login name and address.
    /// Whether it could be written changes nothing for the caller.
    pub async fn note_refusal(&self, tried: &Attempted<'_>) {
        let minute = self.now().0.div_euclid(60_000);
        let address = tried.via.address.map(|address| address.to_string()).unwrap_or_default();
        if !self.refusals().admits(minute, format!("{} {address}", short(tried.login))) {
            return;
        }
        let deed = Deed {
            object_kind: tried.object.map_or("", |(kind, _)| kind.word()).to_owned(),
            object: tried.object.map(|(_, id)| id),
            reason: Some(tried.reason.to_owned()),
            ..self.line(tried.account, short(tried.login), tried.action, tried.via, tried.outcome)
        };
        let mut changes = self.changes();
        let written = match changes.insert(&deed) {
            Ok(()) => self.commit(changes).await.map(drop).map_err(Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(
                error = error.chain(),
                action = tried.action,
                "a refusal is not in the audit trail"
            );
        }
    }

    /// Writes down that the caller was denied something, and answers the denial.
    pub(crate) async fn denied(
        &self,
        caller: &Caller,
        action: &str,
        object: Option<(Kind, Uuid)>,
        error: Error,
    ) -> Error {
        if error.kind == ErrorKind::Denied {
            let tried = Attempted {
                account: Some(caller.account),
                login: &caller.login,
                action,
                object,
                via: &caller.via,
                outcome: Outcome::Denied,
                reason: &error.text,
            };
            self.note_refusal(&tried).await;
        }
        error
    }

    /// Writes down that a door denied the caller a whole function, `action`, before any command was asked.
    pub async fn note_denial(&self, caller: &Caller, action: &str, reason: &str) {
        self.deny(caller, action, None, reason).await;
    }

    /// The denial of something for this reason, written down.
    pub(crate) async fn deny(
        &self,
        caller: &Caller,
        action: &str,
        object: Option<(Kind, Uuid)>,
        text: &str,
    ) -> Error {
        self.denied(caller, action, object, Error::denied(text)).await
    }

    /// The caller may make objects of its own; a denial is written down as that of `machine.create` and the like.
    ///
    /// # Errors
    /// Denied.
    pub(crate) async fn creates(&self, caller: &Caller, what: &str) -> Result<()> {
        match caller.may_create(what) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.denied(caller, &format!("{what}.create"), None, error).await),
        }
    }

    /// The caller may do what concerns the whole installation; a denial is written down under `action`.
    ///
    /// # Errors
    /// Denied.
    pub(crate) async fn administers(&self, caller: &Caller, action: &str, words: &str) -> Result<()> {
        match caller.may_administer(words) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.denied(caller, action, None, error).await),
        }
    }

    /// The audit trail, oldest first unless ordered otherwise. Whoever sees everything sees all of it, others what they
    /// did themselves.
    pub async fn audit_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Deed>> {
        if !caller.sees_everything() {
            ask.filter = Filter::eq("account", caller.account.0).and(ask.filter);
        }
        self.page(ask).await
    }
}

/// What is kept of a login name that somebody tried.
fn short(login: &str) -> &str {
    &login[..login.floor_char_boundary(128)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_caller_are_bounded_each_minute() {
        let refusals = Refusals::default();
        let admitted = |minute, who: &str, times: u32| {
            (0..times).filter(|_| refusals.admits(minute, who.to_owned())).count()
        };
        assert_eq!(admitted(1, "a", 50), 10);
        assert_eq!(admitted(1, "b", 3), 3);
        assert_eq!(admitted(2, "a", 50), 10);
        for number in 0..CALLERS {
            refusals.admits(2, number.to_string());
        }
        assert!(!refusals.admits(2, "one too many".to_owned()));
    }
}
