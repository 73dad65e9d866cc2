//! What runs beside the doors: adoption first, then observers, housekeeper and worker, until told to stop.

use hostler_core::Core;
use hostler_core::core::LocalHost;
use hostler_core::hosts::Presence;
use hostler_core::ids::HostId;
use hostler_core::maintenance::MaintenanceKeeper;
use hostler_core::reconcile::{DirectoryKeeper, Housekeeper, NetworkKeeper, Observer, PoolKeeper};
use hostler_core::tasks::Worker;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Pause before a host that could not be asked for its machines is asked again.
const ADOPT_AGAIN: Duration = Duration::from_secs(5);

/// Works until `stop`, then lets running steps finish. A panic in any part is passed on.
///
/// When another process has taken over the host it returns at once: what runs then is cut off, as nothing may be done
/// on a host that is not ours.
pub(super) async fn run(core: Core, host: HostId, process: Uuid, stop: CancellationToken) {
    let presence = Presence::new(core.clone(), process).run(stop.clone());
    let lost = async {
        match presence.await {
            Err(error) => error,
            // Told to stop: running steps still finish.
            Ok(()) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = reconcile_and_work(core, host, stop) => {}
        error = lost => tracing::error!(error = error.chain(), hint = error.hint, "this host is no longer ours"),
    }
}

async fn reconcile_and_work(core: Core, host: HostId, stop: CancellationToken) {
    let mut running = JoinSet::new();
    let mut observers = Vec::new();
    for local in core.local_hosts().to_vec() {
        let Some(observer) = adopted(&core, &local, &stop).await else { return };
        observers.push(observer);
        running.spawn(NetworkKeeper::new(core.clone(), local.clone()).run(stop.clone()));
        running.spawn(look(core.clone(), local, stop.clone()));
    }
    for observer in observers {
        running.spawn(observer.run(stop.clone()));
    }
    running.spawn(MaintenanceKeeper::new(core.clone()).run(stop.clone()));
    running.spawn(DirectoryKeeper::new(core.clone()).run(stop.clone()));
    running.spawn(PoolKeeper::new(core.clone()).run(stop.clone()));
    running.spawn(Housekeeper::new(core.clone()).run(stop.clone()));
    running.spawn(work(core, format!("process-{host}"), stop));
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// An observer that knows what runs on its host. No task may run before that: it could start a machine twice.
async fn adopted(core: &Core, local: &LocalHost, stop: &CancellationToken) -> Option<Observer> {
    loop {
        let mut observer = Observer::new(core.clone(), local.clone());
        tokio::select! {
            () = stop.cancelled() => return None,
            adopted = observer.adopt() => match adopted {
                Ok(()) => return Some(observer),
                Err(error) => tracing::error!(error = error.chain(), "cannot take over running machines; trying again"),
            },
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = core.clock().sleep(ADOPT_AGAIN) => {}
        }
    }
}

/// The first look at a host probes its accelerators, which takes longer than anybody waits for a start.
async fn look(core: Core, local: LocalHost, stop: CancellationToken) {
    let looked = tokio::select! {
        () = stop.cancelled() => return,
        looked = core.host_look(&local, false) => looked,
    };
    match looked {
        Ok(host) => match host.facts.and_then(|facts| facts.accelerator) {
            Some(found) => tracing::info!(
                accelerator = found.name,
                cpu = found.cpu,
                why = found.why,
                "this host runs guests"
            ),
            None => tracing::warn!("this host cannot run guests; `hostler doctor` says why"),
        },
        Err(error) => {
            tracing::warn!(error = error.chain(), "this host cannot run guests; `hostler doctor` says why");
        }
    }
}

async fn work(core: Core, name: String, stop: CancellationToken) {
    loop {
        let worker = Worker::new(core.clone(), name.clone());
        match worker.run(stop.clone()).await {
            Ok(()) => return,
            Err(error) => tracing::error!(%error, "the worker cannot begin; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = core.clock().sleep(Duration::from_secs(1)) => {}
        }
    }
}
