//! Holds what clients of pools were promised against what the books said. Pure, so that it can be shown to fail.
//!
//! Each sentence begins with the rule that was broken.

use super::history::{Asked, Entry, Look, Outcome, Record, State, Stock};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What pools shall be: their sizes, and which of them answer to a name.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub sizes: BTreeMap<&'static str, usize>,
    pub names: BTreeMap<&'static str, Vec<&'static str>>,
}

/// Everything that is wrong, each in a sentence.
pub(super) fn check(record: &Record, wanted: &Wanted) -> Vec<String> {
    let mut wrong = answers(record, wanted);
    let machines = Machines::of(record);
    for look in &record.looks {
        wrong.extend(promises(&machines, look));
        wrong.extend(unasked(record, &machines, look, wanted));
        wrong.extend(sizes(look, wanted));
    }
    for pair in record.looks.windows(2) {
        wrong.extend(way(&pair[0], &pair[1]));
    }
    wrong
}

/// What is left when all work has ended: full pools, what is lent, and nothing else.
pub(super) fn at_rest(look: &Look, wanted: &Wanted) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, one) in look.stock.iter().filter(|(_, one)| !one.gone) {
        if !matches!(one.state, State::Ready | State::Lent) {
            wrong.push(format!("LOST: machine {name} is {:?} and has not come to an end", one.state));
        }
    }
    for (pool, size) in &wanted.sizes {
        let ready = counted(look, pool, &[State::Ready]);
        if ready != *size {
            wrong.push(format!("LOST: pool {pool} has {ready} ready machines and shall have {size}"));
        }
    }
    wrong
}

/// What was asked about one machine.
#[derive(Default)]
struct Machine<'a> {
    /// The checkouts that were answered with it, and the name it was asked for by.
    lent: Vec<(&'a Entry, &'a str)>,
    changes: Vec<(&'a Entry, &'a str, &'a str)>,
    returns: Vec<&'a Entry>,
}

/// Machines by name, as far as clients heard of them.
struct Machines<'a>(HashMap<&'a str, Machine<'a>>);

impl<'a> Machines<'a> {
    fn of(record: &'a Record) -> Self {
        let mut machines: HashMap<&str, Machine<'_>> = HashMap::new();
        for entry in record.entries.iter().filter(|entry| entry.may_be_done()) {
            match (&entry.asked, &entry.outcome) {
                (Asked::Checkout { .. }, Outcome::Acknowledged { lent }) => {
                    for (asked, name) in lent {
                        machines.entry(name).or_default().lent.push((entry, asked));
                    }
                }
                (Asked::Change { machine, field, value }, _) => {
                    machines.entry(machine).or_default().changes.push((entry, field, value));
                }
                (Asked::Return { machine }, _) => machines.entry(machine).or_default().returns.push(entry),
                (Asked::Checkout { .. }, _) => {}
            }
        }
        Self(machines)
    }
}

