//! The one place that decides what a caller may do.

use super::Caller;
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::query::Filter;
use std::fmt::Display;

impl Caller {
    /// The caller may see and change an object of `owner`. Others are told that it does not exist.
    pub(crate) fn may_use(&self, owner: AccountId, what: &'static str, key: impl Display) -> Result<()> {
        if self.is_administrator() || self.account == owner {
            return Ok(());
        }
        Err(Error::not_found(what, key))
    }

    /// The caller may do what concerns the whole installation.
    pub(crate) fn may_administer(&self, deed: &str) -> Result<()> {
        if self.is_administrator() {
            return Ok(());
        }
        Err(Error::denied(format!("only an administrator may {deed}")))
    }

    /// What a list of owned objects is narrowed to, inside the query.
    pub(crate) fn visible(&self) -> Filter {
        if self.is_administrator() { Filter::All } else { Filter::eq("owner", self.account.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, Via};
    use crate::error::ErrorKind;
    use uuid::Uuid;

    #[test]
    fn rights_follow_role_and_ownership() {
        let (me, other) = (AccountId(Uuid::from_u128(1)), AccountId(Uuid::from_u128(2)));
        let caller = |role| Caller {
            account: me,
            login: "me".into(),
            role,
            groups: [].into(),
            credential: None,
            scope: None,
            via: Via::ITSELF,
        };
        let kind = |result: Result<()>| result.map_err(|error| error.kind);
        assert_eq!(kind(caller(Role::User).may_use(me, "machine", "a")), Ok(()));
        assert_eq!(kind(caller(Role::User).may_use(other, "machine", "a")), Err(ErrorKind::NotFound));
        assert_eq!(kind(caller(Role::Administrator).may_use(other, "machine", "a")), Ok(()));
        assert_eq!(kind(caller(Role::User).may_administer("do this")), Err(ErrorKind::Denied));
        assert_eq!(caller(Role::Administrator).visible(), Filter::All);
        assert_eq!(caller(Role::User).visible(), Filter::eq("owner", me.0));
    }
}
