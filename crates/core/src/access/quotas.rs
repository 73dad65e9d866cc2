//! Quotas: what counts, for whom, and the commands that show and set them.
//!
//! Nothing keeps books of what is in use: the records themselves are counted, at the end of the very commit that would
//! add to them. What a task is growing counts from the moment that the task is ordered.

use super::{Account, Amounts, Caller, Group, Member, Quota, Subject};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, Result};
use crate::ids::{AccountId, QuotaId};
use crate::machines::Life;
use crate::pools::StockState;
use crate::ports::{Guard, StoreError};
use crate::query::Filter;
use crate::record::{Kind, Value};

/// Why what others may have is told to few.
const OTHERS: &str = "only an administrator may see the quotas of others";

/// Something that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Machines that are not gone.
    Machines,
    /// Their virtual processors.
    Vcpus,
    /// Their memory, MiB.
    MemoryMib,
    /// Volumes, MiB of virtual size.
    DiskMib,
    /// IP addresses.
    Addresses,
    /// Machines lent from pools.
    Checkouts,
}

impl Amount {
    /// Every amount.
    pub const ALL: [Self; 6] =
        [Self::Machines, Self::Vcpus, Self::MemoryMib, Self::DiskMib, Self::Addresses, Self::Checkouts];

    fn of(self, amounts: &Amounts) -> Option<i64> {
        match self {
            Self::Machines => amounts.machines,
            Self::Vcpus => amounts.vcpus,
            Self::MemoryMib => amounts.memory_mib,
            Self::DiskMib => amounts.disk_mib,
            Self::Addresses => amounts.addresses,
            Self::Checkouts => amounts.checkouts,
        }
    }

    fn set(self, amounts: &mut Amounts, value: i64) {
        let place = match self {
            Self::Machines => &mut amounts.machines,
            Self::Vcpus => &mut amounts.vcpus,
            Self::MemoryMib => &mut amounts.memory_mib,
            Self::DiskMib => &mut amounts.disk_mib,
            Self::Addresses => &mut amounts.addresses,
            Self::Checkouts => &mut amounts.checkouts,
        };
        *place = Some(value);
    }

    /// Its words in messages.
    fn words(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::Vcpus => "vCPUs",
            Self::MemoryMib => "MiB of memory",
            Self::DiskMib => "MiB of disk",
            Self::Addresses => "IP addresses",
            Self::Checkouts => "checkouts",
        }
    }

    /// The records that count, and the column that is summed up.
    fn measure(self) -> (Kind, Option<&'static str>, Filter) {
        let present = || Filter::ne("life", Life::Gone.word());
        match self {
            Self::Machines => (Kind::Machine, None, present()),
            Self::Vcpus => (Kind::Machine, Some("vcpus"), present()),
            Self::MemoryMib => (Kind::Machine, Some("memory_mib"), present()),
            Self::DiskMib => (Kind::Volume, Some("size_mib"), Filter::All),
            Self::Addresses => (Kind::Address, None, Filter::All),
            Self::Checkouts => (Kind::Machine, None, Filter::eq("stock", StockState::Lent.word())),
        }
    }
}

/// What a subject has and may have.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowance {
    /// Whose.
    pub subject: Subject,
    /// Its login name, or the group's name.
    pub name: String,
    /// The limits; none is set means as much as there is.
    pub limits: Amounts,
    /// What is in use; for a group by all its members together.
    pub used: Amounts,
}

/// What belongs to a subject.
fn belonging(subject: Subject) -> Filter {
    match subject {
        Subject::Account(id) => Filter::eq("owner", id.0),
        Subject::Group(id) => {
            let members = Filter::NamedBy(Kind::Member, "account", Box::new(Filter::eq("in_group", id.0)));
            Filter::Through("owner", Kind::Account, Box::new(members))
        }
    }
}

impl Core {
    /// Holds these changes to the quotas of `owner` and its groups: they add so much of each amount. What does not grow
    /// is not looked at, so that a limit below what is in use stops nothing else.
    ///
    /// # Errors
    /// Unavailable only; a quota that is exceeded shows when the changes are committed.
    pub(crate) async fn within_quotas(
        &self,
        changes: &mut Changes,
        owner: AccountId,
        growth: &[(Amount, i64)],
    ) -> Result<()> {
        if growth.iter().all(|(_, asked)| *asked <= 0) {
            return Ok(());
        }
        for quota in self.quotas_of(owner).await? {
            let name = self.subject_name(quota.subject).await?;
            let mut limited = false;
            for (amount, asked) in growth.iter().copied().filter(|(_, asked)| *asked > 0) {
                let Some(at_most) = amount.of(&quota.limits) else { continue };
                let (kind, column, filter) = amount.measure();
                let filter = belonging(quota.subject).and(filter);
                let what = format!("{} of {} {name}", amount.words(), quota.subject.word());
                changes.commit.guards.push(Guard { kind, column, filter, at_most, asked, what });
                limited = true;
            }
            if limited {
                // A limit that is changed meanwhile counts as it is then.
                changes.unchanged(&quota);
            }
        }
        Ok(())
    }

