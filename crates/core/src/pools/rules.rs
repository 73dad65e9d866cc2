//! What holds for all pools, from the configuration.

use super::Checkout;
use super::model::Pool;
use super::spec::LONGEST_S;
use crate::error::{Error, Result};
use regex::Regex;
use std::collections::BTreeMap;

/// What callers without a token may do at the vmpooler door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Everything that vmpooler lets them do.
    #[default]
    Full,
    /// Look.
    Read,
    /// Nothing.
    Off,
}

/// Tags of one checkout, and bytes of a key and of a value, at most.
const MOST_TAGS: usize = 100;
const MOST_KEY: usize = 255;
const MOST_VALUE: usize = 4096;

/// What holds for all pools.
#[derive(Clone, Debug)]
pub struct PoolRules {
    /// Whether a checkout made through the vmpooler door needs its own owner, too.
    pub strict_ownership: bool,
    /// What callers without a token may do there.
    pub anonymous: Anonymous,
    /// Seconds that a machine is lent for, unless its pool says otherwise; 0 for ever.
    pub lifetime_s: u64,
    /// The same for who comes with a token.
    pub lifetime_with_token_s: Option<u64>,
    /// No lifetime reaches this.
    pub lifetime_max_s: Option<u64>,
    /// The only keys that tags may have; empty means any.
    pub allowed_tags: Vec<String>,
    /// What is kept of the values of tags with these keys: the groups of the expression, where it matches.
    pub tag_filters: Vec<(String, Regex)>,
    /// Machines of one name that one request may ask for.
    pub request_most: u32,
    /// Machines being made for requests at the same time.
    pub request_clones: u32,
    /// Seconds that a request has to become ready.
    pub request_deadline_s: u64,
    /// Machines of a request that may fail before it does.
    pub request_retries: u32,
    /// Machines being made for all pools at the same time.
    pub clones: u32,
}

/// Refuses a lifetime in seconds whose end no calendar has; 0 has none.
pub(super) fn check_century(lifetime_s: u64) -> Result<()> {
    if lifetime_s > LONGEST_S {
        let text = "no time is longer than a century";
        return Err(Error::invalid("lifetime", text).hint("a lifetime of 0 has no end"));
    }
    Ok(())
}

impl Default for PoolRules {
    fn default() -> Self {
        Self {
            strict_ownership: false,
            anonymous: Anonymous::default(),
            lifetime_s: 12 * 3600,
            lifetime_with_token_s: None,
            lifetime_max_s: None,
            allowed_tags: Vec::new(),
            tag_filters: Vec::new(),
            request_most: 10,
            request_clones: 10,
            request_deadline_s: 300,
            request_retries: 3,
            clones: 10,
        }
    }
}

impl PoolRules {
    /// Seconds that a checkout lasts in all; 0 for ever.
    pub fn lifetime(&self, pool: Option<&Pool>, checkout: &Checkout) -> u64 {
        let pools = || pool.and_then(|pool| pool.spec.lifetime_s);
        checkout.lifetime_s.or_else(pools).unwrap_or(self.lifetime_s)
    }

    /// Seconds that whoever comes with a token gets, where that differs.
    pub(crate) fn lifetime_with_token(&self, pool: &Pool) -> Option<u64> {
        pool.spec.lifetime_with_token_s.or(self.lifetime_with_token_s)
    }

    /// Refuses a lifetime in seconds that is too long for a pool; the bound itself is.
    ///
    /// # Errors
    /// Invalid.
    pub(crate) fn check_lifetime(&self, pool: Option<&Pool>, lifetime_s: u64) -> Result<()> {
        check_century(lifetime_s)?;
        let pools = pool.and_then(|pool| pool.spec.lifetime_max_s);
        let Some(most) = pools.or(self.lifetime_max_s) else { return Ok(()) };
        if lifetime_s == 0 || lifetime_s >= most {
            let text = format!("a lifetime is shorter than {most} s here, and this is {lifetime_s} s");
            return Err(Error::invalid("lifetime", text).hint("it counts from the beginning of the checkout"));
        }
        Ok(())
    }

