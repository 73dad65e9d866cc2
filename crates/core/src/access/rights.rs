//! The one place that decides what a caller may do with an object.
//!
//! [`standing`] is the rule, pure and complete; everything else here brings it what it needs to know. Lists apply the
//! same rule inside their query by [`Caller::visible`], streams of events by [`Sight`](crate::events::Sight).

use super::{Action, Caller, Grant, Role};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::query::Filter;
use crate::record::{Kind, Record, Value};
use std::collections::BTreeSet;
use std::fmt::Display;
use uuid::Uuid;

/// What a command does: its name in the audit trail, and the action that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Act {
    /// Its name, `machine.start` for instance.
    pub(crate) name: &'static str,
    /// What must be allowed on the object.
    pub(crate) action: Action,
}

impl Act {
    pub(crate) const fn new(name: &'static str, action: Action) -> Self {
        Self { name, action }
    }
}

/// An object, as far as rights on it are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) id: Uuid,
    /// Whose it is; none for what belongs to the installation.
    pub(crate) owner: Option<AccountId>,
}

impl Object {
    pub(crate) fn of<R: Record>(record: &R) -> Self {
        Self { kind: R::KIND, id: record.key(), owner: record.owner() }
    }

    /// Networks, templates, media and pools are there for everybody: to see, and to make, equip and lend machines with.
    fn is_shared(self) -> bool {
        matches!(self.kind, Kind::Network | Kind::Template | Kind::Medium | Kind::Pool)
    }
}

/// How a caller stands to an action on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It must not learn that the object exists.
    Unseen,
    /// It may see the object and not do this.
    Sees,
    /// It may do this.
    May,
}

/// The rule. `granted` is what the caller and its groups were granted on the object.
///
/// An administrator and the owner may do everything, a reader of everything sees everything and does nothing, others do
/// exactly what was granted, and see whatever they were granted anything on. The scope of a credential takes away from
/// what may be done, never from what is seen.
pub(crate) fn standing(
    caller: &Caller,
    object: Object,
    granted: &BTreeSet<Action>,
    action: Action,
) -> Standing {
    let owns = object.owner == Some(caller.account);
    let given = granted.contains(&action) || granted.contains(&Action::All);
    let everyones = object.is_shared() && matches!(action, Action::Use | Action::Attach);
    let may = match caller.role {
        Role::Administrator => true,
        Role::ReadOnly => false,
        Role::AdvancedUser | Role::User => owns || given || everyones,
    };
    if may && (everyones || caller.is_scoped_for(action.word())) {
        return Standing::May;
    }
    let sees = caller.sees_everything() || owns || object.is_shared() || !granted.is_empty();
    if sees { Standing::Sees } else { Standing::Unseen }
}

impl Caller {
    /// Whether its credential is good for actions of this word. `all` in a scope stands for every word.
    pub(crate) fn is_scoped_for(&self, word: &str) -> bool {
        let Some(scope) = &self.scope else { return true };
        scope.iter().any(|allowed| allowed == word || allowed == Action::All.word())
    }

    /// The caller may do what concerns the whole installation.
    pub(crate) fn may_administer(&self, deed: &str) -> Result<()> {
        if !self.is_administrator() {
            return Err(Error::denied(format!("only an administrator may {deed}")));
        }
        if !self.is_scoped_for(Action::All.word()) {
            return Err(Error::denied(format!("this credential is not good to {deed}")));
        }
        Ok(())
    }

    /// The caller may make objects of its own.
    pub(crate) fn may_create(&self, what: &str) -> Result<()> {
        if self.role == Role::ReadOnly {
            return Err(Error::denied("this account sees everything and changes nothing"));
        }
        if !self.is_scoped_for("create") {
            return Err(Error::denied(format!("this credential is not good to make a {what}")));
        }
        Ok(())
    }

    /// What a list of owned objects is narrowed to, inside the query.
    pub(crate) fn visible(&self) -> Filter {
        self.narrowed(|granted| vec![granted])
    }

    /// The same for what is seen through the machine that it belongs to.
    pub(crate) fn visible_through_machine(&self) -> Filter {
        self.narrowed(|granted| vec![Filter::Through("machine", Kind::Machine, Box::new(granted))])
    }

