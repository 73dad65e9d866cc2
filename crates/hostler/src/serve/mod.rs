//! `hostler serve`: from a configuration to a running server, and back to nothing in ten seconds.
//!
//! The order matters. The data directory is locked before anything in it is touched; the doors open before machines
//! are adopted and accelerators probed, so that the server is ready at once; no task runs before adoption is done.
//!
//! On SIGTERM or SIGINT nothing new is accepted, running steps may finish, and what is left after
//! `server.shutdown_s` is cut off: tasks go on where they were at the next start, machines run on. A second signal
//! ends the process at once. A panic anywhere in the background ends it with exit code 1.

mod arrival;
mod background;
mod body;
mod connections;
mod data_dir;
mod drivers;
mod exposure;
mod first;
mod host_file;
mod listen;
mod log;
mod networks;
mod outside;
mod pools;
mod system;
mod tls;

pub(crate) use data_dir::{DataDir, write_private};
pub use drivers::{DriverFactory, RealDrivers};
pub(crate) use exposure::finding as exposure;
pub(crate) use outside::check_outside;
pub use system::{SystemClock, SystemIds};
pub(crate) use tls::{check_tls, fingerprint};

use crate::config::{Config, Variables};
use crate::failure::Failure;
use crate::output;
use arrival::Arrived;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::serve::ListenerExt;
use hostler_core::Core;
use hostler_core::core::{LocalHost, Parts};
use hostler_core::ports::{Clock, Ids, Store};
use hostler_doors::{DoorState, Entrance, LocalPeer, OverTls, router};
use hyper::body::Incoming;
use listen::LocalListener;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tls::{Keeper, Tls, TlsListener};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections that are still open after the work is done may finish for so long.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// The database may take so long to write what is queued and say goodbye.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// Blocking calls that do not end are left alone after so long.
const LAST_CALLS: Duration = Duration::from_millis(300);

/// Serves until a signal says stop.
///
/// # Errors
/// Whatever keeps the server from starting, or from going on.
pub fn serve(
    config: &Config,
    data_dir: &Path,
    variables: &Variables,
    drivers: &dyn DriverFactory,
) -> Result<(), Failure> {
    drivers.check(config)?;
    log::start(&config.log)?;
    // Nothing that we make is anybody else's business: database, sockets, images.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let data_dir = DataDir::take(data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start", &error))?;
    let served = runtime.block_on(run(config, &data_dir, variables, drivers));
    runtime.shutdown_timeout(LAST_CALLS);
    served
}

