//! `grant`, `quota` and `audit`: who may do what with single objects, how much anybody may have, and who did what.

use crate::cli::Session;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::{Args, Subcommand};
use hostler_doors::native::types::{Action, Amounts, Deed, Grant, GrantSet, Grants, Quota, Quotas};
use reqwest::Method;

/// What can be done with grants.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GrantCommand {
    /// List what is granted on an object
    #[command(visible_alias = "ls")]
    List(ObjectArgs),
    /// Let an account or group do exactly these actions with an object
    #[command(after_help = "\
Actions are use, attach, alter, delete and all. Examples:
  hostler grant set machine web --account ann use attach
  hostler grant set network lab --group ops all")]
    Set {
        #[command(flatten)]
        object: ObjectArgs,
        #[command(flatten)]
        subject: SubjectArgs,
        /// What it may do; replaces what it might do before
        #[arg(required = true, value_parser = action)]
        actions: Vec<Action>,
    },
    /// Take back what an account or group was granted on an object
    Revoke {
        #[command(flatten)]
        object: ObjectArgs,
        #[command(flatten)]
        subject: SubjectArgs,
    },
}

/// An object that actions are granted on.
#[derive(Debug, Args)]
pub(in crate::cli) struct ObjectArgs {
    /// machine, volume, network, template or medium
    kind: String,
    /// Its id, number or name
    object: String,
}

/// An account or a group.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct SubjectArgs {
    /// An account, by login name, e-mail address, number or id
    #[arg(long, value_name = "LOGIN")]
    account: Option<String>,
    /// A group, by name, number or id
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

impl SubjectArgs {
    fn path(&self) -> [&str; 2] {
        match (&self.account, &self.group) {
            (Some(account), _) => ["account", account],
            (None, group) => ["group", group.as_deref().unwrap_or_default()],
        }
    }
}

/// What can be done with quotas.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum QuotaCommand {
    /// Show what you have and may have, or what others have
    Show {
        /// An account, by login name, e-mail address, number or id
        #[arg(long, value_name = "LOGIN", conflicts_with = "group")]
        account: Option<String>,
        /// A group, by name, number or id
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
    },
    /// Limit an account, or all members of a group together; what is left out is not limited
    #[command(after_help = "Example:\n  hostler quota set --account ann --machines 5 --memory 16384")]
    Set {
        #[command(flatten)]
        subject: SubjectArgs,
        /// Machines
        #[arg(long, value_name = "COUNT")]
        machines: Option<i64>,
        /// Virtual CPUs
        #[arg(long, value_name = "COUNT")]
        vcpus: Option<i64>,
        /// Memory in MiB
        #[arg(long, value_name = "MIB")]
        memory: Option<i64>,
        /// Volumes in MiB
        #[arg(long, value_name = "MIB")]
        disk: Option<i64>,
        /// IP addresses
        #[arg(long, value_name = "COUNT")]
        addresses: Option<i64>,
        /// Machines of pools that are lent
        #[arg(long, value_name = "COUNT")]
        checkouts: Option<i64>,
    },
    /// List everybody for whom something is limited
    #[command(visible_alias = "ls")]
    List,
}

pub(in crate::cli) async fn grant(session: &Session, command: GrantCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        GrantCommand::List(object) => {
            let grants: Grants = client.get(&["grants", &object.kind, &object.object]).await?;
            show_grants(session, &grants.items);
        }
        GrantCommand::Set { object, subject, actions } => {
            let [kind, key] = subject.path();
            let path = ["grants", &object.kind, &object.object, kind, key];
            let ask = client.request(Method::PUT, &path).json(&GrantSet { actions });
            let grants: Grants = client.json(ask).await?;
            show_grants(session, &grants.items);
        }
        GrantCommand::Revoke { object, subject } => {
            let [kind, key] = subject.path();
            let path = ["grants", &object.kind, &object.object, kind, key];
            client.send(client.request(Method::DELETE, &path)).await?;
            if !session.show.is_json() {
                output::line(format_args!("nothing is granted to {kind} {key} on it any more"));
            }
        }
    }
    Ok(Exit::DONE)
}