    /// The same for tasks: the caller's, and those of the objects that it sees.
    pub(crate) fn visible_tasks(&self) -> Filter {
        self.narrowed(|_| {
            let seen = |kind| Filter::Through("subject", kind, Box::new(self.visible()));
            let of_machine = Box::new(self.visible_through_machine());
            let snapshots = Filter::Through("subject", Kind::Snapshot, of_machine);
            vec![seen(Kind::Machine), seen(Kind::Volume), snapshots]
        })
    }

    fn narrowed(&self, beside: impl FnOnce(Filter) -> Vec<Filter>) -> Filter {
        if self.sees_everything() {
            return Filter::All;
        }
        let granted = Filter::NamedBy(Kind::Grant, "object", Box::new(self.grants()));
        let mut any = beside(granted);
        any.insert(0, Filter::eq("owner", self.account.0));
        Filter::Or(any)
    }

    /// The grants to the caller and its groups.
    pub(crate) fn grants(&self) -> Filter {
        let groups = self.groups.iter().map(|group| Value::Id(group.0));
        Filter::In("subject", std::iter::once(Value::Id(self.account.0)).chain(groups).collect())
    }
}

impl Core {
    /// What the caller was granted on an object, itself or through its groups.
    pub(crate) async fn granted(&self, caller: &Caller, object: Uuid) -> Result<BTreeSet<Action>> {
        let grants: Vec<Grant> = self.all(Filter::eq("object", object).and(caller.grants())).await?;
        Ok(grants.into_iter().flat_map(|grant| grant.actions).collect())
    }

    /// How the caller stands to an action on an object.
    pub(crate) async fn standing(&self, caller: &Caller, object: Object, action: Action) -> Result<Standing> {
        let without = standing(caller, object, &BTreeSet::new(), action);
        // Grants neither lift what a role or a scope takes away, nor add to what the owner has.
        if without == Standing::May || caller.sees_everything() || object.owner == Some(caller.account) {
            return Ok(without);
        }
        Ok(standing(caller, object, &self.granted(caller, object.id).await?, action))
    }

    /// The caller may see an object; `key` is what it was asked for by.
    ///
    /// # Errors
    /// Not found.
    pub(crate) async fn sees(&self, caller: &Caller, object: Object, key: impl Display) -> Result<()> {
        match self.standing(caller, object, Action::Use).await? {
            Standing::Unseen => Err(Error::not_found(object.kind.word(), key)),
            Standing::Sees | Standing::May => Ok(()),
        }
    }

