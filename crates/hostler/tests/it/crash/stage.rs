//! Who plays: which program, how many machines, where and when it is killed.

use super::chance::Chance;
use crate::server::Program;
use std::time::Duration;

/// How often what is committed or begun is met by a fail point; where the process dies is drawn among these.
const EVERYWHERE: [&str; 5] = [
    "task.before_step",
    "task.before_commit",
    "task.after_commit",
    "store.before_commit",
    "store.after_commit",
];
const WITH_QEMU: [&str; 9] = [
    "qemu.recorded",
    "qemu.spawned",
    "qemu.pid_written",
    "qemu.running",
    "qemu.ended",
    "qemu.removing",
    "file.written",
    "local.removing",
    "store.before_commit",
];

/// What differs between the simulated and the real world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub program: Program,
    /// Names that clients fight over; at most so many machines live at a time.
    pub names: u64,
    pub clients: u64,
    /// Commands of each client between two kills.
    pub commands: usize,
    /// The earliest and the latest random moment to die, after the server is ready.
    pub moments: (Duration, Duration),
    /// A fail point that is not reached within this time is given up for a kill.
    pub patience: Duration,
    /// Everything is let come to rest and checked after so many kills.
    pub rest_after: u64,
    pub environment: &'static [(&'static str, &'static str)],
}

pub(crate) const SIMULATED: Stage = Stage {
    program: Program::Simulated,
    names: 24,
    clients: 6,
    commands: 60,
    moments: (Duration::from_millis(5), Duration::from_millis(900)),
    patience: Duration::from_millis(1500),
    rest_after: 20,
    environment: &[
        ("HOSTLER__SIM__BOOT_MS", "80"),
        ("HOSTLER__SIM__START_MS", "15"),
        ("HOSTLER__SIM__SHUTDOWN_MS", "60"),
        ("HOSTLER__SIM__VOLUME_MS", "5"),
        ("HOSTLER__SIM__IMAGE_MS", "100"),
        // A paused guest does not hear that it shall stop, so its power is cut after this long.
        ("HOSTLER__TASKS__STOP_PATIENCE_S", "2"),
        ("HOSTLER__LOG__LEVEL", "warn"),
    ],
};

pub(crate) const REAL: Stage = Stage {
    program: Program::Real,
    names: 4,
    clients: 3,
    commands: 12,
    moments: (Duration::from_millis(50), Duration::from_millis(5000)),
    patience: Duration::from_secs(6),
    rest_after: 6,
    environment: &[("HOSTLER__TASKS__STOP_PATIENCE_S", "8")],
};

/// How a server dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// Kill -9 so long after it was ready.
    After(Duration),
    /// By itself, at a fail point: its name, and a count after a colon.
    At(String),
}

impl Stage {
    /// How the server of this round dies.
    pub(crate) fn kill(&self, seed: u64, round: u64) -> Kill {
        let mut chance = Chance::of(seed, &[round, u64::MAX]);
        if chance.percent(50) {
            return Kill::After(chance.between(self.moments.0, self.moments.1));
        }
        let points: &[&str] =
            if self.program == Program::Real && chance.percent(70) { &WITH_QEMU } else { &EVERYWHERE };
        let point = *chance.pick(points);
        // Drivers are asked less often than the store.
        let most = match point {
            _ if point.starts_with("store.") => 60,
            _ if point.starts_with("task.") => 20,
            _ => 2,
        };
        let most = if self.program == Program::Real { most / 2 } else { most };
        Kill::At(format!("{point}:{}", 1 + chance.below(most.max(1))))
    }
}

#[test]
fn the_same_seed_kills_in_the_same_way() {
    for round in 0..50 {
        assert_eq!(SIMULATED.kill(7, round), SIMULATED.kill(7, round));
        assert_eq!(REAL.kill(7, round), REAL.kill(7, round));
    }
    let ways: std::collections::BTreeSet<String> =
        (0..50).map(|round| format!("{:?}", REAL.kill(7, round))).collect();
    assert!(ways.len() > 30, "{ways:?}");
}
