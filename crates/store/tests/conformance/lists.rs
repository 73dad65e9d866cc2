//! Lists: filters, orders and pages against an evaluator that does the same over rows in memory.

use crate::Fresh;
use crate::records::{account, commit, id, insert, machine, with};
use hostler_core::ports::{Alteration, StoreError};
use hostler_core::query::{self, Compare, Cursor, Filter, Select};
use hostler_core::record::{Document, Kind, Value};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cmp::Ordering;
use std::sync::LazyLock;
use uuid::Uuid;

const ROWS: u128 = 60;
const CASES: usize = 400;

const NAMES: [&str; 8] = ["alpha", "Alpha", "beta", "be_ta", "b%ta", "back\\slash", "", "ünïcode"];
const TEXTS: [&str; 9] = ["a", "ALPHA", "_", "%", "\\", "t", "", "ü", "present"];

const PATTERNS: [&str; 9] = ["%", "a%", "%A_", "_____%", "be\\_ta%", "back\\\\%", "1", "-%", "x\\"];

/// A row of the columns used here.
#[derive(Debug)]
struct Row {
    id: u128,
    name: String,
    life: &'static str,
    owner: u128,
    task: Option<u128>,
    vcpus: i64,
}

impl Row {
    fn document(&self) -> Document {
        let row = with(machine(self.id, &self.name), "life", self.life);
        let row = with(with(row, "owner", id(self.owner)), "vcpus", self.vcpus);
        with(row, "task", self.task.map(id))
    }

    fn kept(&self, column: &str) -> Value {
        match column {
            "id" => id(self.id).into(),
            "name" => self.name.as_str().into(),
            "life" => self.life.into(),
            "owner" => id(self.owner).into(),
            "task" => self.task.map(id).into(),
            "vcpus" => self.vcpus.into(),
            other => panic!("{other}"),
        }
    }
}

/// The owners that exist, by their keys; of the machines' rows some name none of them.
static OWNERS: LazyLock<Vec<Owner>> = LazyLock::new(|| {
    let owner = |key: u128| Owner { id: id(key), login: format!("{}{key}", NAMES[key as usize]) };
    (1..4).map(owner).collect()
});

#[derive(Debug)]
struct Owner {
    id: Uuid,
    login: String,
}

impl query::Row for Owner {
    fn value(&self, column: &str) -> Value {
        match column {
            "id" => self.id.into(),
            "login" => self.login.as_str().into(),
            other => panic!("{other}"),
        }
    }

    fn through(&self, _column: &str, _kind: Kind) -> Option<&dyn query::Row> {
        None
    }
}

impl query::Row for Row {
    fn value(&self, column: &str) -> Value {
        self.kept(column)
    }

    fn through(&self, column: &str, _kind: Kind) -> Option<&dyn query::Row> {
        let key = self.kept(column);
        OWNERS.iter().find(|owner| key == owner.id.into()).map(|owner| owner as &dyn query::Row)
    }
}

/// No value first; only values of one column are compared.
fn ordered(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Id(left), Value::Id(right)) => left.cmp(right),
        _ => panic!("{left:?} {right:?}"),
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0..NAMES.len(), 0..3_usize, 0..5_u128, proptest::option::of(0..6_u128), -2..4_i64);
    proptest::collection::vec(row, ROWS as usize).prop_map(|rows| {
        let row =
            |(key, (name, life, owner, task, vcpus)): (u128, (usize, usize, u128, Option<u128>, i64))| {
                // Names must differ among machines that are not gone.
                let life = ["present", "creating", "gone"][life];
                let name =
                    if life == "gone" { NAMES[name].to_owned() } else { format!("{}{key}", NAMES[name]) };
                Row { id: key, name, life, owner, task, vcpus }
            };
        (0..ROWS).zip(rows).map(row).collect()
    })
}

fn values(column: &'static str) -> impl Strategy<Value = Value> {
    let text = (0..TEXTS.len(), 0..NAMES.len(), any::<bool>())
        .prop_map(|(text, name, whole)| Value::from(if whole { NAMES[name] } else { TEXTS[text] }));
    let some = match column {
        "vcpus" => (-3..5_i64).prop_map(Value::from).boxed(),
        "name" | "life" => text.boxed(),
        _ => (0..7_u128).prop_map(|key| id(key).into()).boxed(),
    };
    prop_oneof![1 => Just(Value::Null), 6 => some]
}

fn columns() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["id", "name", "life", "owner", "task", "vcpus"])
}

