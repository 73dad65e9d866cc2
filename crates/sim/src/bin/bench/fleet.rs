//! A database full of machines, written through the store's own port, as if they had been made and turned off long ago.

use crate::bed::Bed;
use crate::server::{INSTANT, Server};
use anyhow::{Context, Result};
use hostler_core::access::Account;
use hostler_core::hosts::Host;
use hostler_core::ids::{AccountId, MachineId, NetworkId, VolumeId};
use hostler_core::machines::{Life, Machine, Nic, Observation, Observed, Power};
use hostler_core::networks::Network;
use hostler_core::ports::{Alteration, Commit, GuestFacts, IoLimits, Store};
use hostler_core::query::{Filter, Select};
use hostler_core::record::Record;
use hostler_core::templates::{ImageFormat, Template};
use hostler_core::time::Timestamp;
use hostler_core::volumes::{Volume, VolumeState};
use hostler_store::SqliteStore;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;
use uuid::{Builder, Uuid};

/// Machines that share a commit.
const TOGETHER: u64 = 1000;
/// When the first of them was made, milliseconds since 1970.
const LONG_AGO: i64 = 1_767_225_600_000;

/// The user who has a hundredth of the machines.
pub(crate) const FEW: &str = "few";
/// The user who has the rest.
pub(crate) const MANY: &str = "many";
/// What both come in with.
pub(crate) const PASSWORD: &str = "a password for the benchmark";

/// A data directory with machines in its database, all of them off.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// The directory.
    pub(crate) data: PathBuf,
    /// How many machines.
    pub(crate) machines: u64,
}

impl Fleet {
    /// Frees the disk.
    pub(crate) fn remove(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.data)?)
    }
}

/// Makes the directory by the program itself, and the machines behind its back.
pub(crate) async fn make(bed: &Bed) -> Result<Fleet> {
    let fleet = Fleet { data: bed.folder.join("full"), machines: bed.choose(100_000, 10_000) };
    bed.say(&format!("writing {} machines into a database", fleet.machines));
    let server = Server::start(bed, &bed.simulated(), &fleet.data, &INSTANT).await?;
    server.micro().await?;
    for login in [FEW, MANY] {
        let account =
            json!({ "login": login, "email": format!("{login}@example.org"), "password": PASSWORD });
        server.ask::<Value>("POST", "/accounts", Some(account)).await?;
    }
    server.stop().await?;

    let began = Instant::now();
    let store = SqliteStore::open(&fleet.data.join("hostler.db")).await?;
    let pattern = Pattern::read(&store).await?;
    for first in (0..fleet.machines).step_by(usize::try_from(TOGETHER)?) {
        let mut alterations = Vec::new();
        for number in first..(first + TOGETHER).min(fleet.machines) {
            let machine = pattern.machine(number)?;
            alterations.push(Alteration::Insert(pattern.volume(&machine).document()?));
            alterations.push(Alteration::Insert(machine.document()?));
        }
        store.commit(Commit { alterations, ..Commit::default() }).await?;
    }
    store.close().await;
    bed.say(&format!("they took {:.1} s", began.elapsed().as_secs_f64()));
    Ok(fleet)
}

/// What all of them have in common.
struct Pattern {
    host: Host,
    network: NetworkId,
    few: AccountId,
    many: AccountId,
    template: Template,
}

impl Pattern {
    async fn read(store: &SqliteStore) -> Result<Self> {
        Ok(Self {
            host: first(store).await?,
            network: first::<Network>(store).await?.id,
            few: account(store, FEW).await?,
            many: account(store, MANY).await?,
            template: first(store).await?,
        })
    }

    /// A machine that ran once and is off, with what owners usually say about theirs.
    fn machine(&self, number: u64) -> Result<Machine> {
        let made = Timestamp(LONG_AGO + i64::try_from(number)? * 1000);
        let at = Timestamp(made.0 + 86_400_000);
        let name = format!("machine-{number:06}");
        let [.., a, b, c] = number.to_be_bytes();
        let labels = [("team", format!("team-{}", number % 50)), ("stage", "test".to_owned())];
        let guest = GuestFacts {
            agent: "hostler-agent".into(),
            version: "0.1.0".into(),
            host_name: name.clone(),
            os: "Linux 6.1.0-39-cloud-amd64".into(),
            kernel: "6.1.0-39-cloud-amd64".into(),
            addresses: [("eth0".to_owned(), vec!["10.0.2.15".parse()?])].into(),
        };
        Ok(Machine {
            id: MachineId(key(made, number, 0)),
            number: 0,
            rev: 0,
            title: String::new(),
            domain: String::new(),
            password: None,
            name: name.parse()?,
            description: "made for the benchmark".into(),
            labels: labels.into_iter().map(|(label, value)| (label.to_owned(), value)).collect(),
            attributes: [].into(),
            owner: if number.is_multiple_of(100) { self.few } else { self.many },
            cluster: self.host.cluster,
            host: self.host.id,
            template: self.template.id,
            vcpus: 1,
            memory_mib: 512,
            growing: None,
            nics: vec![Nic {
                network: self.network,
                mac: format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"),
                addresses: Vec::new(),
                inbound: None,
            }],
            medium: None,
            ssh_keys: vec![format!("ssh-ed25519 {} someone@example.org", "A".repeat(68))],
            user_data: None,
            life: Life::Present,
            wanted: Power::Off,
            observed: Observation { power: Observed::Off, at, generation: 1 },
            reason: None,
            task: None,
            ready_at: None,
            guest: Some(guest),
            ssh: None,
            golden: None,
            stock: None,
            created_at: made,
            updated_at: at,
        })
    }

    fn volume(&self, machine: &Machine) -> Volume {
        Volume {
            id: VolumeId(key(machine.created_at, low(machine.id.0), 1)),
            number: 0,
            rev: 0,
            name: format!("{}-0", machine.name),
            owner: machine.owner,
            storage: self.template.storage,
            size_mib: 1024,
            growing_mib: None,
            format: ImageFormat::Qcow2,
            template: Some(machine.template),
            golden: None,
            machine: Some(machine.id),
            position: 0,
            limits: IoLimits::default(),
            with_machine: true,
            state: VolumeState::Present,
            reason: None,
            task: None,
            created_at: machine.created_at,
        }
    }
}

/// The key of the same shape as real ones: its time first, so that rows go where real rows go.
fn key(at: Timestamp, number: u64, kind: u8) -> Uuid {
    let mut rest = [kind; 10];
    rest[2..].copy_from_slice(&number.to_be_bytes());
    Builder::from_unix_timestamp_millis(u64::try_from(at.0).unwrap_or(0), &rest).into_uuid()
}

/// The number that a key was made from.
fn low(key: Uuid) -> u64 {
    // The two bits of the variant lie above any number used here.
    key.as_u64_pair().1 & 0xff_ffff
}

async fn first<R: Record>(store: &SqliteStore) -> Result<R> {
    let found = store.list(R::KIND, Select::new(Filter::All, 1)).await?;
    Ok(R::from_document(found.first().with_context(|| format!("no {}", R::KIND.word()))?)?)
}

async fn account(store: &SqliteStore, login: &str) -> Result<AccountId> {
    let found = store.find(Account::KIND, "login", login.into()).await?;
    Ok(Account::from_document(&found.with_context(|| format!("no account {login}"))?)?.id)
}
