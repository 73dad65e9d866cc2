//! All records that the doctor compares, read once; rows that somebody edited by hand are found on the way.

use super::Finding;
use super::repair::Repair;
use crate::core::Core;
use crate::error::Result;
use crate::hosts::{Cluster, Host};
use crate::ids::AccountId;
use crate::machines::{Life, Machine};
use crate::media::Medium;
use crate::networks::{Address, Network};
use crate::query::{Cursor, Filter, Select};
use crate::record::{Document, Kind, Record};
use crate::snapshots::Snapshot;
use crate::tasks::Task;
use crate::templates::Template;
use crate::volumes::{StoragePlace, Volume};
use std::collections::HashSet;

/// Rows read at a time.
const PAGE: u32 = 500;
/// Rows whose columns are compared by one statement.
const COMPARED: usize = 20;

/// Records as they are, but for machines that are gone and tasks that have ended.
pub(super) struct Books {
    pub(super) hosts: Vec<Host>,
    pub(super) storages: Vec<StoragePlace>,
    pub(super) networks: Vec<Network>,
    pub(super) machines: Vec<Machine>,
    pub(super) templates: Vec<Template>,
    pub(super) volumes: Vec<Volume>,
    pub(super) media: Vec<Medium>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) addresses: Vec<Address>,
    pub(super) tasks: Vec<Task>,
    pub(super) accounts: HashSet<AccountId>,
}

impl Books {
    pub(super) async fn read(core: &Core, findings: &mut Vec<Finding>) -> Result<Self> {
        read::<Cluster>(core, Filter::All, findings).await?;
        let accounts: Vec<crate::access::Account> = read(core, Filter::All, findings).await?;
        Ok(Self {
            hosts: read(core, Filter::All, findings).await?,
            storages: read(core, Filter::All, findings).await?,
            networks: read(core, Filter::All, findings).await?,
            machines: read(core, Filter::ne("life", Life::Gone.word()), findings).await?,
            templates: read(core, Filter::All, findings).await?,
            volumes: read(core, Filter::All, findings).await?,
            media: read(core, Filter::All, findings).await?,
            snapshots: read(core, Filter::All, findings).await?,
            addresses: read(core, Filter::All, findings).await?,
            tasks: read(core, Filter::eq("open", true), findings).await?,
            accounts: accounts.into_iter().map(|account| account.id).collect(),
        })
    }
}

/// All records of a kind that can be read.
async fn read<R: Record>(core: &Core, filter: Filter, findings: &mut Vec<Finding>) -> Result<Vec<R>> {
    let mut readable = Vec::new();
    let mut select = Select::new(filter, PAGE);
    loop {
        let documents = core.store().list(R::KIND, select.clone()).await?;
        let mut page: Vec<R> = Vec::with_capacity(documents.len());
        for document in &documents {
            match R::from_document(document) {
                Ok(record) if record.key() == document.id => page.push(record),
                Ok(record) => {
                    let cause = format!("its body says that it is {}", record.key());
                    findings.push(unreadable(document, cause));
                }
                Err(error) => {
                    let cause = error.cause.map_or_else(String::new, |cause| cause.to_string());
                    findings.push(unreadable(document, cause));
                }
            }
        }
        for place in edited(core, &page).await? {
            findings.push(contradiction(&page[place]));
        }
        readable.extend(page);
        match documents.last() {
            Some(last) if documents.len() == PAGE as usize => {
                select.after = Some(Cursor::after(last.id));
            }
            _ => return Ok(readable),
        }
    }
}

fn unreadable(document: &Document, cause: String) -> Finding {
    let kind = document.kind.word();
    let hint = "somebody has edited the database; restore this row from a backup of it, as nothing else knows what \
                it said";
    Finding::problem("record", format!("{kind} {} cannot be read", document.id)).because(cause).hint(hint)
}

fn contradiction<R: Record>(record: &R) -> Finding {
    let (kind, id) = (R::KIND.word(), record.key());
    Finding::problem("record", format!("{kind} {id} is listed as something else than it is"))
        .because("somebody has edited its row: what lists go by differs from what the record says")
        .repair(Repair::Rewrite { kind: R::KIND, id })
}

/// Places of those whose columns are not what their bodies say.
async fn edited<R: Record>(core: &Core, page: &[R]) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for (chunk, records) in page.chunks(COMPARED).enumerate() {
        let any = Filter::Or(records.iter().map(as_it_says).collect());
        if core.store().count(R::KIND, any).await? == records.len() as u64 {
            continue;
        }
        for (place, record) in records.iter().enumerate() {
            if !agrees(core, record).await? {
                found.push(chunk * COMPARED + place);
            }
        }
    }
    Ok(found)
}

/// Whether a row's columns say what its body says; one that has changed since it was read does.
async fn agrees<R: Record>(core: &Core, record: &R) -> Result<bool> {
    if core.store().count(R::KIND, as_it_says(record)).await? == 1 {
        return Ok(true);
    }
    let same = Filter::eq("id", record.key()).and(Filter::eq("rev", record.rev()));
    Ok(core.store().count(R::KIND, same).await? == 0)
}

fn as_it_says<R: Record>(record: &R) -> Filter {
    let columns = record.columns().into_iter().map(|(name, value)| Filter::eq(name, value));
    Filter::And(std::iter::once(Filter::eq("id", record.key())).chain(columns).collect())
}

/// Whether there is such a record, readable or not.
pub(super) async fn exists(core: &Core, kind: Kind, id: uuid::Uuid) -> Result<bool> {
    Ok(core.store().get(kind, id).await?.is_some())
}
