//! Two accounts that nobody logs in to: whose the stock of pools is, and who callers without a token are. They are made
//! when they are first needed.

use super::Anonymous;
use crate::access::{Account, Caller, Origin, Role, Via};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::ports::StoreError;

/// Whose the stock of pools is.
const KEEPER: &str = "hostler";
/// Who callers without a token are.
const ANONYMOUS: &str = "anonymous";

/// The two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuiltIn {
    keeper: AccountId,
    anonymous: AccountId,
}

impl Core {
    async fn built_in(&self) -> Result<BuiltIn> {
        let made = async || {
            Ok(BuiltIn {
                keeper: self.account_built_in(KEEPER).await?,
                anonymous: self.account_built_in(ANONYMOUS).await?,
            })
        };
        self.book().accounts.get_or_try_init(made).await.copied()
    }

    async fn account_built_in(&self, login: &str) -> Result<AccountId> {
        loop {
            if let Some(account) = self.find_by::<Account>("login", login).await? {
                return Ok(account.id);
            }
            let mut changes = self.changes();
            let account = Account {
                id: AccountId(self.ids().uuid()),
                number: 0,
                rev: 0,
                login: login.to_owned(),
                email: format!("{login}@built-in.invalid"),
                full_name: String::new(),
                password: None,
                role: Role::User,
                enabled: true,
                origin: Origin::Local,
                created_at: changes.now(),
            };
            changes.insert(&account)?;
            match self.commit(changes).await {
                Ok(_) => return Ok(account.id),
                // Another process was faster.
                Err(StoreError::Taken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// hostler itself, as the owner of what stands in pools.
    pub(crate) async fn pool_owner(&self) -> Result<Caller> {
        let account = self.built_in().await?.keeper;
        Ok(Caller {
            account,
            login: KEEPER.to_owned(),
            role: Role::Administrator,
            groups: [].into(),
            credential: None,
            scope: None,
            via: Via::ITSELF,
            footing: None,
        })
    }

    /// Whoever comes through the vmpooler door without a token.
    ///
    /// # Errors
    /// Unauthenticated, where nobody may come in like that.
    pub async fn anonymous(&self, via: Via) -> Result<Caller> {
        let scope = match self.pool_rules().anonymous {
            Anonymous::Full => None,
            Anonymous::Read => Some([].into()),
            Anonymous::Off => {
                return Err(Error::unauthenticated("a token is needed here").hint("send X-AUTH-TOKEN"));
            }
        };
        let account = self.built_in().await?.anonymous;
        Ok(Caller {
            account,
            login: ANONYMOUS.to_owned(),
            role: Role::User,
            groups: [].into(),
            credential: None,
            scope,
            via,
            footing: None,
        })
    }
}
