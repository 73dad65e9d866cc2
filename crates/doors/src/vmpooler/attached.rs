//! Disks and snapshots of a machine that is lent.
//!
//! Quirk: what is asked for is accepted at once and done in its turn, while the machine is busy with what was asked for
//! before: beaker asks for several disks in a row and then looks for them.

use super::asked::{Asked, Version};
use super::machine::found;
use super::wire::{Answer, Object, Refused};
use crate::state::DoorState;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::Caller;
use hostler_core::machines::Observed;
use hostler_core::snapshots::{Snapshot, SnapshotAsk, SnapshotState};
use hostler_core::tasks::Accepted;
use hostler_core::{Error, ErrorKind};
use std::time::Duration;
use uuid::Uuid;

/// The largest disk in GB.
const MOST_GB: u64 = 2048;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// A snapshot's name on the wire: its id without hyphens, which is 32 of `a`–`z` and `0`–`9`.
pub(super) fn word(id: Uuid) -> String {
    id.simple().to_string()
}

/// Waits for what other tasks hold.
struct Turn {
    end: tokio::time::Instant,
}

impl Turn {
    fn within(patience: Duration) -> Self {
        Self { end: tokio::time::Instant::now() + patience }
    }

    /// Waits a little and says yes, when it is worth trying again after this.
    async fn comes(&self, after: &Error) -> bool {
        let again = matches!(after.kind, ErrorKind::Busy { .. }) && tokio::time::Instant::now() < self.end;
        if again {
            tokio::time::sleep(PAUSE).await;
        }
        again
    }
}

/// `POST /vm/{name}/disk/{size}`
pub(super) async fn disk(
    State(state): State<DoorState>,
    asked: Asked,
    Path((name, size)): Path<(String, String)>,
) -> Answer {
    let caller = asked.with_token(&state).await?;
    let name = asked.version.short_name(&name)?;
    found(&state, &caller, name).await?;
    disk_for(&state, &caller, name, asked.version, &size).await
}

/// Adds a disk to a machine that is lent.
pub(super) async fn disk_for(
    state: &DoorState,
    caller: &Caller,
    name: &str,
    version: Version,
    size: &str,
) -> Answer {
    let size = gigabytes(version, size)?;
    let (deputy, machine) = state.core().checkout_deputy(caller, name).await?;
    let turn = Turn::within(PATIENCE);
    while let Err(error) = state.core().disk_add(&deputy, machine.name.as_str(), size * 1024).await {
        if !turn.comes(&error).await {
            return Err(error.into());
        }
    }
    let shown = Object::default().with("disk", format!("+{size}gb"));
    Ok(Object::ok(true).with(name, shown).answered(StatusCode::ACCEPTED))
}

/// Quirk: version 1 answers 404 to a size that is none.
fn gigabytes(version: Version, size: &str) -> Answer<u64> {
    let plain = !size.is_empty() && size.bytes().all(|c| c.is_ascii_digit());
    let text = match size.parse::<u64>() {
        _ if !plain => "Disk size must be a valid integer".to_owned(),
        Ok(0) => "Disk size must be at least 1".to_owned(),
        Ok(size) if size <= MOST_GB => return Ok(size),
        _ => format!("Disk size must be at most {MOST_GB}"),
    };
    Err(match version {
        Version::Bare => Refused::not_found(),
        Version::Full => Refused::wrong(text),
    })
}

/// `POST /vm/{name}/snapshot`: with memory when the machine runs.
pub(super) async fn snapshot(
    State(state): State<DoorState>,
    asked: Asked,
    Path(name): Path<String>,
) -> Answer {
    let caller = asked.with_token(&state).await?;
    let name = asked.version.short_name(&name)?;
    found(&state, &caller, name).await?;
    let turn = Turn::within(PATIENCE);
    let taken = loop {
        match take(&state, &caller, name).await {
            Err(error) if turn.comes(&error).await => {}
            other => break other?,
        }
    };
    let shown = Object::default().with("snapshot", word(taken.record.id.0));
    Ok(Object::ok(true).with(name, shown).answered(StatusCode::ACCEPTED))
}

async fn take(state: &DoorState, caller: &Caller, name: &str) -> Result<Accepted<Snapshot>, Error> {
    let (deputy, machine) = state.core().checkout_deputy(caller, name).await?;
    let id = machine.id.to_string();
    let machine = state.core().machine_get(&deputy, &id).await?;
    let memory = matches!(machine.observed.power, Observed::On | Observed::Paused);
    let ask = SnapshotAsk { name: "vmpooler".to_owned(), description: String::new(), memory };
    state.core().snapshot_take(&deputy, &id, &ask, None).await
}

/// `POST /vm/{name}/snapshot/{snapshot}`: to one that is finished.
pub(super) async fn revert(
    State(state): State<DoorState>,
    asked: Asked,
    Path((name, snapshot)): Path<(String, String)>,
) -> Answer {
    let caller = asked.with_token(&state).await?;
    let name = asked.version.short_name(&name)?;
    let machine = found(&state, &caller, name).await?;
    let all = state.core().pool_snapshots(&machine).await?;
    let named = all.into_iter().find(|here| word(here.id.0) == snapshot);
    let finished = named.filter(|snapshot| snapshot.state == SnapshotState::Present);
    let id = finished.ok_or_else(Refused::not_found)?.id.to_string();
    let turn = Turn::within(PATIENCE);
    loop {
        let (deputy, _) = state.core().checkout_deputy(&caller, name).await?;
        match state.core().snapshot_revert(&deputy, &id, true).await {
            Err(error) if turn.comes(&error).await => {}
            other => break other.map(drop)?,
        }
    }
    Ok(Object::ok(true).answered(StatusCode::ACCEPTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_of_gigabytes() {
        assert_eq!(gigabytes(Version::Full, "8").unwrap(), 8);
        assert_eq!(gigabytes(Version::Bare, "2048").unwrap(), 2048);
        for odd in ["0", "x", "", "-1", "+8", "1.5", "2049", "99999999999999999999999"] {
            assert!(gigabytes(Version::Bare, odd).unwrap_err().is_not_found(), "{odd}");
            assert!(!gigabytes(Version::Full, odd).unwrap_err().is_not_found(), "{odd}");
        }
    }

    #[test]
    fn a_snapshot_has_a_name_of_32_letters_and_digits() {
        let word = word(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001));
        assert_eq!(word.len(), 32);
        assert!(word.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    }
}
