//! `checkout`, `checkouts`, `return`, `extend`, `tag`: machines of pools that are lent to whoever types.

use super::args::{lifetime, tag as read_tag, wanted};
use super::{request, show};
use crate::cli::Session;
use crate::cli::args::Listing;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Args;
use hostler_doors::native::types::{Accepted, CheckoutCreate, CheckoutEdit, Lent, Machine, StockState};
use reqwest::Method;
use std::collections::BTreeMap;
use std::time::Duration;

/// What an empty pool is answered with.
const EMPTY: &str = "empty_pool";

/// Options of `checkout`.
#[derive(Args, Debug)]
#[command(after_help = "\
All that are asked for are lent, or none: then the exit code is 6. With --wait it is 6 when they could not
be made in time.

Examples:
  hostler checkout ci
  hostler checkout ci=2 db --lifetime 2h --tag job=17
  hostler checkout ci --wait --deadline 5m")]
pub(in crate::cli) struct Checkout {
    /// Pool, by its name or an alias, and how many of it
    #[arg(required = true, value_name = "POOL[=COUNT]", value_parser = wanted)]
    pools: Vec<(String, u32)>,
    /// How long they are lent for, e.g. 2h; never for without an end [default: what is usual for the pool]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(super) lifetime: Option<u64>,
    /// Words of yours about them; repeatable
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = read_tag)]
    tags: Vec<(String, String)>,
    /// When they are not ready, have them made and wait for them
    #[arg(long)]
    wait: bool,
    /// Give up after this time, e.g. 5m, and take back what was asked for [default: the server's]
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = units::parse_duration)]
    pub(super) deadline: Option<Duration>,
}

/// Options of `return`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Return {
    /// Host names of the machines, or their ids
    #[arg(required = true, value_name = "NAME")]
    machines: Vec<String>,
}

/// Options of `extend`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hostler extend NAME 2h             it ends two hours later than it would
  hostler extend NAME 8h --in-all    it ends eight hours after it was lent
  hostler extend NAME never --in-all")]
pub(in crate::cli) struct Extend {
    /// Host name of the machine, or its id
    name: String,
    /// By how much, e.g. 2h
    #[arg(value_name = "TIME", value_parser = lifetime)]
    time: u64,
    /// It is the whole time that the machine is lent for, counted from the checkout; never for without an end
    #[arg(long)]
    in_all: bool,
}

/// Options of `tag`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  hostler tag NAME job=17 stage=build")]
pub(in crate::cli) struct Tag {
    /// Host name of the machine, or its id
    name: String,
    /// The tags; those that it has stay
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = read_tag)]
    tags: Vec<(String, String)>,
}

pub(in crate::cli) async fn checkout(session: &Session, ask: Checkout) -> Result<Exit, Failure> {
    let body =
        CheckoutCreate { pools: added(&ask.pools)?, lifetime_s: ask.lifetime, tags: unique(&ask.tags)? };
    let lent = match session.client.post::<Lent>(&["checkouts"], &body).await {
        Err(failure) if ask.wait && failure.code.as_deref() == Some(EMPTY) => {
            output::note(format_args!("{}; having them made", failure.text));
            request::made(session, &body, ask.deadline).await?
        }
        Err(failure) if failure.code.as_deref() == Some(EMPTY) => {
            let hint = failure.hint.clone().unwrap_or_default();
            return Err(failure.hint(format!("{hint}; with --wait it is made for you")));
        }
        lent => lent?.items,
    };
    session.show.list(&lent, &show::LENT, show::lent_row);
    Ok(Exit::DONE)
}

/// How many of which pool; one that is named twice is wanted as often.
fn added(pools: &[(String, u32)]) -> Result<BTreeMap<String, u32>, Failure> {
    let mut all: BTreeMap<String, u32> = BTreeMap::new();
    for (name, count) in pools {
        let sum = all.entry(name.clone()).or_default();
        *sum = sum.checked_add(*count).ok_or_else(|| Failure::usage(format!("too many of {name}")))?;
    }
    Ok(all)
}

/// Tags by key; a key that is given twice is most likely a slip.
fn unique(tags: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for (key, value) in tags {
        if all.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::usage(format!("the tag `{key}` is given twice")));
        }
    }
    Ok(all)
}