/// What can be told from the answers alone.
fn answers(record: &Record, wanted: &Wanted) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in &record.entries {
        match (&entry.asked, &entry.outcome) {
            // vmpooler's word for an empty pool is 503.
            (_, Outcome::Refused { status }) if *status >= 500 && *status != 503 => {
                wrong.push(format!("SERVER ERROR: {:?} was answered with {status}", entry.asked));
            }
            (Asked::Checkout { wanted: asked }, Outcome::Acknowledged { lent }) => {
                for (name, count) in asked {
                    let got = lent.iter().filter(|(by, _)| by == name).count();
                    if got != *count {
                        wrong.push(format!(
                            "NOT ALL OR NOTHING: {count} of {name} were asked for, {got} came"
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    for (name, machine) in Machines::of(record).0 {
        if let [(first, _), (second, _), ..] = machine.lent[..] {
            let (one, other) = (first.client, second.client);
            wrong.push(format!("TWICE: machine {name} was lent to client {one} and to client {other}"));
        }
        let ended: Vec<&&Entry> = machine.returns.iter().filter(|entry| entry.is_promised()).collect();
        if let [first, second, ..] = ended[..] {
            let (one, other) = (first.client, second.client);
            wrong.push(format!("TWICE: machine {name} was taken back from client {one} and client {other}"));
        }
        for (change, field, _) in machine.changes.iter().filter(|(change, ..)| change.is_promised()) {
            if ended.iter().any(|end| end.ended < change.began) {
                wrong.push(format!("AFTER ITS END: {field} of machine {name} was changed"));
            }
        }
    }
    let known: BTreeSet<&str> = wanted.names.keys().copied().collect();
    for entry in &record.entries {
        if let (Asked::Checkout { wanted: asked }, Outcome::Acknowledged { .. }) =
            (&entry.asked, &entry.outcome)
            && asked.iter().any(|(name, _)| !known.contains(name.as_str()))
        {
            wrong.push(format!("NOT WHAT WAS ASKED: there is no pool for {asked:?}"));
        }
    }
    wrong
}

/// What was promised by the time of this look, and what cannot have happened by then.
fn promises(machines: &Machines<'_>, look: &Look) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, machine) in &machines.0 {
        let Some((checkout, _)) = machine.lent.first() else { continue };
        let Some(one) = look.stock.get(*name) else {
            if checkout.ended < look.began {
                let client = checkout.client;
                wrong.push(format!("LOST: machine {name}, lent to client {client}, is not in the books"));
            }
            continue;
        };
        if checkout.began > look.ended && one.state > State::Ready {
            wrong.push(format!("TWICE: machine {name} was {:?} before it was asked for", one.state));
        }
        if checkout.ended < look.began {
            wrong.extend(kept(name, machine, checkout, one, look));
        }
    }
    wrong
}

/// A checkout that was promised before this look.
fn kept(name: &str, machine: &Machine<'_>, checkout: &Entry, one: &Stock, look: &Look) -> Vec<String> {
    let mut wrong = Vec::new();
    let client = checkout.client;
    if one.client != Some(Ok(client)) {
        wrong.push(format!(
            "LOST: machine {name} was lent to client {client}, the books have it {:?}, of client {:?}",
            one.state, one.client
        ));
    }
    let returned = machine.returns.iter().any(|end| end.is_promised() && end.ended < look.began);
    let perhaps = machine.returns.iter().any(|end| end.began < look.ended);
    if one.state < State::Lent {
        wrong.push(format!("LOST: machine {name} was lent to client {client}, and is {:?}", one.state));
    } else if one.state > State::Lent && !perhaps {
        wrong.push(format!("LOST: machine {name} is {:?}, and nobody gave it back", one.state));
    } else if one.state == State::Lent && returned {
        wrong.push(format!("NOT TAKEN BACK: machine {name} was given back, and is lent"));
    }
    let mut fields: BTreeSet<&str> = one.fields.keys().map(String::as_str).collect();
    fields.extend(machine.changes.iter().map(|(_, field, _)| *field));
    for field in fields {
        let possible = possible(machine, field, look);
        let value = one.fields.get(field).map(String::as_str);
        if !possible.contains(&value) {
            wrong.push(format!(
                "CHANGE LOST: {field} of machine {name} is {value:?}, but may only be {possible:?}"
            ));
        }
    }
    wrong
}

/// The values that a field may have: those of changes that had begun, unless a promised one came between them and the
/// look.
fn possible<'a>(machine: &Machine<'a>, field: &str, look: &Look) -> BTreeSet<Option<&'a str>> {
    let changes = || machine.changes.iter().filter(|(_, of, _)| *of == field);
    let settled = || changes().filter(|(change, ..)| change.is_promised() && change.ended < look.began);
    let begun = changes().filter(|(change, ..)| change.began < look.ended);
    let left = begun.filter(|(change, ..)| !settled().any(|(later, ..)| later.began > change.ended));
    let first = if settled().next().is_none() { Some(None) } else { None };
    left.map(|(_, _, value)| Some(*value)).chain(first).collect()
}

/// What is lent without a promise must be what a checkout without an answer asked for: all of it.
fn unasked(record: &Record, machines: &Machines<'_>, look: &Look, wanted: &Wanted) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut unpromised: BTreeMap<(usize, i64), Vec<&str>> = BTreeMap::new();
    for (name, one) in &look.stock {
        match &one.client {
            Some(Err(token)) => wrong.push(format!("NOBODY'S: machine {name} was lent with token {token}")),
            Some(Ok(client)) => {
                if let Some((_, asked)) =
                    machines.0.get(name.as_str()).and_then(|machine| machine.lent.first())
                {
                    if !answers_to(wanted, &one.pool, asked) {
                        wrong.push(format!("NOT WHAT WAS ASKED: machine {name} of {} for {asked}", one.pool));
                    }
                } else {
                    unpromised.entry((*client, one.lent_at)).or_default().push(&one.pool);
                }
            }
            None if one.state == State::Lent => {
                wrong.push(format!("NOBODY'S: machine {name} is lent to nobody"));
            }
            None => {}
        }
    }
    let mut used = BTreeSet::new();
    for ((client, _), pools) in unpromised {
        let fits = record.entries.iter().enumerate().find(|(place, entry)| {
            entry.client == client
                && entry.outcome == Outcome::Unknown
                && entry.began < look.ended
                && !used.contains(place)
                && matches!(&entry.asked, Asked::Checkout { wanted: asked } if could_be(wanted, asked, &pools))
        });
        match fits {
            Some((place, _)) => drop(used.insert(place)),
            None => wrong.push(format!(
                "NOT ALL OR NOTHING: client {client} has machines of {pools:?} that no checkout without an answer asked for"
            )),
        }
    }
    wrong
}

fn answers_to(wanted: &Wanted, pool: &str, name: &str) -> bool {
    wanted.names.get(name).is_some_and(|pools| pools.contains(&pool))
}

/// Whether machines of these pools are what was asked for.
fn could_be(wanted: &Wanted, asked: &[(String, usize)], pools: &[&str]) -> bool {
    let total: usize = asked.iter().map(|(_, count)| count).sum();
    total == pools.len()
        && asked
            .iter()
            .all(|(name, count)| pools.iter().filter(|pool| answers_to(wanted, pool, name)).count() >= *count)
}

fn counted(look: &Look, pool: &str, states: &[State]) -> usize {
    let of = |one: &&Stock| one.pool == pool && !one.gone && states.contains(&one.state);
    look.stock.values().filter(of).count()
}

/// Nothing is made beyond the size.
fn sizes(look: &Look, wanted: &Wanted) -> Vec<String> {
    let mut wrong = Vec::new();
    for (pool, size) in &wanted.sizes {
        let stock = counted(look, pool, &[State::Ready, State::Filling]);
        if stock > *size {
            wrong.push(format!("TOO MANY: pool {pool} of size {size} has a stock of {stock}"));
        }
    }
    wrong
}

/// A machine goes its way in one direction, and its record stays.
fn way(before: &Look, after: &Look) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, was) in &before.stock {
        let Some(is) = after.stock.get(name) else {
            wrong.push(format!("LOST: machine {name} was {:?} and is not in the books any more", was.state));
            continue;
        };
        if is.state < was.state {
            let (from, to) = (was.state, is.state);
            wrong.push(format!("TWICE: machine {name} was {from:?} and is {to:?} again"));
        }
        if was.client.is_some() && is.client != was.client {
            wrong.push(format!("TWICE: machine {name} went from {:?} to {:?}", was.client, is.client));
        }
        if was.gone && !is.gone {
            wrong.push(format!("TWICE: machine {name} was gone and is there again"));
        }
    }
    wrong
}
