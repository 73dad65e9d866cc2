//! The checker sees what it must see, in histories written by hand.

use super::check::{Wanted, at_rest, check};
use super::history::{Asked, Entry, Look, Outcome, Record, State, Stock};
use std::collections::BTreeMap;

fn wanted() -> Wanted {
    let names = BTreeMap::from([("a", vec!["a"]), ("b", vec!["b"]), ("any", vec!["a", "b"])]);
    Wanted { sizes: BTreeMap::from([("a", 2), ("b", 1)]), names }
}

fn entry(at: u64, client: usize, asked: Asked, outcome: Outcome) -> Entry {
    Entry { began: at, ended: at + 1, client, asked, outcome }
}

fn checkout(at: u64, client: usize, machines: &[(&str, &str)]) -> Entry {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in machines {
        *counts.entry((*name).to_owned()).or_default() += 1;
    }
    let lent = machines.iter().map(|(name, machine)| ((*name).to_owned(), (*machine).to_owned())).collect();
    let asked = Asked::Checkout { wanted: counts.into_iter().collect() };
    entry(at, client, asked, Outcome::Acknowledged { lent })
}

fn done() -> Outcome {
    Outcome::Acknowledged { lent: Vec::new() }
}

fn tag(machine: &str, value: &str) -> Asked {
    Asked::Change { machine: machine.into(), field: "tag:t".into(), value: value.into() }
}

fn end(machine: &str) -> Asked {
    Asked::Return { machine: machine.into() }
}

fn stands(pool: &str, state: State) -> Stock {
    let fields = BTreeMap::new();
    Stock { pool: pool.into(), state, gone: false, client: None, lent_at: 0, fields }
}

fn lent(pool: &str, client: usize, tags: &[&str]) -> Stock {
    let fields = tags.iter().map(|value| ("tag:t".to_owned(), (*value).to_owned())).collect();
    Stock { client: Some(Ok(client)), lent_at: 7, fields, ..stands(pool, State::Lent) }
}

fn look(at: u64, stock: &[(&str, Stock)]) -> Look {
    let stock = stock.iter().map(|(name, one)| ((*name).to_owned(), one.clone())).collect();
    Look { began: at, ended: at + 1, stock }
}

fn told(entries: Vec<Entry>, looks: Vec<Look>) -> Vec<String> {
    check(&Record { entries, looks }, &wanted())
}

#[track_caller]
fn flags(wrong: &[String], rule: &str) {
    assert!(wrong.iter().any(|sentence| sentence.starts_with(rule)), "`{rule}` is not among {wrong:?}");
}