fn filters() -> impl Strategy<Value = Filter> {
    let compares = [Compare::Eq, Compare::Ne, Compare::Lt, Compare::Gt, Compare::Le, Compare::Ge];
    let is = columns().prop_flat_map(move |column| {
        (proptest::sample::select(compares.to_vec()), values(column))
            .prop_map(move |(compare, value)| Filter::Is(column, compare, value))
    });
    let contains = (proptest::sample::select(vec!["name", "life"]), proptest::sample::select(TEXTS.to_vec()))
        .prop_map(|(column, text)| Filter::Is(column, Compare::Contains, text.into()));
    let among = columns().prop_flat_map(|column| {
        proptest::collection::vec(values(column), 0..4).prop_map(move |values| Filter::In(column, values))
    });
    let like = (
        proptest::sample::select(vec!["name", "life", "vcpus"]),
        proptest::sample::select(PATTERNS.to_vec()),
    )
        .prop_map(|(column, text)| Filter::Is(column, Compare::Like, text.into()));
    let folded = (proptest::sample::select(compares.to_vec()), values("name"))
        .prop_map(|(compare, value)| Filter::Folded("name", compare, value));
    let through = (any::<bool>(), proptest::sample::select(PATTERNS.to_vec())).prop_map(|(owner, text)| {
        let inner = Box::new(Filter::Is("login", Compare::Like, text.into()));
        Filter::Through(if owner { "owner" } else { "task" }, Kind::Account, inner)
    });
    let leaf = prop_oneof![
        1 => Just(Filter::All), 6 => is, 2 => contains, 2 => among, 2 => like, 2 => folded, 2 => through
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

pub(crate) async fn pages_counts_and_sums_match_the_evaluator(store: Fresh) {
    // The same cases each time: what fails here can be run again.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let rows = rows().new_tree(&mut runner).unwrap().current();
    let all = rows.iter().map(|row| Alteration::Insert(row.document())).collect();
    store.commit(commit(all)).await.unwrap();
    for owner in OWNERS.iter() {
        insert(&*store, account(owner.id.as_u128(), &owner.login)).await.unwrap();
    }
    let cases = (filters(), columns(), any::<bool>(), 1..20_u32);
    for _ in 0..CASES {
        let (filter, order, descending, limit) = cases.new_tree(&mut runner).unwrap().current();
        let case = format!("{filter:?} by {order}, descending {descending}, {limit} a page");

        let mut expected: Vec<&Row> = rows.iter().filter(|row| filter.holds(*row)).collect();
        expected.sort_by(|left, right| {
            ordered(&left.kept(order), &right.kept(order)).then(left.id.cmp(&right.id))
        });
        if descending {
            expected.reverse();
        }

        let mut found: Vec<u128> = Vec::new();
        let mut after = None;
        loop {
            let select = Select { filter: filter.clone(), order, descending, after, limit };
            let page = store.list(Kind::Machine, select).await.unwrap();
            found.extend(page.iter().map(|document| document.id.as_u128()));
            assert!(found.len() <= rows.len(), "{case}");
            if page.len() < limit as usize {
                break;
            }
            let last = page.last().unwrap().id;
            let row = rows.iter().find(|row| id(row.id) == last).unwrap();
            after = Some(Cursor { value: row.kept(order), id: last });
        }
        assert_eq!(found, expected.iter().map(|row| row.id).collect::<Vec<_>>(), "{case}");
        let count = store.count(Kind::Machine, filter.clone()).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{case}");
        let sum = store.sum(Kind::Machine, "vcpus", filter).await.unwrap();
        assert_eq!(sum, expected.iter().map(|row| row.vcpus).sum::<i64>(), "{case}");
    }
}

pub(crate) async fn the_first_of_several_is_found(store: Fresh) {
    for key in [5, 3, 4] {
        insert(&*store, machine(key, &format!("m{key}"))).await.unwrap();
    }
    let found = store.find(Kind::Machine, "owner", id(1).into()).await.unwrap().unwrap();
    assert_eq!(found.id, id(3));
}

pub(crate) async fn columns_that_do_not_exist_are_refused(store: Fresh) {
    let bad = "name = '' OR 1 = 1; --";
    let refused = [
        store.count(Kind::Machine, Filter::eq(bad, 1)).await.map(|_| ()),
        store.count(Kind::Machine, Filter::eq("login", "x")).await.map(|_| ()),
        store.count(Kind::Machine, Filter::eq("vcpus", "x")).await.map(|_| ()),
        store.list(Kind::Machine, Select { order: bad, ..Select::new(Filter::All, 1) }).await.map(|_| ()),
        store.find(Kind::Machine, bad, 1.into()).await.map(|_| ()),
        store.sum(Kind::Machine, bad, Filter::All).await.map(|_| ()),
        store.sum(Kind::Machine, "name", Filter::All).await.map(|_| ()),
    ];
    assert!(refused.iter().all(|answer| matches!(answer, Err(StoreError::Failed(_)))), "{refused:?}");
}

pub(crate) async fn text_is_searched_as_it_stands(store: Fresh) {
    for (key, name) in ["100%", "100x", "a_b", "axb", "C:\\dir", "it's"].into_iter().enumerate() {
        insert(&*store, machine(key as u128, name)).await.unwrap();
    }
    for (text, expected) in [("0%", 1), ("A_B", 1), (":\\D", 1), ("'", 1), ("", 6), ("x", 2), ("%", 1)] {
        let filter = Filter::Is("name", Compare::Contains, text.into());
        assert_eq!(store.count(Kind::Machine, filter).await.unwrap(), expected, "{text}");
    }
}