pub(in crate::cli) async fn quota(session: &Session, command: QuotaCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        QuotaCommand::Show { account: None, group: None } => {
            let own: Quotas = client.get(&["quota"]).await?;
            show_quotas(session, &own.items);
        }
        QuotaCommand::Show { account, group } => {
            let subject = SubjectArgs { account, group };
            let [kind, key] = subject.path();
            let quota: Quota = client.get(&["quotas", kind, key]).await?;
            show_quotas(session, &[quota]);
        }
        QuotaCommand::Set { subject, machines, vcpus, memory, disk, addresses, checkouts } => {
            let [kind, key] = subject.path();
            let limits =
                Amounts { machines, vcpus, memory_mib: memory, disk_mib: disk, addresses, checkouts };
            let ask = client.request(Method::PUT, &["quotas", kind, key]).json(&limits);
            let quota: Quota = client.json(ask).await?;
            show_quotas(session, &[quota]);
        }
        QuotaCommand::List => {
            let list: Quotas = client.get(&["quotas"]).await?;
            show_quotas(session, &list.items);
        }
    }
    Ok(Exit::DONE)
}

fn show_grants(session: &Session, grants: &[Grant]) {
    session.show.list(grants, &["to", "id", "actions"], |grant| {
        let actions: Vec<&str> = grant.actions.iter().map(|action| action.word()).collect();
        vec![grant.subject_kind.clone(), grant.subject.to_string(), actions.join(", ")]
    });
}

fn show_quotas(session: &Session, quotas: &[Quota]) {
    let columns = ["for", "name", "machines", "vcpus", "memory MiB", "disk MiB", "addresses", "checkouts"];
    session.show.list(quotas, &columns, |quota| {
        let (used, limits) = (quota.used, quota.limits);
        vec![
            quota.subject_kind.clone(),
            quota.name.clone(),
            of(used.machines, limits.machines),
            of(used.vcpus, limits.vcpus),
            of(used.memory_mib, limits.memory_mib),
            of(used.disk_mib, limits.disk_mib),
            of(used.addresses, limits.addresses),
            of(used.checkouts, limits.checkouts),
        ]
    });
}

/// `3 of 5`, or `3` where nothing is limited.
fn of(used: Option<i64>, limit: Option<i64>) -> String {
    let used = used.unwrap_or_default();
    limit.map_or_else(|| used.to_string(), |limit| format!("{used} of {limit}"))
}

fn action(text: &str) -> Result<Action, String> {
    let found = Action::ALL.iter().copied().find(|action| action.word() == text);
    found.ok_or_else(|| "an action is use, attach, alter, delete or all".to_owned())
}

/// Which lines of the audit trail.
#[derive(Debug, Args)]
pub(in crate::cli) struct AuditArgs {
    /// Of this action, machine.start for instance
    #[arg(long)]
    action: Option<String>,
    /// About the object of this id
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// By the account of this id
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Through this door
    #[arg(long)]
    door: Option<String>,
    /// done, denied or failed
    #[arg(long)]
    outcome: Option<String>,
    /// A condition in the list language, over login, action, object_kind, created_at and others
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// At most so many lines, the newest
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,
}

pub(in crate::cli) async fn audit(session: &Session, args: AuditArgs) -> Result<Exit, Failure> {
    let asked = [
        ("action", args.action),
        ("object", args.object),
        ("account", args.account),
        ("door", args.door),
        ("outcome", args.outcome),
        ("where", args.condition),
        ("order", Some("-id".to_owned())),
    ];
    let query: Vec<(&str, String)> =
        asked.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    let mut deeds: Vec<Deed> = session.client.list(&["audit"], &query, Some(args.limit)).await?;
    deeds.reverse();
    let columns = ["when", "who", "action", "object", "door", "from", "outcome"];
    session.show.list(&deeds, &columns, |deed| {
        let object = format!("{} {}", deed.object_kind, deed.object_name);
        vec![
            units::ago(&deed.created_at),
            deed.login.clone(),
            deed.action.clone(),
            object.trim().to_owned(),
            deed.door.clone(),
            deed.address.clone().unwrap_or_else(|| "here".to_owned()),
            deed.outcome.clone(),
        ]
    });
    Ok(Exit::DONE)
}
