//! CPUs and memory that are added. Neither can be taken away from a guest that uses them.

use super::super::command_line::MODULE_MIB;
use super::super::{Driver, Running};
use super::{DEVICES, OBJECTS};
use hostler_core::ids::MachineId;
use hostler_core::ports::DriverError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const MIB: u64 = 1 << 20;

#[derive(Clone, Debug, Deserialize)]
struct CpuPlace {
    #[serde(rename = "type")]
    kind: String,
    props: Map<String, Value>,
    #[serde(rename = "qom-path")]
    path: Option<String>,
}

impl CpuPlace {
    fn number(&self, name: &str) -> u64 {
        self.props.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    fn order(&self) -> [u64; 3] {
        ["socket-id", "core-id", "thread-id"].map(|name| self.number(name))
    }
}

#[derive(Debug, Deserialize)]
struct MemorySummary {
    #[serde(rename = "base-memory")]
    base: u64,
    #[serde(rename = "plugged-memory", default)]
    plugged: u64,
}

impl Driver {
    /// See [`Hypervisor::resize`](hostler_core::ports::Hypervisor::resize). All is decided before anything is done.
    pub(in super::super) async fn resize(
        self: &Arc<Self>,
        id: MachineId,
        vcpus: u32,
        memory_mib: u64,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        let mut places: Vec<CpuPlace> = running.asked("query-hotpluggable-cpus", Value::Null).await?;
        let memory: MemorySummary = running.asked("query-memory-size-summary", Value::Null).await?;
        let now =
            u32::try_from(places.iter().filter(|place| place.path.is_some()).count()).unwrap_or(u32::MAX);
        let most = u32::try_from(places.len()).unwrap_or(u32::MAX);
        more_cpus(now, most, vcpus)?;
        let more_mib = more_memory(
            (memory.base + memory.plugged) / MIB,
            most_memory(&running.record.arguments),
            memory_mib,
        )?;
        self.widen(id, vcpus, memory_mib).await?;
        if more_mib > 0 {
            running.add_memory(more_mib).await?;
        }
        places.retain(|place| place.path.is_none());
        places.sort_by_key(CpuPlace::order);
        for place in places.into_iter().take(usize::try_from(vcpus - now).unwrap_or(0)) {
            running.add_cpu(place).await?;
        }
        Ok(())
    }
}

impl Running {
    async fn add_cpu(&self, place: CpuPlace) -> Result<(), DriverError> {
        let [socket, core, thread] = place.order();
        let mut device = place.props;
        device.insert("driver".into(), place.kind.into());
        device.insert("id".into(), format!("cpu-{socket}-{core}-{thread}").into());
        self.told("device_add", device.into()).await
    }

    async fn add_memory(&self, more_mib: u64) -> Result<(), DriverError> {
        let (devices, objects) = (self.children(DEVICES).await?, self.children(OBJECTS).await?);
        let number = (1..).find(|number| !devices.contains_key(&format!("dimm-{number}"))).unwrap_or(1);
        let (device, backend) = (format!("dimm-{number}"), format!("ram-{number}"));
        if objects.contains_key(&backend) {
            // Left by a server that died before it could plug it in.
            self.told("object-del", json!({ "id": backend })).await?;
        }
        let object = json!({ "qom-type": "memory-backend-ram", "id": backend, "size": more_mib * MIB });
        self.told("object-add", object).await?;
        let module = json!({ "driver": "pc-dimm", "id": device, "memdev": backend });
        let plugged = self.told("device_add", module).await;
        if plugged.is_err() {
            let _ = self.told("object-del", json!({ "id": backend })).await;
        }
        plugged
    }
}

fn more_cpus(now: u32, most: u32, wanted: u32) -> Result<(), DriverError> {
    if wanted < now {
        return Err(DriverError::refused(format!(
            "the machine has {now} CPUs, and a guest that runs cannot give any back; turn it off first"
        )));
    }
    if wanted > most {
        return Err(DriverError::refused(format!(
            "the machine can have {most} CPUs at most until it is started again; turn it off first"
        )));
    }
    Ok(())
}

/// How much is to be added, in MiB.
fn more_memory(now_mib: u64, most_mib: Option<u64>, wanted_mib: u64) -> Result<u64, DriverError> {
    let refused = |why: String| Err(DriverError::refused(format!("{why}; turn it off first")));
    if wanted_mib < now_mib {
        return refused(format!("the machine has {now_mib} MiB, and a guest that runs cannot give any back"));
    }
    let more = wanted_mib - now_mib;
    if more == 0 {
        return Ok(0);
    }
    match most_mib {
        None => refused("the machine was started without room for more memory".into()),
        Some(most) if wanted_mib > most => {
            refused(format!("the machine can have {most} MiB at most until it is started again"))
        }
        Some(_) if more % MODULE_MIB != 0 => refused(format!(
            "memory is added to a running machine in steps of {MODULE_MIB} MiB, and from {now_mib} to {wanted_mib} MiB \
             is none"
        )),
        Some(_) => Ok(more),
    }
}

/// How far the memory can grow, as the process was told at its start.
fn most_memory(arguments: &[String]) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == "-m")?;
    let most = arguments.get(at + 1)?.split(',').find_map(|part| part.strip_prefix("maxmem="))?;
    most.strip_suffix('M')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_another_start_is_refused_with_the_reason() {
        assert!(more_cpus(2, 4, 4).is_ok());
        assert!(more_cpus(2, 4, 1).unwrap_err().detail.contains("give any back"));
        assert!(more_cpus(2, 4, 5).unwrap_err().detail.contains("4 CPUs at most"));
        assert_eq!(more_memory(256, Some(1024), 512).unwrap(), 256);
        assert_eq!(more_memory(256, None, 256).unwrap(), 0);
        assert!(more_memory(256, Some(1024), 128).is_err());
        assert!(more_memory(256, Some(1024), 300).unwrap_err().detail.contains("steps of 128"));
        assert!(more_memory(256, Some(1024), 1152).is_err());
        assert!(more_memory(256, None, 384).unwrap_err().detail.contains("without room"));
    }

    #[test]
    fn the_room_for_memory_is_read_from_the_arguments() {
        let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(most_memory(&arguments("-m size=256M,slots=16,maxmem=2048M -S")), Some(2048));
        assert_eq!(most_memory(&arguments("-m size=256M -S")), None);
        assert_eq!(most_memory(&[]), None);
    }
}
