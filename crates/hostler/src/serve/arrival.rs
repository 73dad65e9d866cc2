//! How this process comes to its host and its key: from the data directory, and from what the database says.

use super::data_dir::{DataDir, kept_key};
use super::{first, host_file};
use crate::config::Variables;
use crate::failure::{Exit, Failure};
use hostler_core::hosts::{self, Arrival, Installation, Key};
use hostler_core::ports::{Clock, Ids, Store};
use std::path::Path;
use uuid::Uuid;

/// What this process is, now that it has come.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) installation: Installation,
    /// This start.
    pub(super) process: Uuid,
    pub(super) key: [u8; 32],
}

/// Makes the installation, joins it, or comes back to it. A database that lies in the data directory is nobody else's:
/// `shared` is not.
pub(super) async fn arrive(
    store: &dyn Store,
    shared: bool,
    clock: &dyn Clock,
    ids: &dyn Ids,
    data_dir: &DataDir,
    variables: &Variables,
    door: &str,
) -> Result<Arrived, Failure> {
    let unreadable = |error| Failure::because("cannot read the installation", &error);
    let installed = hosts::is_installed(store).await.map_err(unreadable)?;
    let (key, replaced) = match variables.get("CREDENTIALS_DIRECTORY") {
        Some(credentials) => match kept_key(Path::new(credentials))? {
            Some(key) => (key, false),
            None => data_dir.key(installed)?,
        },
        None => data_dir.key(installed)?,
    };
    let before = if shared { None } else { hosts::only_host(store).await.map_err(unreadable)? };
    let own = host_file::read(data_dir.path(), before, ids)?;
    let arrival = Arrival {
        host: own.host,
        storage: own.storage,
        process: ids.uuid(),
        host_name: first::host_name(),
        same_place: own.same_place || !shared,
        key: Key { fingerprint: hosts::fingerprint(&key), replaced },
        door: Some(door.to_owned()),
    };
    let mut asked = false;
    let mut refused = None;
    let arrived = hosts::arrive(store, clock, ids, &arrival, || {
        asked = true;
        first::first_start(data_dir.path(), variables).map_err(|failure| {
            let error = hostler_core::Error::unavailable(failure.text.clone());
            refused = Some(failure);
            error
        })
    });
    let arrived = arrived.await;
    if asked && arrived.as_ref().is_ok_and(|installation| !installation.fresh) {
        first::forget(data_dir.path());
    }
    let installation = arrived.map_err(|error| refused.take().unwrap_or_else(|| unfit(&error, data_dir)))?;
    host_file::write(data_dir.path(), &own)?;
    Ok(Arrived { installation, process: arrival.process, key })
}

/// The process does not fit into the installation, or that cannot be read.
fn unfit(error: &hostler_core::Error, data_dir: &DataDir) -> Failure {
    if !["other_key", "host_served"].contains(&error.code) {
        return Failure::because("cannot read the installation", error);
    }
    let failure = Failure::new(error.text.clone())
        .cause(format!("the data directory is {}", data_dir.path().display()))
        .exit(Exit::FAILED);
    match &error.hint {
        Some(hint) => failure.hint(hint.clone()),
        None => failure,
    }
}
