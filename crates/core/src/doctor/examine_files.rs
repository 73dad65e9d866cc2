//! Files of one host: whether each belongs to a record, and each record has its file.

use super::Finding;
use super::books::{Books, exists};
use super::clean::{Leftover, is_old};
use super::repair::Repair;
use crate::core::{Core, LocalHost};
use crate::error::Result;
use crate::ids::GoldenId;
use crate::media::MediumState;
use crate::ports::StorageItem;
use crate::record::Kind;
use crate::volumes::VolumeState;
use std::collections::HashSet;
use uuid::Uuid;

impl Core {
    pub(super) async fn examine_files(
        &self,
        local: &LocalHost,
        books: &Books,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let items: HashSet<StorageItem> = match local.storage.items().await {
            Ok(items) => items.into_iter().collect(),
            Err(error) => {
                findings.push(Finding::problem("storage", "it cannot be read").because(error.detail));
                return Ok(());
            }
        };
        missing_files(local, books, &items, findings);
        let known = known_items(books);
        for item in items {
            let (kind, id) = match item {
                StorageItem::Volume(id) => (Kind::Volume, id.0),
                StorageItem::Image(id) => (Kind::Template, id.0),
                StorageItem::Medium(id) => (Kind::Medium, id.0),
            };
            // One that was made or removed since the books were read is nobody's finding.
            if !known.contains(&item) && !exists(self, kind, id).await? {
                let finding = self.leftover(local, item.into(), id);
                findings.push(finding);
            }
        }
        self.examine_goldens(local, books, findings).await
    }

    async fn examine_goldens(
        &self,
        local: &LocalHost,
        books: &Books,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let lying: HashSet<GoldenId> = match local.hypervisor.goldens().await {
            Ok(lying) => lying.into_iter().collect(),
            Err(error) => {
                findings.push(
                    Finding::problem("storage", "golden machines cannot be read").because(error.detail),
                );
                return Ok(());
            }
        };
        for id in &lying {
            if !exists(self, Kind::Golden, id.0).await? {
                findings.push(self.leftover(local, Leftover::Golden(*id), id.0));
            }
        }
        let here = local.storage.id();
        for volume in books.volumes.iter().filter(|volume| volume.storage == here) {
            if volume.golden.is_some_and(|golden| !lying.contains(&golden)) {
                let text = format!("what volume {} ({}) lies on is missing", volume.name, volume.id);
                findings.push(
                    Finding::problem("volume", text)
                        .because("the golden machine that it was forked from is not in goldens/")
                        .hint("restore that from a backup, or delete what the volume belongs to"),
                );
            }
        }
        Ok(())
    }

    pub(super) fn leftover(&self, local: &LocalHost, leftover: Leftover, id: Uuid) -> Finding {
        let finding = Finding::problem("storage", format!("{leftover} belongs to no record"));
        if is_old(id, self.now()) {
            let cause = "it was left by a crash, or the database is older than it";
            let hint =
                "if the database was restored from a backup, it may be the only copy of somebody's data";
            let host = local.hypervisor.host();
            finding.because(cause).hint(hint).repair(Repair::Clean { host, leftover })
        } else {
            finding.hint("it is very young, or its name is none of ours: look again in an hour")
        }
    }
}

fn known_items(books: &Books) -> HashSet<StorageItem> {
    let volumes = books.volumes.iter().map(|volume| StorageItem::Volume(volume.id));
    let images = books.templates.iter().map(|template| StorageItem::Image(template.id));
    let media = books.media.iter().map(|medium| StorageItem::Medium(medium.id));
    volumes.chain(images).chain(media).collect()
}

fn missing_files(
    local: &LocalHost,
    books: &Books,
    items: &HashSet<StorageItem>,
    findings: &mut Vec<Finding>,
) {
    let here = local.storage.id();
    for volume in books.volumes.iter().filter(|volume| volume.storage == here) {
        let there = items.contains(&StorageItem::Volume(volume.id));
        let (name, id) = (&volume.name, volume.id);
        if volume.state == VolumeState::Present && !there {
            let text = format!("the file of volume {name} ({id}) is missing");
            let finding = Finding::problem("volume", text)
                .hint("restore it from a backup, or delete what it belongs to");
            let marked = volume.reason.is_some() || volume.task.is_some();
            findings.push(if marked { finding } else { finding.repair(Repair::MarkMissing { volume: id }) });
        } else if let Some(reason) = volume.reason.as_ref().filter(|_| there) {
            let text = format!("volume {name} ({id}) is marked: {reason}");
            let finding = Finding::warning("volume", text).because("its file is there by now");
            findings.push(finding.repair(Repair::Unmark { volume: id }));
        }
    }
    for template in books.templates.iter().filter(|template| template.storage == here) {
        if template.image.is_some() && !items.contains(&StorageItem::Image(template.id)) {
            let text = format!("the image of template {}@{} is missing", template.name, template.version);
            findings.push(
                Finding::problem("template", text)
                    .hint("restore it from a backup; its machines cannot start"),
            );
        }
    }
    for medium in books.media.iter().filter(|medium| medium.storage == here) {
        if medium.state == MediumState::Ready && !items.contains(&StorageItem::Medium(medium.id)) {
            let text = format!("the file of medium {} is missing", medium.name);
            findings.push(Finding::problem("medium", text).hint("delete it and fetch it again"));
        }
    }
}
