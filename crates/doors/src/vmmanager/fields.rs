//! What lists may be filtered and ordered by, under the names they show it by. The bare name of a joined object means
//! its id.

use super::CONSUL;
use hostler_core::machines::{Life, Observed};
use hostler_core::query::Filter;
use hostler_core::query::language::Holds::{Bool, Number, Shifted, Shown, Text, Word};
use hostler_core::query::language::{Case, Field};
use hostler_core::record::Kind;
use hostler_core::tasks::TaskState;
use hostler_core::templates::TemplateState;

const ID: Field = Field::of("id", Number, "number");
const NAME: Field = Field::own("name", Text);

fn present(power: &[Observed]) -> Filter {
    let seen = power.iter().map(|power| Filter::eq("observed", power.word())).collect();
    Filter::eq("life", Life::Present.word()).and(Filter::Or(seen))
}

/// Machines. Whoever reads them sees [`render::state`](super::render::state), which these conditions are.
pub(super) const HOSTS: &[Field] = &[
    ID,
    Field::of("name", Text, "title"),
    Field::of("comment", Text, "description"),
    Field::own("domain", Text),
    Field::cases(
        "state",
        Text,
        &[
            Case { word: "creating", when: || Filter::eq("life", Life::Creating.word()) },
            Case { word: "active", when: || present(&[Observed::On, Observed::Paused]) },
            Case { word: "stopped", when: || present(&[Observed::Off]) },
            Case { word: "unavailable", when: || present(&[Observed::Unknown]) },
            Case { word: "deleting", when: || Filter::eq("life", Life::Deleting.word()) },
        ],
    ),
    Field::of("cpu_number", Number, "vcpus"),
    Field::of("ram_mib", Number, "memory_mib"),
    Field::through("cluster", Number, "cluster", Kind::Cluster, "number"),
    Field::through("cluster.id", Number, "cluster", Kind::Cluster, "number"),
    Field::through("cluster.name", Text, "cluster", Kind::Cluster, "name"),
    Field::through("node", Number, "host", Kind::Host, "number"),
    Field::through("node.id", Number, "host", Kind::Host, "number"),
    Field::through("node.name", Text, "host", Kind::Host, "name"),
    Field::through("account", Number, "owner", Kind::Account, "number"),
    Field::through("account.id", Number, "owner", Kind::Account, "number"),
    Field::through("account.email", Text, "owner", Kind::Account, "email"),
    Field::through("os", Number, "template", Kind::Template, "number"),
    Field::through("os.id", Number, "template", Kind::Template, "number"),
    Field::through("os.name", Text, "template", Kind::Template, "name"),
    Field::through("os_name", Text, "template", Kind::Template, "name"),
    Field::naming("ip4", Text, Kind::Address, "machine", "ip"),
    Field::naming("ip4.ip", Text, Kind::Address, "machine", "ip"),
    Field::naming("disk.id", Number, Kind::Volume, "machine", "number"),
    Field::naming("disk.disk_mib", Number, Kind::Volume, "machine", "size_mib"),
    Field::naming("disk.size_mib", Number, Kind::Volume, "machine", "size_mib"),
    Field::cases("rescue_mode", Bool, NEVER),
    Field::of("create_date", Shown, "created_at"),
];

const NEVER: &[Case] = &[Case { word: "false", when: || Filter::All }];

fn in_state(state: TaskState) -> Filter {
    Filter::eq("state", state.word())
}

fn of_kind(kind: &'static str) -> Filter {
    Filter::eq("kind", kind)
}

/// Kinds of task by the name that clients know them by; names of which no source tells are made in the same way.
pub(super) const TASK_NAMES: &[Case] = &[
    Case { word: "host_create", when: || of_kind("machine.create") },
    Case { word: "host_start", when: || of_kind("machine.start") },
    Case { word: "host_stop", when: || of_kind("machine.stop") },
    Case { word: "host_restart", when: || of_kind("machine.restart") },
    Case { word: "host_reset", when: || of_kind("machine.reset") },
    Case { word: "host_pause", when: || of_kind("machine.pause") },
    Case { word: "host_resume", when: || of_kind("machine.resume") },
    Case { word: "disk_add", when: || of_kind("volume.add") },
    Case { word: "host_set_keys", when: || of_kind("machine.keys") },
    Case { word: "host_delete", when: || of_kind("machine.delete") },
    Case { word: "host_change_params", when: || of_kind("machine.resize") },
    Case { word: "iso_mount", when: || of_kind("machine.medium") },
    Case { word: "interface_create", when: || of_kind("nic.attach") },
    Case { word: "interface_delete", when: || of_kind("nic.detach") },
    Case { word: "snapshot_create", when: || of_kind("snapshot.take") },
    Case { word: "snapshot_revert", when: || of_kind("snapshot.revert") },
    Case { word: "snapshot_delete", when: || of_kind("snapshot.remove") },
    Case { word: "golden_create", when: || of_kind("golden.make") },
    Case { word: "os_update", when: || of_kind("template.make") },
    Case { word: "os_delete", when: || of_kind("template.delete") },
    Case { word: "iso_create", when: || of_kind("medium.make") },
    Case { word: "iso_delete", when: || of_kind("medium.delete") },
    Case { word: "disk_create", when: || of_kind("volume.create") },
    Case { word: "disk_delete", when: || of_kind("volume.delete") },
    Case { word: "disk_attach", when: || of_kind("volume.attach") },
    Case { word: "disk_detach", when: || of_kind("volume.detach") },
    Case { word: "disk_resize", when: || of_kind("volume.grow") },
    Case { word: "disk_change_params", when: || of_kind("volume.limit") },
    Case { word: "node_clean", when: || of_kind("host.clean") },
];