    /// What these additions would exceed just now; none when they fit. The commit alone decides, by
    /// [`Core::within_quotas`]: this is for what cannot be refused there, or has nothing to
    /// commit yet.
    ///
    /// # Errors
    /// Unavailable only.
    pub(crate) async fn beyond_quotas(
        &self,
        owner: AccountId,
        growth: &[(Amount, i64)],
    ) -> Result<Option<Error>> {
        let mut asked = self.changes();
        self.within_quotas(&mut asked, owner, growth).await?;
        for guard in asked.commit.guards {
            let used = match guard.column {
                Some(column) => self.store().sum(guard.kind, column, guard.filter.clone()).await?,
                None => {
                    let count = self.store().count(guard.kind, guard.filter.clone()).await?;
                    i64::try_from(count).unwrap_or(i64::MAX)
                }
            };
            let found = used.saturating_add(guard.asked);
            if found > guard.at_most {
                return Ok(Some(StoreError::Exceeded { guard: Box::new(guard), found }.into()));
            }
        }
        Ok(None)
    }

    /// The quotas that apply to an account: its own and those of its groups.
    async fn quotas_of(&self, account: AccountId) -> Result<Vec<Quota>> {
        let member: Vec<Member> = self.all(Filter::eq("account", account.0)).await?;
        let groups = member.iter().map(|member| Value::Id(member.group.0));
        let subjects = std::iter::once(Value::Id(account.0)).chain(groups).collect();
        self.all(Filter::In("subject", subjects)).await
    }

    async fn subject_name(&self, subject: Subject) -> Result<String> {
        Ok(match subject {
            Subject::Account(id) => self.get::<Account>(id.0).await?.login,
            Subject::Group(id) => self.get::<Group>(id.0).await?.name,
        })
    }

    async fn allowance(&self, subject: Subject) -> Result<Allowance> {
        let quota: Option<Quota> = self.find_by("subject", subject.key()).await?;
        let mut used = Amounts::default();
        for amount in Amount::ALL {
            let (kind, column, filter) = amount.measure();
            let filter = belonging(subject).and(filter);
            let value = match column {
                Some(column) => self.store().sum(kind, column, filter).await?,
                None => i64::try_from(self.store().count(kind, filter).await?).unwrap_or(i64::MAX),
            };
            amount.set(&mut used, value);
        }
        let limits = quota.map(|quota| quota.limits).unwrap_or_default();
        Ok(Allowance { subject, name: self.subject_name(subject).await?, limits, used })
    }

    /// What the caller and each of its groups have and may have.
    ///
    /// # Errors
    /// Unavailable, when the store does not answer.
    pub async fn quota_own(&self, caller: &Caller) -> Result<Vec<Allowance>> {
        let mut own = vec![self.allowance(Subject::Account(caller.account)).await?];
        for group in caller.groups.iter() {
            own.push(self.allowance(Subject::Group(*group)).await?);
        }
        Ok(own)
    }

    /// What a subject has and may have. Everybody may ask for itself and its groups.
    ///
    /// # Errors
    /// Denied; not found.
    pub async fn quota_get(&self, caller: &Caller, subject: Subject) -> Result<Allowance> {
        let own = match subject {
            Subject::Account(id) => id == caller.account,
            Subject::Group(id) => caller.groups.contains(&id),
        };
        if !own && !caller.sees_everything() {
            return Err(self.deny(caller, "quota.show", None, OTHERS).await);
        }
        self.allowance(subject).await
    }

    /// Everybody for whom something is limited.
    ///
    /// # Errors
    /// Denied.
    pub async fn quota_list(&self, caller: &Caller) -> Result<Vec<Allowance>> {
        if !caller.sees_everything() {
            return Err(self.deny(caller, "quota.list", None, OTHERS).await);
        }
        let mut list = Vec::new();
        for quota in self.all::<Quota>(Filter::All).await? {
            list.push(self.allowance(quota.subject).await?);
        }
        Ok(list)
    }

    /// Limits a subject to these amounts, in place of what limited it before. Limits below what is in use take nothing
    /// away and stop what would grow.
    ///
    /// # Errors
    /// Denied; not found; invalid for negative amounts.
    pub async fn quota_set(&self, caller: &Caller, subject: Subject, limits: Amounts) -> Result<Allowance> {
        self.administers(caller, "quota.set", "set quotas").await?;
        let negative = Amount::ALL.into_iter().find(|amount| amount.of(&limits).is_some_and(|most| most < 0));
        if let Some(amount) = negative {
            return Err(Error::invalid("limits", format!("a limit of {} is not negative", amount.words())));
        }
        decided(async || self.quota_set_once(caller, subject, limits).await).await?;
        self.allowance(subject).await
    }

    async fn quota_set_once(
        &self,
        caller: &Caller,
        subject: Subject,
        limits: Amounts,
    ) -> Result<(), Attempt> {
        let mut changes = self.changes();
        match self.find_by::<Quota>("subject", subject.key()).await? {
            Some(quota) if limits == Amounts::default() => changes.delete(&quota),
            Some(quota) => changes.update(&Quota { limits, ..quota })?,
            None => {
                let (id, created_at) = (QuotaId(self.ids().uuid()), changes.now());
                changes.insert(&Quota { id, number: 0, rev: 0, subject, limits, created_at })?;
            }
        }
        self.subject_unchanged(&mut changes, subject).await?;
        let name = self.subject_name(subject).await?;
        self.deed_about(&mut changes, caller, "quota.set", (subject.word(), subject.key(), &name))?;
        match self.commit(changes).await {
            Err(StoreError::Taken { .. }) => Err(Attempt::Stale),
            other => Ok(other.map(drop)?),
        }
    }
}
