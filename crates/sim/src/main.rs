//! The `hostler-sim` program: hostler with simulated machines, for tests, demos and load tests.

use hostler::config::Config;
use hostler::failure::Failure;
use hostler::serve::DriverFactory;
use hostler_core::core::LocalHost;
use hostler_core::doctor::Finding;
use hostler_core::hosts::Installation;
use hostler_sim::memory::{SimHypervisor, SimStorage, SimSwitch};
use hostler_sim::{Faults, SimConfig};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Simulated machines that behave as `[sim]` of the configuration says.
#[derive(Debug)]
struct SimDrivers;

impl SimDrivers {
    fn config(config: &Config) -> Result<SimConfig, Failure> {
        let sim: Result<SimConfig, _> = config.sim.clone().try_into();
        sim.map_err(|error| Failure::new(format!("[sim] of the configuration: {}", error.message())))
    }
}

impl DriverFactory for SimDrivers {
    fn program(&self) -> &'static str {
        "hostler-sim"
    }

    fn check(&self, config: &Config) -> Result<(), Failure> {
        Self::config(config).map(drop)
    }

    fn examine(&self, _config: &Config) -> Vec<Finding> {
        vec![Finding::ok("hypervisor", "machines are simulated")]
    }

    fn make(
        &self,
        config: &Config,
        installation: Installation,
        data_dir: &Path,
    ) -> Result<LocalHost, Failure> {
        let sim = Self::config(config)?;
        let failed = |error| Failure::because("the simulated world cannot be opened", &error);
        let faults = Faults::from_config(&sim);
        let hypervisor =
            SimHypervisor::open(installation.host, data_dir, &sim, faults.clone()).map_err(failed)?;
        let storage =
            SimStorage::open(installation.storage, data_dir, &sim, faults.clone()).map_err(failed)?;
        let hypervisor = hypervisor.with_storage(&storage);
        let switch = Arc::new(SimSwitch::new(installation.host, faults));
        Ok(LocalHost { hypervisor: Arc::new(hypervisor), storage: Arc::new(storage), switch })
    }
}

fn main() -> ExitCode {
    hostler::main_with(&SimDrivers)
}
