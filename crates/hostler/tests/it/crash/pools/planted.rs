//! Lies planted into a history that was really recorded: each is what a bug would have left behind, and the checker must
//! name the rule that it breaks.

use super::check::{Wanted, check};
use super::history::{Asked, Entry, Outcome, Record, State, Stock};
use anyhow::{Context, Result, ensure};

type Lie = fn(&mut Record) -> Option<()>;

const LIES: [(&str, &str, Lie); 9] = [
    ("a machine is handed out to two clients", "TWICE", handed_out_twice),
    ("a returned machine is handed out again", "TWICE", handed_out_again),
    ("a promised checkout is not in the books", "LOST", checkout_undone),
    ("a machine vanishes from the books", "LOST", vanished),
    ("a machine is lent to another than was told", "LOST", another_has_it),
    ("a promised change is not in the books", "CHANGE LOST", change_undone),
    ("a machine that was given back is still lent", "NOT TAKEN BACK", not_taken_back),
    ("half of a checkout is answered", "NOT ALL OR NOTHING", half_answered),
    ("a pool is filled beyond its size", "TOO MANY", overfilled),
];

/// Plants each lie by itself.
pub(super) fn all_are_caught(record: &Record, wanted: &Wanted) -> Result<()> {
    for (what, rule, lie) in LIES {
        let mut told = record.clone();
        lie(&mut told).with_context(|| format!("the history is too poor to plant this: {what}"))?;
        let wrong = check(&told, wanted);
        ensure!(
            wrong.iter().any(|sentence| sentence.starts_with(&format!("{rule}:"))),
            "{what}, and nobody says {rule}: {wrong:?}"
        );
    }
    Ok(())
}

/// Checkouts of one machine that were promised, by place.
fn singles(record: &Record) -> Vec<usize> {
    let single = |entry: &Entry| matches!(&entry.outcome, Outcome::Acknowledged { lent } if lent.len() == 1);
    (0..record.entries.len()).filter(|place| single(&record.entries[*place])).collect()
}

fn handed_out_twice(record: &mut Record) -> Option<()> {
    let singles = singles(record);
    let same = |one: usize, other: usize| {
        let (one, other) = (&record.entries[one], &record.entries[other]);
        one.asked == other.asked && one.client != other.client
    };
    let (one, other) =
        singles.iter().zip(singles.iter().skip(1)).find(|(one, other)| same(**one, **other))?;
    record.entries[*other].outcome = record.entries[*one].outcome.clone();
    Some(())
}

/// The name of a machine whose return was promised, and where the history has that.
fn returned(record: &Record) -> Option<(String, u64)> {
    record.entries.iter().find_map(|entry| match &entry.asked {
        Asked::Return { machine } if entry.is_promised() => Some((machine.clone(), entry.ended)),
        _ => None,
    })
}

fn handed_out_again(record: &mut Record) -> Option<()> {
    let (machine, ended) = returned(record)?;
    let later = singles(record).into_iter().find(|place| record.entries[*place].began > ended)?;
    let Outcome::Acknowledged { lent } = &mut record.entries[later].outcome else { return None };
    lent[0].1 = machine;
    Some(())
}

/// A machine in the last look that is lent by a promise, and with this about it.
fn lent(record: &mut Record, also: fn(&Stock) -> bool) -> Option<(String, &mut Stock)> {
    let promised: std::collections::BTreeSet<String> = record
        .entries
        .iter()
        .filter_map(|entry| match &entry.outcome {
            Outcome::Acknowledged { lent } => Some(lent.iter().map(|(_, name)| name.clone())),
            _ => None,
        })
        .flatten()
        .collect();
    let look = record.looks.last_mut()?;
    let mut stock = look.stock.iter_mut();
    let (name, one) =
        stock.find(|(name, one)| one.state == State::Lent && promised.contains(*name) && also(one))?;
    Some((name.clone(), one))
}

fn checkout_undone(record: &mut Record) -> Option<()> {
    let (_, one) = lent(record, |_| true)?;
    (one.state, one.client) = (State::Ready, None);
    Some(())
}

fn vanished(record: &mut Record) -> Option<()> {
    let (name, _) = lent(record, |_| true)?;
    record.looks.last_mut()?.stock.remove(&name).map(drop)
}

fn another_has_it(record: &mut Record) -> Option<()> {
    let (_, one) = lent(record, |_| true)?;
    one.client = one.client.clone().map(|client| client.map(|client| client + 1));
    Some(())
}

fn change_undone(record: &mut Record) -> Option<()> {
    let settled = |machine: &str, field: &str| {
        let mut changes = record.entries.iter().filter(|entry| {
            entry.may_be_done()
                && matches!(&entry.asked, Asked::Change { machine: of, field: what, .. } if of == machine && what == field)
        });
        changes.all(Entry::is_promised)
    };
    let look = record.looks.last()?;
    let found = look.stock.iter().find_map(|(name, one)| {
        let field = one.fields.keys().find(|field| settled(name, field))?;
        (one.state == State::Lent).then(|| (name.clone(), field.clone()))
    });
    let (name, field) = found?;
    record.looks.last_mut()?.stock.get_mut(&name)?.fields.remove(&field).map(drop)
}

fn not_taken_back(record: &mut Record) -> Option<()> {
    let (machine, ended) = returned(record)?;
    for look in record.looks.iter_mut().filter(|look| look.began > ended) {
        let one = look.stock.get_mut(&machine)?;
        (one.state, one.gone) = (State::Lent, false);
    }
    Some(())
}

fn half_answered(record: &mut Record) -> Option<()> {
    let several =
        |entry: &&mut Entry| matches!(&entry.outcome, Outcome::Acknowledged { lent } if lent.len() > 1);
    let entry = record.entries.iter_mut().find(several)?;
    let Outcome::Acknowledged { lent } = &mut entry.outcome else { return None };
    lent.pop().map(drop)
}

fn overfilled(record: &mut Record) -> Option<()> {
    let look = record.looks.last_mut()?;
    let ready = look.stock.values().find(|one| one.state == State::Ready)?.clone();
    look.stock.insert("one-too-many".into(), ready);
    Some(())
}
