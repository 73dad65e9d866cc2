//! The statements that are not pages of records or parts of commits: leases and events.

use crate::sql::{Bound, Draft, Engine};
use hostler_core::events::{Change, Event, NewEvent};
use hostler_core::ids::{AccountId, HostId, TaskId};
use hostler_core::ports::{Claim, StoreError};
use hostler_core::record::{Kind, Value};
use hostler_core::time::Timestamp;
use uuid::Uuid;

/// Takes leases; answers `id, number, rev, body, lease_epoch, cancel, due` of each task, in no order.
pub(crate) fn claim(engine: Engine, claim: &Claim) -> Bound {
    let mut draft = Draft::new("");
    if engine == Engine::Postgres {
        // Chosen once and before: PostgreSQL may ask a subquery again, and would then find more than its limit.
        draft.push("WITH chosen AS MATERIALIZED (");
        choose(&mut draft, claim);
        // Whoever holds one of them, a person with psql for instance, does not hold up the others.
        draft.push(" FOR UPDATE SKIP LOCKED) ");
    }
    draft.push("UPDATE task SET lease_epoch = lease_epoch + 1, lease_owner = ");
    draft.bind(Value::Text(claim.worker.clone())).push(", lease_until = ").bind(Value::Int(claim.until.0));
    draft.push(" WHERE id IN (");
    match engine {
        Engine::Postgres => {
            draft.push("SELECT id FROM chosen");
        }
        Engine::Sqlite => choose(&mut draft, claim),
    }
    draft.push(") RETURNING id, number, rev, body, lease_epoch, cancel, due");
    draft.finish()
}

fn choose(draft: &mut Draft, claim: &Claim) {
    let now = Value::Int(claim.now.0);
    draft.push("SELECT id FROM task WHERE open = 1 AND due <= ").bind(now.clone());
    draft.push(" AND (lease_until IS NULL OR lease_until <= ").bind(now).push(") AND ");
    for_hosts(draft, &claim.hosts);
    if claim.begun {
        draft.push(" AND state <> ").bind(Value::Text("queued".to_owned()));
    }
    draft.push(" ORDER BY due, id LIMIT ").bind(Value::Int(claim.limit.into()));
}

/// Tasks that name one of these hosts, or none.
fn for_hosts(draft: &mut Draft, hosts: &[HostId]) {
    if hosts.is_empty() {
        draft.push("host IS NULL");
    } else {
        draft.push("(host IS NULL OR host IN (");
        draft.bind_all(hosts.iter().map(|host| Value::Id(host.0))).push("))");
    }
}

/// Prolongs one lease.
pub(crate) fn renew(task: TaskId, epoch: i64, until: Timestamp) -> Bound {
    let mut draft = Draft::new("UPDATE task SET lease_until = ");
    draft.bind(Value::Int(until.0)).push(" WHERE id = ").bind(Value::Id(task.0));
    draft.push(" AND lease_epoch = ").bind(Value::Int(epoch)).push(" AND lease_owner IS NOT NULL");
    draft.finish()
}

/// Gives up the leases of a worker.
pub(crate) fn disown(worker: String) -> Bound {
    let mut draft = Draft::new("UPDATE task SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ");
    draft.bind(Value::Text(worker));
    draft.finish()
}

/// When the next task falls due: of those that are free, and of those that are leased.
pub(crate) fn next_due(hosts: &[HostId]) -> [Bound; 2] {
    // A leased task can be taken once its lease has ended, which is a second, small, index.
    let mut free = Draft::new("SELECT due FROM task WHERE open = 1 AND lease_until IS NULL AND ");
    for_hosts(&mut free, hosts);
    free.push(" ORDER BY due, id LIMIT 1");
    let mut leased = Draft::new("SELECT CASE WHEN lease_until > due THEN lease_until ELSE due END AS at");
    leased.push(" FROM task WHERE open = 1 AND lease_until IS NOT NULL AND ");
    for_hosts(&mut leased, hosts);
    leased.push(" ORDER BY at LIMIT 1");
    [free.finish(), leased.finish()]
}

/// Events after `seq`, oldest first, as [`EventRow`]s.
pub(crate) fn events_after(seq: i64, limit: u32) -> Bound {
    let mut draft = Draft::new("SELECT seq, at, kind, change, subject, owner, body FROM event WHERE seq > ");
    draft.bind(Value::Int(seq)).push(" ORDER BY seq LIMIT ").bind(Value::Int(limit.into()));
    draft.finish()
}

/// First and last event kept.
pub(crate) fn event_bounds() -> Bound {
    // Two subqueries, because MIN and MAX together would look at every row.
    Draft::new("SELECT COALESCE((SELECT MIN(seq) FROM event), 0), COALESCE((SELECT MAX(seq) FROM event), 0)")
        .finish()
}

/// Forgets the oldest events.
pub(crate) fn prune_events(before: Timestamp, limit: u32) -> Bound {
    let mut draft = Draft::new("DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE at < ");
    draft.bind(Value::Int(before.0)).push(" ORDER BY at, seq LIMIT ").bind(Value::Int(limit.into()));
    draft.push(")");
    draft.finish()
}

/// 1 when the next number of a kind is not beyond every number given, else 0.
pub(crate) fn counter_behind(kind: Kind) -> Bound {
    let mut draft = Draft::new("SELECT COUNT(*) FROM counter WHERE ");
    behind(&mut draft, kind);
    draft.finish()
}

/// Goes on counting after the greatest number of a kind.
pub(crate) fn counter_mend(kind: Kind) -> Bound {
    let mut draft = Draft::new("UPDATE counter SET next = (SELECT MAX(number) + 1 FROM ");
    draft.table(kind).push(") WHERE ");
    behind(&mut draft, kind);
    draft.finish()
}

fn behind(draft: &mut Draft, kind: Kind) {
    draft.push("kind = ").bind(Value::Text(kind.word().to_owned()));
    draft.push(" AND next <= (SELECT MAX(number) FROM ").table(kind).push(")");
}

/// A row of [`events_after`].
pub(crate) type EventRow = (i64, i64, String, String, Uuid, Option<Uuid>, String);

/// The event in a row.
///
/// # Errors
/// Failed, when a newer program wrote it.
pub(crate) fn event((seq, at, kind, change, subject, owner, body): EventRow) -> Result<Event, StoreError> {
    let kind = Kind::ALL.into_iter().find(|known| known.word() == kind);
    let change = Change::ALL.into_iter().find(|known| known.word() == change);
    let (Some(kind), Some(change)) = (kind, change) else {
        return Err(StoreError::Failed(format!("event {seq} is of an unknown kind")));
    };
    let at = Timestamp(at);
    Ok(Event { seq, event: NewEvent { at, kind, change, subject, owner: owner.map(AccountId), body } })
}