    /// The caller may do this with an object; `key` is what it was asked for by.
    ///
    /// # Errors
    /// Not found, when it may not see the object; denied.
    pub(crate) async fn may(
        &self,
        caller: &Caller,
        act: Act,
        object: Object,
        key: impl Display,
    ) -> Result<()> {
        match self.standing(caller, object, act.action).await? {
            Standing::May => Ok(()),
            Standing::Unseen => Err(Error::not_found(object.kind.word(), key)),
            Standing::Sees => {
                let (kind, word) = (object.kind.word(), act.action.word());
                let text = format!("you may see {kind} {key}, but not do this with it");
                let error = Error::denied(text).hint(format!("it takes the action `{word}`"));
                Err(self.denied(caller, act.name, Some((object.kind, object.id)), error).await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Via;
    use uuid::Uuid;

    const ME: AccountId = AccountId(Uuid::from_u128(1));
    const OTHER: AccountId = AccountId(Uuid::from_u128(2));

    fn caller(role: Role, scope: Option<&[&str]>) -> Caller {
        Caller {
            account: ME,
            login: "me".into(),
            role,
            groups: [].into(),
            credential: None,
            scope: scope.map(|words| words.iter().map(|word| (*word).to_owned()).collect()),
            via: Via::ITSELF,
            footing: None,
        }
    }

    /// What each relation is worth, for an action that is granted and for one that is not.
    #[test]
    fn every_action_for_every_relation() {
        use Standing::{May, Sees, Unseen};
        let user = || caller(Role::User, None);
        let (mine, theirs) = (Some(ME), Some(OTHER));
        for action in Action::ALL {
            let none = BTreeSet::new();
            let this = BTreeSet::from([action]);
            let all = BTreeSet::from([Action::All]);
            let another = Action::ALL.into_iter().find(|one| *one != action && *one != Action::All).unwrap();
            let wrong = BTreeSet::from([another]);
            let scoped = |words: &[&str]| caller(Role::User, Some(words));
            for (who, what, owner, granted, expected) in [
                ("a stranger", user(), theirs, &none, Unseen),
                ("a stranger to what is nobody's", user(), None, &none, Unseen),
                ("an advanced stranger", caller(Role::AdvancedUser, None), theirs, &none, Unseen),
                ("the owner", user(), mine, &none, May),
                ("one who was granted this", user(), theirs, &this, May),
                ("one who was granted all", user(), theirs, &all, May),
                ("one who was granted another", user(), theirs, &wrong, Sees),
                ("a reader of everything", caller(Role::ReadOnly, None), theirs, &none, Sees),
                ("a reader who owns it", caller(Role::ReadOnly, None), mine, &all, Sees),
                ("an administrator", caller(Role::Administrator, None), theirs, &none, May),
                ("the owner, scoped for this", scoped(&[action.word()]), mine, &none, May),
                ("the owner, scoped for all", scoped(&["all"]), mine, &none, May),
                ("the owner, scoped for another", scoped(&[another.word()]), mine, &none, Sees),
                ("the owner, scoped for nothing", scoped(&[]), mine, &none, Sees),
                ("a grant out of scope", scoped(&[another.word()]), theirs, &this, Sees),
                ("a stranger, scoped for this", scoped(&[action.word()]), theirs, &none, Unseen),
                (
                    "an administrator, scoped for another",
                    caller(Role::Administrator, Some(&[another.word()])),
                    theirs,
                    &none,
                    Sees,
                ),
            ] {
                let object = Object { kind: Kind::Machine, id: Uuid::nil(), owner };
                assert_eq!(standing(&what, object, granted, action), expected, "{who}: {action:?}");
            }
        }
    }

    #[test]
    fn what_is_shared_is_used_by_everybody_and_changed_by_few() {
        let user = caller(Role::User, Some(&["use"]));
        for kind in [Kind::Network, Kind::Template, Kind::Medium] {
            let object = Object { kind, id: Uuid::nil(), owner: None };
            let none = BTreeSet::new();
            for (action, expected) in [
                (Action::Use, Standing::May),
                (Action::Attach, Standing::May),
                (Action::Alter, Standing::Sees),
                (Action::Delete, Standing::Sees),
                (Action::All, Standing::Sees),
            ] {
                assert_eq!(standing(&user, object, &none, action), expected, "{kind:?} {action:?}");
            }
            assert_eq!(standing(&caller(Role::ReadOnly, None), object, &none, Action::Use), Standing::Sees);
        }
    }

    #[test]
    fn roles_and_scopes_decide_on_what_has_no_object() {
        assert!(caller(Role::User, None).may_administer("do this").is_err());
        assert!(caller(Role::ReadOnly, None).may_administer("do this").is_err());
        assert!(caller(Role::Administrator, None).may_administer("do this").is_ok());
        assert!(caller(Role::Administrator, Some(&["use"])).may_administer("do this").is_err());
        assert!(caller(Role::User, None).may_create("machine").is_ok());
        assert!(caller(Role::ReadOnly, None).may_create("machine").is_err());
        assert!(caller(Role::User, Some(&["use"])).may_create("machine").is_err());
        assert!(caller(Role::User, Some(&["create"])).may_create("machine").is_ok());
    }

    #[test]
    fn lists_are_narrowed_by_owner_and_grants() {
        assert_eq!(caller(Role::Administrator, None).visible(), Filter::All);
        assert_eq!(caller(Role::ReadOnly, None).visible(), Filter::All);
        let granted =
            Filter::NamedBy(Kind::Grant, "object", Box::new(Filter::In("subject", vec![ME.0.into()])));
        let expected = Filter::Or(vec![Filter::eq("owner", ME.0), granted]);
        assert_eq!(caller(Role::User, None).visible(), expected);
    }
}