async fn run(
    config: &Config,
    data_dir: &DataDir,
    variables: &Variables,
    drivers: &dyn DriverFactory,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    // What an administrator gets wrong most often comes first: then nothing has been made yet. Who connects already
    // is asked to come again; the unix socket answers as soon as the doors open.
    let at_server = config.database()?;
    let shared = at_server.is_some();
    let outside = outside::outside(config, variables)?;
    let (tcp, address) = listen::tcp(&config.listen).await?;
    let unix = LocalListener::bind(data_dir.path())?;
    let tls = Tls::prepare(&config.tls, data_dir.path(), address, &first::host_name())?;
    let (stop, mut doors, entrance) = (CancellationToken::new(), JoinSet::new(), Entrance::default());
    match &tls {
        Some(tls) => doors.spawn(serve_tls(TlsListener::new(tcp, tls), entrance.router(), stop.clone())),
        None => doors.spawn(serve_tcp(tcp, entrance.router(), stop.clone())),
    };
    let door = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    let database = hostler_store::open(at_server, &data_dir.database())
        .await
        .map_err(|error| Failure::because("cannot open the database", &error))?;
    let store = database.store();
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn Ids>) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let arrived =
        arrival::arrive(store.as_ref(), shared, clock.as_ref(), ids.as_ref(), data_dir, variables, &door);
    let Arrived { installation, process, key } = arrived.await?;
    let local = drivers.make(config, installation, data_dir.path())?;
    let core = core(config, store, clock, ids, local, key)
        .with_outside(outside)
        .with_pool_rules(config.pool_rules());
    let known = core.maintenance_refresh().await;
    known.map_err(|error| Failure::because("cannot read the installation", &error))?;
    networks::declare(&core, &config.networks()).await;
    pools::declare(&core, &config.pools()).await;
    let mut running = JoinSet::new();
    let proxies = config.proxies().map_err(Failure::new)?;
    if let Some(finding) = exposure::finding(config, &address.to_string()) {
        core.doctor_note(finding);
    }
    let router = router(DoorState::set(core.clone(), stop.clone(), proxies, config.vmpooler_door()));
    running.spawn(background::run(core.clone(), installation.host, process, stop.clone()));
    if let Some(tls) = tls {
        tracing::info!(fingerprint = tls.fingerprint(), "serving TLS");
        running.spawn(Keeper::new(tls, core).run(stop.clone()));
    }
    entrance.open(router.clone());
    doors.spawn(serve_unix(unix, router, stop.clone()));

    tracing::info!(%address, data_dir = %data_dir.path().display(), fresh = installation.fresh, "{} is ready", drivers.program());
    output::line(format_args!("hostler is ready on {door}"));
    tell_systemd(sd_notify::NotifyState::Ready);
    let outcome = tokio::select! {
        name = signals.stop() => { tracing::info!(signal = name, "stopping"); Ok(()) }
        Some(ended) = running.join_next() => Err(broken("the background work", ended)),
        Some(ended) = doors.join_next() => Err(broken("a door", ended)),
    };
    tell_systemd(sd_notify::NotifyState::Stopping);
    stop.cancel();
    let outcome = tokio::select! {
        drained = drain(config, &mut running, &mut doors) => outcome.and(drained),
        name = signals.stop() => {
            tracing::warn!(signal = name, "asked twice: ending at once");
            std::process::exit(1);
        }
    };
    if tokio::time::timeout(LAST_WRITES, database.close()).await.is_err() {
        tracing::warn!(
            "the database does not answer; what was not written yet is done again at the next start"
        );
    }
    outcome
}

fn core(
    config: &Config,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    local: LocalHost,
    key: [u8; 32],
) -> Core {
    let settings = config.settings();
    Core::new(Parts { store, clock, ids, hosts: vec![local], key, settings })
}

async fn serve_tcp(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    // Answers are written at once; waiting to fill a segment would only delay them.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let mark = |peer: &SocketAddr, request: &mut Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(*peer));
    };
    connections::serve(listener, router, mark, stop).await
}

async fn serve_tls(listener: TlsListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let mark = |peer: &SocketAddr, request: &mut Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(*peer));
        request.extensions_mut().insert(OverTls);
    };
    connections::serve(listener, router, mark, stop).await
}

async fn serve_unix(listener: LocalListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    let mark = |peer: &LocalPeer, request: &mut Request<Incoming>| {
        request.extensions_mut().insert(*peer);
    };
    connections::serve(listener, router, mark, stop).await
}

/// Lets steps finish, then answers; cuts off what takes too long.
async fn drain(
    config: &Config,
    running: &mut JoinSet<()>,
    doors: &mut JoinSet<std::io::Result<()>>,
) -> Result<(), Failure> {
    let patience = Duration::from_secs(config.server.shutdown_s);
    let steps = async {
        while let Some(ended) = running.join_next().await {
            if ended.is_err() {
                return Err(broken("the background work", ended));
            }
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(patience, steps).await.unwrap_or_else(|_| {
        tracing::warn!("some steps took too long and were cut off; they go on at the next start");
        Ok(())
    });
    running.shutdown().await;
    let answers = async { while doors.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ANSWERS, answers).await.is_err() {
        tracing::debug!("some connections were cut off");
    }
    doors.shutdown().await;
    outcome
}

/// What is said when something ends that must not.
fn broken<T>(what: &str, ended: Result<T, tokio::task::JoinError>) -> Failure {
    let failure = Failure::new(format!("{what} has ended, so hostler ends too"));
    match ended {
        Ok(_) => failure,
        Err(error) => failure.cause(error.to_string()).hint("this is a defect; the log has the details"),
    }
}

fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

/// The signals we act on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::because("cannot receive signals", &error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Returns with the name of the signal that asked us to stop.
    async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => tracing::info!("SIGHUP: nothing to reload; restart to read the configuration anew"),
            }
        }
    }
}