    /// Tags as they are kept: empty values left out, filters applied.
    ///
    /// # Errors
    /// Invalid, for a key that is not allowed, or for too much.
    pub(crate) fn tags(&self, tags: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        if tags.len() > MOST_TAGS {
            return Err(Error::invalid("tags", format!("a checkout has at most {MOST_TAGS} tags")));
        }
        if let Some(key) = tags.keys().find(|key| !self.allows(key)) {
            let text = format!("the tag `{key}` is not allowed; these are: {}", self.allowed_tags.join(", "));
            return Err(Error::invalid("tags", text));
        }
        let fits = |key: &str, value: &str| {
            !key.is_empty()
                && key.len() <= MOST_KEY
                && value.len() <= MOST_VALUE
                && !key.contains('\0')
                && !value.contains('\0')
        };
        if !tags.iter().all(|(key, value)| fits(key, value)) {
            let text = format!("keys of tags have 1 to {MOST_KEY} bytes, values at most {MOST_VALUE}");
            return Err(Error::invalid("tags", text));
        }
        let kept = tags.iter().filter(|(_, value)| !value.is_empty());
        Ok(kept.map(|(key, value)| (key.clone(), self.filtered(key, value))).collect())
    }

    fn allows(&self, key: &str) -> bool {
        self.allowed_tags.is_empty() || self.allowed_tags.iter().any(|allowed| allowed == key)
    }

    fn filtered(&self, key: &str, value: &str) -> String {
        let filter = self.tag_filters.iter().find(|(name, _)| name == key);
        let Some(found) = filter.and_then(|(_, filter)| filter.captures(value)) else {
            return value.to_owned();
        };
        found.iter().skip(1).flatten().map(|group| group.as_str()).collect()
    }
}

/// The tags of a checkout after some more.
///
/// # Errors
/// Invalid, when there would be too many.
pub(crate) fn merged(
    mut here: BTreeMap<String, String>,
    more: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    here.extend(more);
    if here.len() > MOST_TAGS {
        return Err(Error::invalid("tags", format!("a checkout has at most {MOST_TAGS} tags")));
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_filter_keeps_its_groups_and_leaves_what_it_does_not_match() {
        let filter = ("url".to_owned(), Regex::new(r"(.*)\/").unwrap());
        let rules = PoolRules { tag_filters: vec![filter], ..PoolRules::default() };
        let kept = rules.tags(&tags(&[("url", "foo.com/x.html"), ("other", "a/b"), ("empty", "")])).unwrap();
        assert_eq!(kept, tags(&[("url", "foo.com"), ("other", "a/b")]));
        assert_eq!(rules.tags(&tags(&[("url", "plain")])).unwrap(), tags(&[("url", "plain")]));
    }

    #[test]
    fn keys_that_are_not_allowed_and_too_many_tags_are_refused() {
        let rules = PoolRules { allowed_tags: vec!["user".into()], ..PoolRules::default() };
        assert!(rules.tags(&tags(&[("user", "a")])).is_ok());
        assert!(rules.tags(&tags(&[("user", "a"), ("other", "b")])).is_err());
        let many: BTreeMap<_, _> = (0..1000).map(|place| (format!("t{place}"), "x".to_owned())).collect();
        assert!(PoolRules::default().tags(&many).is_err());
        let half: BTreeMap<_, _> = (0..60).map(|place| (format!("a{place}"), "x".to_owned())).collect();
        let other: BTreeMap<_, _> = (0..60).map(|place| (format!("b{place}"), "x".to_owned())).collect();
        assert!(merged(half, other).is_err());
    }

    #[test]
    fn the_bound_of_lifetimes_is_exclusive_and_for_ever_reaches_it() {
        let rules = PoolRules { lifetime_max_s: Some(3600), ..PoolRules::default() };
        assert!(rules.check_lifetime(None, 3599).is_ok());
        for long in [3600, 3601, u64::MAX, 0] {
            assert!(rules.check_lifetime(None, long).is_err(), "{long}");
        }
        let usual = PoolRules::default();
        assert!([0, 1, LONGEST_S].iter().all(|time| usual.check_lifetime(None, *time).is_ok()));
        assert!([LONGEST_S + 1, u64::MAX].iter().all(|time| usual.check_lifetime(None, *time).is_err()));
    }
}