pub(in crate::cli) async fn checkouts(session: &Session, listing: Listing) -> Result<Exit, Failure> {
    let query = listing.query_or("-created_at");
    let lent: Vec<Machine> = session.client.list(&["checkouts"], &query, None).await?;
    session.show.list(&lent, &show::LENT, show::lent_row);
    Ok(Exit::DONE)
}

/// Returns each of the machines, also when another could not be; ends as the first that could not be.
pub(in crate::cli) async fn give_back(session: &Session, ask: Return) -> Result<Exit, Failure> {
    let mut done = Vec::new();
    let mut exit = Exit::DONE;
    for machine in &ask.machines {
        match session.client.delete::<Accepted<Machine>>(&["checkouts", machine]).await {
            Ok(accepted) => {
                if !session.show.is_json() {
                    output::line(format_args!("machine {} is returned", accepted.record.name));
                }
                done.push(accepted);
            }
            Err(failure) => {
                output::note(&failure);
                exit = if exit == Exit::DONE { failure.exit } else { exit };
            }
        }
    }
    if session.show.is_json() {
        output::json(&done);
    }
    Ok(exit)
}

pub(in crate::cli) async fn extend(session: &Session, ask: Extend) -> Result<Exit, Failure> {
    let lifetime_s = if ask.in_all { ask.time } else { longer(session, &ask).await? };
    let edit = CheckoutEdit { lifetime_s: Some(lifetime_s), tags: None };
    let machine = edited(session, &ask.name, &edit).await?;
    let checkout = machine.stock.as_ref().and_then(|stock| stock.checkout.as_ref());
    let ends = checkout.map(show::ends).unwrap_or_default();
    session.show.said(&machine, format_args!("machine {} ends {ends}", machine.name));
    Ok(Exit::DONE)
}

/// The lifetime that a checkout has with some more.
async fn longer(session: &Session, ask: &Extend) -> Result<u64, Failure> {
    if ask.time == 0 {
        return Err(Failure::usage("it can be lent for ever only in all").hint("add --in-all"));
    }
    let machine: Machine = session.client.get(&["checkouts", &ask.name]).await?;
    if machine.stock.as_ref().is_none_or(|stock| stock.state != StockState::Lent) {
        let text = format!("machine {} is not lent any more", machine.name);
        return Err(Failure::new(text).exit(Exit::NOT_FOUND));
    }
    let checkout = machine.stock.as_ref().and_then(|stock| stock.checkout.as_ref());
    let until = checkout.and_then(|checkout| checkout.until.as_deref());
    let (Some(checkout), Some(until)) = (checkout, until) else {
        let text = format!("machine {} is lent without an end", machine.name);
        return Err(Failure::new(text).exit(Exit::CONFLICT).hint("with --in-all it gets one"));
    };
    let senseless = |error| Failure::because("the server's answer makes no sense", &error);
    let at: jiff::Timestamp = checkout.at.parse().map_err(senseless)?;
    let until: jiff::Timestamp = until.parse().map_err(senseless)?;
    let now = u64::try_from(until.as_second() - at.as_second()).unwrap_or_default();
    Ok(now.saturating_add(ask.time))
}

pub(in crate::cli) async fn tag(session: &Session, ask: Tag) -> Result<Exit, Failure> {
    let edit = CheckoutEdit { lifetime_s: None, tags: Some(unique(&ask.tags)?) };
    let machine = edited(session, &ask.name, &edit).await?;
    session.show.list(std::slice::from_ref(&machine), &show::LENT, show::lent_row);
    Ok(Exit::DONE)
}

pub(super) async fn edited(session: &Session, name: &str, edit: &CheckoutEdit) -> Result<Machine, Failure> {
    let request = session.client.request(Method::PATCH, &["checkouts", name]).json(edit);
    session.client.json(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_named_twice_is_wanted_twice_and_a_tag_only_once() {
        let ask = |pools: &[(&str, u32)]| {
            pools.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>()
        };
        assert_eq!(added(&ask(&[("a", 1), ("b", 1), ("a", 2)])).unwrap()["a"], 3);
        assert_eq!(added(&ask(&[("a", u32::MAX), ("a", 1)])).unwrap_err().exit, Exit::USAGE);
        let tag = |value: &str| ("k".to_owned(), value.to_owned());
        assert_eq!(unique(&[tag("1")]).unwrap()["k"], "1");
        assert!(unique(&[tag("1"), tag("2")]).unwrap_err().text.contains("`k`"));
    }
}
