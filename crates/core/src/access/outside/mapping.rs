//! What groups outside mean here.

use crate::access::Role;
use std::collections::BTreeSet;

/// What membership in one group outside gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The group outside: a DN, or a value of a provider's claim.
    pub group: String,
    /// A role; the mightiest of all that apply counts.
    pub role: Option<Role>,
    /// A group of ours, made when it is missing.
    pub into: Option<String>,
}

/// What people of one source become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The role of people to whom no rule gives another; none lets only those in whom a rule applies to.
    pub role: Option<Role>,
    /// What groups give.
    pub rules: Vec<Rule>,
}

impl Mapping {
    /// The role and the groups of somebody who is in these groups outside; none for somebody who may not come in.
    pub fn of(&self, groups: &[String]) -> Option<(Role, BTreeSet<&str>)> {
        let applies = |rule: &&Rule| groups.iter().any(|group| group == &rule.group);
        let rules: Vec<&Rule> = self.rules.iter().filter(applies).collect();
        // Without a role of its own a rule that applies still lets in, with the least role.
        let least = (!rules.is_empty()).then_some(Role::User);
        let given = rules.iter().filter_map(|rule| rule.role);
        let mightiest = Role::ALL.into_iter().find(|role| given.clone().any(|other| other == *role));
        let role = mightiest.or(self.role).or(least)?;
        Some((role, rules.iter().filter_map(|rule| rule.into.as_deref()).collect()))
    }

    /// Every group of ours that a rule speaks of: in those, people are by the mapping and by nothing else.
    pub(super) fn ours(&self) -> BTreeSet<&str> {
        self.rules.iter().filter_map(|rule| rule.into.as_deref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(group: &str, role: Option<Role>, into: Option<&str>) -> Rule {
        Rule { group: group.into(), role, into: into.map(str::to_owned) }
    }

    #[test]
    fn the_mightiest_role_counts_and_groups_add_up() {
        let rules = vec![
            rule("staff", Some(Role::AdvancedUser), Some("staff")),
            rule("root", Some(Role::Administrator), None),
            rule("guests", None, Some("guests")),
        ];
        let open = Mapping { role: Some(Role::ReadOnly), rules: rules.clone() };
        let of = |groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
            open.of(&groups)
                .map(|(role, into)| (role, into.into_iter().map(str::to_owned).collect::<Vec<_>>()))
        };
        assert_eq!(of(&[]), Some((Role::ReadOnly, vec![])));
        assert_eq!(of(&["staff", "root"]), Some((Role::Administrator, vec!["staff".into()])));
        assert_eq!(of(&["guests"]), Some((Role::ReadOnly, vec!["guests".into()])));
        let closed = Mapping { role: None, rules };
        assert_eq!(closed.of(&[]), None);
        assert_eq!(closed.of(&["others".into()]), None);
        assert_eq!(closed.of(&["guests".into()]).map(|(role, _)| role), Some(Role::User));
    }
}
