//! Lists: filters, orders and pages against an evaluator that does the same over rows in memory.

use crate::Fresh;
use crate::records::{account, address, at, commit, id, insert, machine, update, with};
use hostler_core::ports::{Alteration, StoreError};
use hostler_core::query::language::{self, Field, Holds};
use hostler_core::query::{self, By, Compare, Cursor, Filter, Select, Sort};
use hostler_core::record::{Document, Kind, Value};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::sync::LazyLock;
use uuid::Uuid;

const ROWS: u128 = 60;
const CASES: usize = 600;

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

    fn naming(&self, _kind: Kind, _column: &str) -> Vec<&dyn query::Row> {
        Vec::new()
    }
}

/// Addresses: the end of each and the machine it names, if it names one.
static ADDRESSES: [Address; 7] = [
    Address(1, Some(0)),
    Address(2, Some(0)),
    Address(3, Some(1)),
    Address(21, Some(30)),
    Address(22, None),
    Address(1, Some(59)),
    Address(4, Some(ROWS)),
];

#[derive(Debug)]
struct Address(u128, Option<u128>);

impl query::Row for Address {
    fn value(&self, column: &str) -> Value {
        match column {
            "ip" => format!("10.0.0.{}", self.0).into(),
            "machine" => self.1.map(id).into(),
            other => panic!("{other}"),
        }
    }

    fn through(&self, _column: &str, _kind: Kind) -> Option<&dyn query::Row> {
        None
    }

    fn naming(&self, _kind: Kind, _column: &str) -> Vec<&dyn query::Row> {
        Vec::new()
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

    fn naming(&self, _kind: Kind, _column: &str) -> Vec<&dyn query::Row> {
        let named = ADDRESSES.iter().filter(|address| address.1 == Some(self.id));
        named.map(|address| address as &dyn query::Row).collect()
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
    let patterns = proptest::sample::select(vec!["%", "10.0.0.1", "10.0.0.2%", "%.3", "x"]);
    let naming = patterns.prop_map(|text| {
        let inner = Box::new(Filter::Is("ip", Compare::Like, text.into()));
        Filter::NamedBy(Kind::Address, "machine", inner)
    });
    let leaf = prop_oneof![
        1 => Just(Filter::All), 6 => is, 2 => contains, 2 => among, 2 => like, 2 => folded, 2 => through, 2 => naming
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

fn orders() -> impl Strategy<Value = Vec<Sort>> {
    let column = columns().prop_map(|column| (By::Column(column), column == "name"));
    let through = proptest::sample::select(vec!["owner", "task"])
        .prop_map(|column| (By::Through(column, Kind::Account, "login"), true));
    let first = proptest::collection::vec(filters(), 0..3).prop_map(|all| (By::First(all), false));
    let sort = (prop_oneof![3 => column, 2 => through, 1 => first], any::<bool>(), any::<bool>())
        .prop_map(|((by, text), folded, descending)| Sort { by, folded: folded && text, descending });
    proptest::collection::vec(sort, 0..4)
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
    for (key, Address(end, machine)) in (0..).zip(&ADDRESSES) {
        let address = address(key, key, &format!("10.0.0.{end}"));
        insert(&*store, with(address, "machine", machine.map(id))).await.unwrap();
    }
    let cases = (filters(), orders(), 1..20_u32, 0..70_u64);
    for _ in 0..CASES {
        let (filter, order, limit, offset) = cases.new_tree(&mut runner).unwrap().current();
        let case = format!("{filter:?} by {order:?}, {limit} a page or from {offset}");

        let mut expected: Vec<&Row> = rows.iter().filter(|row| filter.holds(*row)).collect();
        expected.sort_by(|left, right| query::ordering(&order, *left, *right));
        let expected: Vec<u128> = expected.iter().map(|row| row.id).collect();

        let mut found: Vec<u128> = Vec::new();
        let mut select = Select { order, ..Select::new(filter.clone(), limit) };
        loop {
            let page = store.list(Kind::Machine, select.clone()).await.unwrap();
            found.extend(page.iter().map(|document| document.id.as_u128()));
            assert!(found.len() <= rows.len(), "{case}");
            if page.len() < limit as usize {
                break;
            }
            let last = page.last().unwrap();
            let values: Vec<Value> = last.columns.iter().map(|(_, value)| value.clone()).collect();
            let row = rows.iter().find(|row| id(row.id) == last.id).unwrap();
            assert_eq!(values, select.order.iter().map(|sort| sort.value(row)).collect::<Vec<_>>(), "{case}");
            select.after = Some(Cursor { values, id: last.id });
        }
        assert_eq!(found, expected, "{case}");
        (select.after, select.offset) = (None, offset);
        let page = store.list(Kind::Machine, select).await.unwrap();
        let found: Vec<u128> = page.iter().map(|document| document.id.as_u128()).collect();
        let there = expected.iter().copied().skip(offset as usize).take(limit as usize);
        assert_eq!(found, there.collect::<Vec<_>>(), "{case}");
        let count = store.count(Kind::Machine, filter.clone()).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{case}");
        let sum = store.sum(Kind::Machine, "vcpus", filter.clone()).await.unwrap();
        let vcpus = rows.iter().filter(|row| filter.holds(*row)).map(|row| row.vcpus);
        assert_eq!(sum, vcpus.sum::<i64>(), "{case}");
    }
}

pub(crate) async fn what_other_records_say_is_never_remembered(store: Fresh) {
    insert(&*store, machine(5, "web")).await.unwrap();
    let stamps = insert(&*store, account(1, "alice")).await.unwrap().stamps;
    let named = |login: &str| {
        let inner = Filter::eq("login", login);
        let by = Sort { by: By::Through("owner", Kind::Account, "login"), ..Sort::ascending("id") };
        Select::new(Filter::Through("owner", Kind::Account, Box::new(inner)), 5).ordered(by)
    };
    assert_eq!(store.list(Kind::Machine, named("alice")).await.unwrap().len(), 1);
    let renamed = at(account(1, "bob"), stamps[0].number, stamps[0].rev);
    update(&*store, renamed).await.unwrap();
    assert_eq!(store.list(Kind::Machine, named("alice")).await.unwrap().len(), 0);
    assert_eq!(store.list(Kind::Machine, named("bob")).await.unwrap()[0].columns[0].1, "bob".into());
}

pub(crate) async fn filters_as_large_as_people_may_write_them_are_answered(store: Fresh) {
    insert(&*store, machine(5, &"a".repeat(60))).await.unwrap();
    let fields = [Field::own("name", Holds::Text), Field::own("vcpus", Holds::Number)];
    let read = |text: &str| language::filter(text, &fields).unwrap();
    let many = |word: &str| vec!["NOT vcpus EQ 7"; 800].join(word);
    let nested = format!("{}vcpus EQ 1{}", "(NOT ".repeat(64), ")".repeat(64));
    // Wildcards that each try every place would take for ever.
    let wild = format!("name CP '{}b'", "%a".repeat(40));
    let nul = "name EQ '\0' OR name CP '\0%' OR name LT '\0' OR name IN ('\0')";
    for (text, expected) in
        [(many(" OR "), 1), (many(" AND "), 1), (nested, 1), (wild, 0), (nul.to_owned(), 0)]
    {
        assert_eq!(store.count(Kind::Machine, read(&text)).await.unwrap(), expected, "{text}");
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
        store
            .list(Kind::Machine, Select::new(Filter::All, 1).ordered(Sort::ascending(bad)))
            .await
            .map(|_| ()),
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
