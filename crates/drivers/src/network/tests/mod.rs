//! Networks for real, each test in a network namespace of its own: the host's own is never touched.

mod frames;
mod lies;
mod life;
mod texts;

use super::LinuxSwitch;
use hostler_core::ids::{HostId, MachineId, NetworkId};
use hostler_core::ports::{NetworkSpec, Port, Subnet, Uplink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Runs a test on a thread that has a network namespace of its own, with everything it starts.
fn in_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: no network was made: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI they must be made: {why}");
        return;
    }
    let alone = std::thread::spawn(|| {
        #[expect(unsafe_code, reason = "rustix marks it unsafe for flags that are not used here")]
        // SAFETY: only this thread gets another network; no memory or descriptor is shared differently.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = alone.join() {
        std::panic::resume_unwind(panic);
    }
}

fn missing() -> Option<String> {
    super::Tools::find().err()
}

fn switch(data_dir: &Path) -> LinuxSwitch {
    LinuxSwitch::new(HostId(Uuid::from_u128(1)), data_dir)
}

fn port(name: &str, number: u8) -> Port {
    Port {
        machine: MachineId(Uuid::from_u128(number.into())),
        name: name.into(),
        mac: format!("52:54:00:00:00:{number:02x}"),
        addresses: vec![
            format!("10.77.0.{number}").parse().unwrap(),
            format!("fd77::{number:x}").parse().unwrap(),
        ],
        inbound: None,
        domain: None,
    }
}

/// A network of both families with three guests: 2, 3 and 4. No two have the same id: processes are found by it.
fn lab() -> NetworkSpec {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let id = Uuid::from_u64_pair(std::process::id().into(), COUNT.fetch_add(1, Ordering::Relaxed));
    NetworkSpec {
        id: NetworkId(id),
        bridge: "br-lab".into(),
        uplink: Uplink::None,
        subnets: vec![
            Subnet { gateway: "10.77.0.1".parse().unwrap(), prefix: 24 },
            Subnet { gateway: "fd77::1".parse().unwrap(), prefix: 64 },
        ],
        domain: Some("lab.test".into()),
        resolvers: Vec::new(),
        ports: vec![
            port("a", 2),
            Port { domain: Some("pool.test".into()), ..port("b", 3) },
            Port { domain: Some("lab.test".into()), ..port("c", 4) },
        ],
    }
}