/// Tasks.
pub(super) const TASKS: &[Field] = &[
    ID,
    Field::of("consul_id", Shifted(CONSUL), "number"),
    Field::cases("name", Text, TASK_NAMES),
    Field::cases(
        "status",
        Text,
        &[
            Case { word: "created", when: || in_state(TaskState::Queued) },
            Case {
                word: "running",
                when: || Filter::Or(vec![in_state(TaskState::Running), in_state(TaskState::Undoing)]),
            },
            Case { word: "complete", when: || in_state(TaskState::Done) },
            Case { word: "fail", when: || in_state(TaskState::Failed) },
            Case { word: "canceled", when: || in_state(TaskState::Cancelled) },
        ],
    ),
    Field::through("host", Number, "subject", Kind::Machine, "number"),
    Field::through("host.id", Number, "subject", Kind::Machine, "number"),
    Field::through("host.name", Text, "subject", Kind::Machine, "title"),
    Field::through("entity.id", Number, "subject", Kind::Machine, "number"),
    Field::through("account", Number, "owner", Kind::Account, "number"),
    Field::through("account.id", Number, "owner", Kind::Account, "number"),
    Field::through("account.email", Text, "owner", Kind::Account, "email"),
    Field::through("node", Number, "host", Kind::Host, "number"),
    Field::through("node.id", Number, "host", Kind::Host, "number"),
    Field::through("node.name", Text, "host", Kind::Host, "name"),
    Field::of("date_create", Shown, "created_at"),
];

/// Clusters.
pub(super) const CLUSTERS: &[Field] = &[ID, NAME, Field::cases("virtualization_type", Text, KVM)];

const KVM: &[Case] = &[Case { word: "kvm", when: || Filter::All }];

/// Hosts.
pub(super) const NODES: &[Field] = &[
    ID,
    NAME,
    Field::through("cluster", Number, "cluster", Kind::Cluster, "number"),
    Field::through("cluster.id", Number, "cluster", Kind::Cluster, "number"),
    Field::through("cluster.name", Text, "cluster", Kind::Cluster, "name"),
];

/// Templates.
pub(super) const OSES: &[Field] = &[
    ID,
    NAME,
    Field::cases(
        "state",
        Text,
        &[
            Case { word: "active", when: || Filter::eq("state", TemplateState::Ready.word()) },
            Case { word: "downloading", when: || Filter::eq("state", TemplateState::Building.word()) },
            Case { word: "deleting", when: || Filter::eq("state", TemplateState::Deleting.word()) },
            Case { word: "unavailable", when: || Filter::eq("state", TemplateState::Failed.word()) },
        ],
    ),
];

/// The disks of one machine.
pub(super) const DISKS: &[Field] = &[
    ID,
    NAME,
    Field::own("size_mib", Number),
    Field::of("disk_mib", Number, "size_mib"),
    Field::through("storage", Number, "storage", Kind::Storage, "number"),
    Field::through("storage.id", Number, "storage", Kind::Storage, "number"),
    Field::through("storage.name", Text, "storage", Kind::Storage, "name"),
];

/// The addresses of one machine.
pub(super) const ADDRESSES: &[Field] = &[
    ID,
    Field::of("ip_addr", Word, "ip"),
    Field::through("ippool", Number, "network", Kind::Network, "number"),
    Field::through("network", Number, "network", Kind::Network, "number"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::tasks::TASK_KINDS;

    #[test]
    fn every_kind_of_task_has_a_name_of_its_own() {
        let named: Vec<Filter> = TASK_NAMES.iter().map(|case| (case.when)()).collect();
        for kind in TASK_KINDS {
            assert_eq!(named.iter().filter(|filter| **filter == of_kind(kind)).count(), 1, "{kind}");
        }
    }
}