#[track_caller]
fn peace(wrong: &[String]) {
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_is_right_is_left_alone() {
    let entries = vec![
        checkout(10, 1, &[("a", "x")]),
        entry(20, 1, tag("x", "one"), done()),
        entry(30, 1, end("x"), done()),
    ];
    let mut returned = Stock { state: State::Returned, gone: true, ..lent("a", 1, &["one"]) };
    let looks = vec![
        look(1, &[("x", stands("a", State::Ready))]),
        look(12, &[("x", lent("a", 1, &[])), ("y", stands("a", State::Filling))]),
        look(22, &[("x", lent("a", 1, &["one"])), ("y", stands("a", State::Ready))]),
        look(32, &[("x", returned.clone()), ("y", stands("a", State::Ready))]),
    ];
    peace(&told(entries.clone(), looks.clone()));
    returned.state = State::Lent;
    flags(&told(entries, vec![look(32, &[("x", returned)])]), "NOT TAKEN BACK");
}

#[test]
fn a_machine_that_two_were_told_of_is_seen() {
    let entries = vec![checkout(1, 1, &[("a", "x")]), checkout(5, 2, &[("a", "x")])];
    flags(&told(entries, vec![]), "TWICE: machine x was lent to client 1 and to client 2");
    // Also after its return: machines are never lent again.
    let again =
        vec![checkout(1, 1, &[("a", "x")]), entry(3, 1, end("x"), done()), checkout(5, 2, &[("a", "x")])];
    flags(&told(again, vec![]), "TWICE");
}

#[test]
fn a_machine_that_two_gave_back_is_seen() {
    let entries =
        vec![checkout(1, 1, &[("a", "x")]), entry(3, 1, end("x"), done()), entry(5, 2, end("x"), done())];
    flags(&told(entries, vec![]), "TWICE: machine x was taken back");
}

#[test]
fn a_promised_checkout_that_is_lost_is_seen() {
    let entries = vec![checkout(1, 1, &[("a", "x")])];
    flags(
        &told(entries.clone(), vec![look(5, &[])]),
        "LOST: machine x, lent to client 1, is not in the books",
    );
    for other in [stands("a", State::Ready), lent("a", 2, &[])] {
        flags(&told(entries.clone(), vec![look(5, &[("x", other)])]), "LOST");
    }
    let gone = Stock { state: State::Returned, ..lent("a", 1, &[]) };
    flags(&told(entries.clone(), vec![look(5, &[("x", gone)])]), "LOST: machine x is Returned, and nobody");
    // A look that began before the answer may not see it yet.
    peace(&told(entries, vec![Look { began: 1, ..look(5, &[("x", stands("a", State::Ready))]) }]));
}

#[test]
fn a_machine_that_was_lent_before_anybody_asked_is_seen() {
    let wrong = told(vec![checkout(10, 1, &[("a", "x")])], vec![look(1, &[("x", lent("a", 1, &[]))])]);
    flags(&wrong, "TWICE: machine x was Lent before it was asked for");
}

#[test]
fn a_promised_change_that_is_lost_is_seen() {
    let entries = vec![checkout(1, 1, &[("a", "x")]), entry(3, 1, tag("x", "one"), done())];
    flags(
        &told(entries.clone(), vec![look(9, &[("x", lent("a", 1, &[]))])]),
        "CHANGE LOST: tag:t of machine x",
    );
    flags(&told(entries.clone(), vec![look(9, &[("x", lent("a", 1, &["two"]))])]), "CHANGE LOST");
    let mut later = entries;
    later.push(entry(6, 1, tag("x", "two"), done()));
    flags(&told(later, vec![look(9, &[("x", lent("a", 1, &["one"]))])]), "CHANGE LOST");
}

#[test]
fn a_change_without_an_answer_may_be_there_or_not_and_a_refused_one_is_not() {
    let unknown = |outcome| vec![checkout(1, 1, &[("a", "x")]), entry(3, 1, tag("x", "one"), outcome)];
    for tags in [&[][..], &["one"]] {
        peace(&told(unknown(Outcome::Unknown), vec![look(9, &[("x", lent("a", 1, tags))])]));
    }
    let refused = unknown(Outcome::Refused { status: 404 });
    flags(&told(refused, vec![look(9, &[("x", lent("a", 1, &["one"]))])]), "CHANGE LOST");
    // Nor may it come back after a later one was promised.
    let mut entries = unknown(Outcome::Unknown);
    entries.push(entry(6, 1, tag("x", "two"), done()));
    peace(&told(entries.clone(), vec![look(9, &[("x", lent("a", 1, &["two"]))])]));
    flags(&told(entries, vec![look(9, &[("x", lent("a", 1, &["one"]))])]), "CHANGE LOST");
}

#[test]
fn a_change_after_the_end_is_seen() {
    let entries = vec![
        checkout(1, 1, &[("a", "x")]),
        entry(3, 1, end("x"), done()),
        entry(5, 1, tag("x", "one"), done()),
    ];
    flags(&told(entries, vec![]), "AFTER ITS END: tag:t of machine x");
}

#[test]
fn a_return_without_an_answer_may_have_been_or_not() {
    let entries = vec![checkout(1, 1, &[("a", "x")]), entry(3, 1, end("x"), Outcome::Unknown)];
    let back = Stock { state: State::Returned, ..lent("a", 1, &[]) };
    for one in [lent("a", 1, &[]), back] {
        peace(&told(entries.clone(), vec![look(9, &[("x", one)])]));
    }
}

#[test]
fn a_checkout_without_an_answer_has_all_or_nothing() {
    let asked = Asked::Checkout { wanted: vec![("a".into(), 1), ("b".into(), 1)] };
    let entries = vec![entry(1, 1, asked, Outcome::Unknown)];
    let (one, other) = (("x", lent("a", 1, &[])), ("y", lent("b", 1, &[])));
    peace(&told(entries.clone(), vec![look(9, &[])]));
    peace(&told(entries.clone(), vec![look(9, &[one.clone(), other.clone()])]));
    let half = told(entries.clone(), vec![look(9, std::slice::from_ref(&one))]);
    flags(&half, "NOT ALL OR NOTHING: client 1");
    let anothers = ("x", lent("a", 2, &[]));
    flags(&told(entries.clone(), vec![look(9, &[anothers])]), "NOT ALL OR NOTHING: client 2");
    // One request explains one checkout, not two.
    let second = |name, pool| (name, Stock { lent_at: 8, ..lent(pool, 1, &[]) });
    let twice = told(entries, vec![look(9, &[one, other, second("v", "a"), second("w", "b")])]);
    flags(&twice, "NOT ALL OR NOTHING");
}

#[test]
fn what_a_refused_checkout_took_is_seen() {
    let asked = Asked::Checkout { wanted: vec![("a".into(), 1)] };
    let entries = vec![entry(1, 1, asked, Outcome::Refused { status: 503 })];
    flags(&told(entries, vec![look(9, &[("x", lent("a", 1, &[]))])]), "NOT ALL OR NOTHING");
}

#[test]
fn fewer_machines_or_those_of_another_pool_are_seen() {
    let mut short = checkout(1, 1, &[("a", "x")]);
    short.asked = Asked::Checkout { wanted: vec![("a".into(), 2)] };
    flags(&told(vec![short], vec![]), "NOT ALL OR NOTHING");
    let other = told(vec![checkout(1, 1, &[("a", "x")])], vec![look(5, &[("x", lent("b", 1, &[]))])]);
    flags(&other, "NOT WHAT WAS ASKED");
    peace(&told(vec![checkout(1, 1, &[("any", "x")])], vec![look(5, &[("x", lent("b", 1, &[]))])]));
}

#[test]
fn stock_beyond_the_size_is_seen() {
    let stock = [
        ("x", stands("a", State::Ready)),
        ("y", stands("a", State::Ready)),
        ("z", stands("a", State::Filling)),
    ];
    flags(&told(vec![], vec![look(1, &stock)]), "TOO MANY: pool a of size 2 has a stock of 3");
    peace(&told(vec![], vec![look(1, &stock[..2])]));
}

#[test]
fn a_machine_that_goes_back_or_vanishes_is_seen() {
    let was = look(1, &[("x", Stock { state: State::Returned, ..lent("a", 1, &[]) })]);
    flags(&told(vec![], vec![was.clone(), look(5, &[])]), "LOST: machine x was Returned and is not");
    let again = look(5, &[("x", stands("a", State::Ready))]);
    flags(&told(vec![], vec![was, again]), "TWICE: machine x was Returned and is Ready again");
    let moved = [look(1, &[("x", lent("a", 1, &[]))]), look(5, &[("x", lent("a", 2, &[]))])];
    flags(&told(vec![], moved.to_vec()), "TWICE: machine x went from");
}

#[test]
fn server_errors_and_strangers_are_seen() {
    let broken = vec![entry(1, 1, end("x"), Outcome::Refused { status: 500 })];
    flags(&told(broken, vec![]), "SERVER ERROR");
    let nobodys = Stock { client: Some(Err("t".into())), ..lent("a", 1, &[]) };
    flags(&told(vec![], vec![look(1, &[("x", nobodys)])]), "NOBODY'S");
    let unowned = stands("a", State::Lent);
    flags(&told(vec![], vec![look(1, &[("x", unowned)])]), "NOBODY'S");
}

#[test]
fn at_rest_pools_are_full_and_nothing_is_halfway() {
    let ready = |pool| stands(pool, State::Ready);
    let mut stock = vec![("x", ready("a")), ("y", ready("a")), ("z", ready("b")), ("l", lent("a", 1, &[]))];
    peace(&at_rest(&look(1, &stock), &wanted()));
    stock.push(("r", Stock { state: State::Returned, gone: true, ..lent("a", 1, &[]) }));
    peace(&at_rest(&look(1, &stock), &wanted()));
    stock.push(("h", Stock { state: State::Returned, ..lent("a", 1, &[]) }));
    flags(&at_rest(&look(1, &stock), &wanted()), "LOST: machine h is Returned");
    flags(&at_rest(&look(1, &stock[1..4]), &wanted()), "LOST: pool a has 1 ready");
}
