//! The small integers.

use crate::Fresh;
use crate::records::{account, at, cluster, commit, id, insert};
use hostler_core::ports::Alteration;
use hostler_core::record::Kind;

pub(crate) async fn numbers_are_dense_and_accounts_begin_at_three(store: Fresh) {
    for key in 0..5 {
        let committed = insert(&*store, account(key, &format!("a{key}"))).await.unwrap();
        assert_eq!(committed.stamps[0].number, 3 + i64::try_from(key).unwrap());
        let committed = insert(&*store, cluster(key, &format!("c{key}"))).await.unwrap();
        assert_eq!(committed.stamps[0].number, 1 + i64::try_from(key).unwrap());
    }
    // A number is not given again when its record has gone.
    let delete = Alteration::Delete { kind: Kind::Cluster, id: id(4), rev: 1 };
    store.commit(commit(vec![delete])).await.unwrap();
    assert_eq!(insert(&*store, cluster(9, "c9")).await.unwrap().stamps[0].number, 6);
}

pub(crate) async fn a_number_that_is_brought_is_kept_and_passed(store: Fresh) {
    let number = |key: u128, brought| {
        let store = store.clone();
        async move {
            let document = at(cluster(key, &format!("c{key}")), brought, 0);
            insert(&*store, document).await.unwrap().stamps[0].number
        }
    };
    assert_eq!(number(1, 40).await, 40);
    assert_eq!(number(2, 0).await, 41);
    assert_eq!(number(3, 7).await, 7);
    assert_eq!(number(4, 0).await, 42);
    assert_eq!(store.get(Kind::Cluster, id(1)).await.unwrap().unwrap().number, 40);
}

pub(crate) async fn a_refused_commit_takes_no_number(store: Fresh) {
    insert(&*store, cluster(1, "one")).await.unwrap();
    let both = vec![Alteration::Insert(cluster(2, "two")), Alteration::Insert(cluster(3, "one"))];
    assert!(store.commit(commit(both)).await.is_err());
    assert_eq!(insert(&*store, cluster(2, "two")).await.unwrap().stamps[0].number, 2);
}
