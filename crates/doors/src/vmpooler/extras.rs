//! What a lent machine gets beside itself: disks and snapshots. Asked for here, done by tasks.

use super::by::Asking;
use super::machine::named;
use super::wire::{Answer, Json, Version, nothing_here, object, refused, well, wrong};
use crate::state::DoorState;
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use hostler_core::Error;
use hostler_core::access::Caller;
use hostler_core::core::ListAsk;
use hostler_core::error::ErrorKind;
use hostler_core::machines::{Machine, Observed};
use hostler_core::query::Filter;
use hostler_core::snapshots::{Snapshot, SnapshotAsk, SnapshotState};
use hostler_core::time::Timestamp;
use std::time::Duration;

/// Largest disk in GB.
const MOST_GB: u64 = 2048;
/// How long a request waits for a machine that a task holds, before it is refused.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at that task.
const PAUSE: Duration = Duration::from_millis(200);

/// What `GET /vm/<name>` shows of it.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) snapshots: Vec<String>,
    pub(super) disks: Vec<String>,
    pub(super) ip: String,
}

/// What a machine has beside itself; snapshots that are finished only.
pub(super) async fn of(state: &DoorState, machine: &Machine) -> Result<Extras, Response> {
    let core = state.core();
    let around = core.machine_surroundings(std::slice::from_ref(machine)).await.map_err(refused)?;
    let mut extras = Extras::default();
    let addresses = machine.nics.iter().flat_map(|nic| &nic.addresses);
    let mut addresses = addresses.filter_map(|id| around.addresses.get(id)).map(|address| address.ip);
    extras.ip = addresses.next().map(|ip| ip.to_string()).unwrap_or_default();
    let volumes = around.volumes.get(&machine.id);
    let further = volumes.into_iter().flatten().filter(|volume| volume.template.is_none());
    extras.disks = further.map(|volume| format!("+{}gb", volume.size_mib / 1024)).collect();
    extras.snapshots = core.pool_snapshots(machine).await.map_err(refused)?;
    Ok(extras)
}

/// Waits for machines that tasks of others hold just now: vmpooler queues such requests.
struct Turn<'a> {
    state: &'a DoorState,
    begun: Timestamp,
}

impl<'a> Turn<'a> {
    fn begins(state: &'a DoorState) -> Self {
        Self { state, begun: state.core().clock().now() }
    }

    /// Returns when the same may be tried again; whatever else was wrong is refused.
    async fn again(&self, error: Error) -> Result<(), Response> {
        let clock = self.state.core().clock();
        let busy = matches!(error.kind, ErrorKind::Busy { .. });
        if !busy || clock.now().since(self.begun) >= PATIENCE {
            return Err(refused(error));
        }
        clock.sleep(PAUSE).await;
        Ok(())
    }
}

/// Size of a disk in GB.
///
/// Quirk: the first version has nothing at a path with any other size.
fn gigabytes(version: Version, text: &str) -> Result<u64, Response> {
    let refuse = |text: &str| Err(if version == Version::V1 { nothing_here() } else { wrong(text) });
    match text.parse::<u64>() {
        Err(_) => refuse("Disk size must be a valid integer"),
        Ok(0) => refuse("Disk size must be at least 1"),
        Ok(size) if size > MOST_GB => refuse("Disk size must be at most 2048"),
        Ok(size) => Ok(size),
    }
}

/// Gives a machine a further disk of so many GB; answers how it is listed.
pub(super) async fn disk_by(
    state: &DoorState,
    caller: &Caller,
    version: Version,
    machine: &Machine,
    size: &str,
) -> Result<String, Response> {
    let size = gigabytes(version, size)?;
    let core = state.core();
    let name = machine.name.as_str();
    let (deputy, _) = core.checkout_deputy(caller, name).await.map_err(refused)?;
    let turn = Turn::begins(state);
    while let Err(error) = core.disk_add(&deputy, name, size * 1024).await {
        turn.again(error).await?;
    }
    Ok(format!("+{size}gb"))
}

/// `POST /vm/<name>/disk/<gb>`.
pub(super) async fn disk(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path((name, size)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    let caller = asking.somebody().await?;
    let (_, machine) = named(asking, version, &name).await?;
    let disk = disk_by(&state, &caller, version, &machine, &size).await?;
    let shown = object([("disk", Json::from(disk))]);
    Ok(well(StatusCode::ACCEPTED, [(machine.name.to_string(), shown)]))
}

/// `POST /vm/<name>/snapshot`: with memory while the machine is on.
pub(super) async fn snapshot(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path(name): Path<String>,
    request: Request,
) -> Answer {
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    let caller = asking.somebody().await?;
    let (_, machine) = named(asking, version, &name).await?;
    let core = state.core();
    let key = machine.name.as_str();
    let (deputy, machine) = core.checkout_deputy(&caller, key).await.map_err(refused)?;
    let id = core.snapshot_word();
    let ask = SnapshotAsk {
        name: id.clone(),
        description: String::new(),
        memory: machine.observed.power != Observed::Off,
    };
    let turn = Turn::begins(&state);
    while let Err(error) = core.snapshot_take(&deputy, key, &ask, None).await {
        turn.again(error).await?;
    }
    let shown = object([("snapshot", Json::from(id))]);
    Ok(well(StatusCode::ACCEPTED, [(machine.name.to_string(), shown)]))
}

/// `POST /vm/<name>/snapshot/<id>`: back to one that is finished.
pub(super) async fn revert(
    State(state): State<DoorState>,
    Extension(version): Extension<Version>,
    Path((name, id)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let asking = Asking { state: &state, headers: request.headers(), extensions: request.extensions() };
    let caller = asking.somebody().await?;
    let (_, machine) = named(asking, version, &name).await?;
    let core = state.core();
    let (deputy, machine) = core.checkout_deputy(&caller, machine.name.as_str()).await.map_err(refused)?;
    let ask = ListAsk {
        filter: Filter::eq("machine", machine.id.0).and(Filter::eq("name", id.as_str())),
        limit: 1,
        ..ListAsk::default()
    };
    let found = core.snapshot_list(&deputy, ask).await.map_err(refused)?.items.pop();
    let finished = |snapshot: &Snapshot| snapshot.state == SnapshotState::Present;
    let snapshot = found.filter(finished).ok_or_else(nothing_here)?;
    let key = snapshot.id.to_string();
    let turn = Turn::begins(&state);
    while let Err(error) = core.snapshot_revert(&deputy, &key, true).await {
        turn.again(error).await?;
    }
    Ok(well(StatusCode::ACCEPTED, []))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_gigabytes_and_the_first_version_has_no_words() {
        assert_eq!(gigabytes(Version::V1, "8").unwrap(), 8);
        for (text, status) in [("x", 400), ("0", 400), ("-1", 400), ("2049", 400)] {
            assert_eq!(gigabytes(Version::V3, text).unwrap_err().status(), status);
            assert_eq!(gigabytes(Version::V1, text).unwrap_err().status(), 404);
        }
    }
}
