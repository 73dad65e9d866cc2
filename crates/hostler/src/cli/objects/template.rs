//! `template`: what machines are made from.

use crate::cli::Session;
use crate::cli::args::{Listing, Wait};
use crate::cli::client::finish;
use crate::cli::objects::source::{self, Origin};
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::{Args, Subcommand, ValueEnum};
use hostler_doors::native::types::{Accepted, Firmware, ImageSource, Template, TemplateCreate};

/// What can be done with templates. A template is named by name (its newest version), name@version, number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TemplateCommand {
    /// List templates
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Show everything about a template
    Show {
        /// The template
        template: String,
    },
    /// Build a template from a recipe
    #[command(
        after_help = "Examples:\n  hostler template build micro\n  hostler template build debian-12 --memory 1G"
    )]
    Build(Build),
    /// Make a template from a disk image: a file on the server's host, or an address
    #[command(
        after_help = "Examples:\n  hostler template import /srv/debian-12.qcow2 --name debian-12 --memory 1G\n  hostler template import https://example.org/debian-12.raw.xz --name debian-12 --checksum sha512:…"
    )]
    Import(Import),
    /// Remove a template; machines made from it must be gone
    #[command(visible_alias = "rm")]
    Delete {
        /// The template
        template: String,
        #[command(flatten)]
        wait: Wait,
    },
}

/// Options of `template build`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Build {
    /// The recipe: micro or debian-12
    recipe: String,
    /// Address that packages come from [default: where the host gets its own]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Name of the template [default: the recipe's]
    #[arg(long, short)]
    name: Option<String>,
    #[command(flatten)]
    defaults: Defaults,
    #[command(flatten)]
    wait: Wait,
}

/// Options of `template import`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    origin: Origin,
    /// Name of the template
    #[arg(long, short)]
    name: String,
    /// Format of the image once unpacked [default: told by its first bytes; raw if its name ends in .raw or .img]
    #[arg(long, value_enum)]
    format: Option<source::FormatName>,
    /// Firmware that boots its machines
    #[arg(long, value_enum, default_value = "bios")]
    firmware: FirmwareName,
    #[command(flatten)]
    defaults: Defaults,
    #[command(flatten)]
    wait: Wait,
}

/// What its machines get when nothing else is said.
#[derive(Args, Debug)]
struct Defaults {
    /// Words about it
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// Virtual CPUs of its machines [default: what the image asks for, else 1]
    #[arg(long, value_name = "COUNT")]
    vcpus: Option<u32>,
    /// Memory of its machines [default: what the image asks for, else 512M]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    memory: Option<u64>,
    /// Disk of its machines [default: the image's size]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    disk: Option<u64>,
    /// Never fork its machines from a golden one: pools boot each
    #[arg(long)]
    no_fork: bool,
    /// Storage that its image shall lie on; its machines run on that host [default: that of the host that is asked]
    #[arg(long)]
    storage: Option<String>,
}

/// Firmware that boots a disk.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FirmwareName {
    Bios,
    Uefi,
    /// With Secure Boot and Microsoft's keys
    UefiSecure,
}

impl From<FirmwareName> for Firmware {
    fn from(name: FirmwareName) -> Self {
        match name {
            FirmwareName::Bios => Self::Bios,
            FirmwareName::Uefi => Self::Uefi,
            FirmwareName::UefiSecure => Self::UefiSecure,
        }
    }
}

pub(in crate::cli) async fn template(session: &Session, command: TemplateCommand) -> Result<Exit, Failure> {
    match command {
        TemplateCommand::List(listing) => {
            let templates: Vec<Template> =
                session.client.list(&["templates"], &listing.query(), None).await?;
            let columns = ["name", "state", "cpus", "memory", "disk", "size", "created", "reason"];
            session.show.list(&templates, &columns, row);
        }
        TemplateCommand::Show { template } => {
            let template: Template = session.client.get(&["templates", &template]).await?;
            session.show.one(&template, fields);
        }
        TemplateCommand::Build(build) => {
            let name = build.name.unwrap_or_else(|| build.recipe.clone());
            let source = ImageSource::Recipe { recipe: build.recipe, mirror: build.mirror };
            make(session, name, source, Firmware::Bios, build.defaults, build.wait).await?;
        }
        TemplateCommand::Import(import) => {
            let source = import.origin.source(import.format)?;
            make(session, import.name, source, import.firmware.into(), import.defaults, import.wait).await?;
        }
        TemplateCommand::Delete { template, wait } => {
            let accepted: Accepted<Template> = session.client.delete(&["templates", &template]).await?;
            let ended = finish(&session.client, accepted.task.clone(), wait).await?;
            if session.show.is_json() {
                output::json(&accepted);
            } else if ended {
                output::line(format_args!("template {} is gone", full_name(&accepted.record)));
            }
        }
    }
    Ok(Exit::DONE)
}

async fn make(
    session: &Session,
    name: String,
    source: ImageSource,
    firmware: Firmware,
    defaults: Defaults,
    wait: Wait,
) -> Result<(), Failure> {
    let ask = TemplateCreate {
        name,
        source,
        description: defaults.description,
        vcpus: defaults.vcpus.unwrap_or(0),
        memory_mib: defaults.memory.unwrap_or(0),
        disk_mib: defaults.disk.unwrap_or(0),
        firmware,
        fork: !defaults.no_fork,
        storage: defaults.storage,
    };
    let accepted: Accepted<Template> = session.client.post(&["templates"], &ask).await?;
    if finish(&session.client, accepted.task.clone(), wait).await? {
        let id = accepted.record.id.to_string();
        let template: Template = session.client.get(&["templates", &id]).await?;
        session.show.one(&template, fields);
    } else {
        session.show.said(&accepted, full_name(&accepted.record));
    }
    Ok(())
}

fn full_name(template: &Template) -> String {
    format!("{}@{}", template.name, template.version)
}

fn disk(template: &Template) -> String {
    match (template.disk_mib, &template.image) {
        (0, Some(image)) => image.disk_mib.map(units::mib).unwrap_or_default(),
        (0, None) => String::new(),
        (mib, _) => units::mib(mib),
    }
}

fn row(template: &Template) -> Vec<String> {
    vec![
        full_name(template),
        template.state.to_string(),
        template.vcpus.to_string(),
        units::mib(template.memory_mib),
        disk(template),
        template.image.as_ref().map(|image| units::bytes(image.bytes)).unwrap_or_default(),
        units::ago(&template.created_at),
        template.reason.clone().unwrap_or_default(),
    ]
}

fn fields(template: &Template) -> Vec<(&'static str, String)> {
    let image = template.image.as_ref();
    let source = template.source.as_ref().map(source::shown).unwrap_or_default();
    let guest = image.map(|image| {
        let words = [(image.kernel, "own kernel"), (image.agent, "agent"), (image.cloud_init, "cloud-init")];
        words.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
    });
    vec![
        ("name", full_name(template)),
        ("number", template.number.to_string()),
        ("id", template.id.to_string()),
        ("description", template.description.clone()),
        ("state", template.state.to_string()),
        ("reason", template.reason.clone().unwrap_or_default()),
        ("source", source),
        ("cpus", template.vcpus.to_string()),
        ("memory", units::mib(template.memory_mib)),
        ("disk", disk(template)),
        ("firmware", template.firmware.to_string()),
        ("forked", if template.fork { "in pools" } else { "never" }.to_owned()),
        ("has", guest.unwrap_or_default()),
        ("size", image.map(|image| units::bytes(image.bytes)).unwrap_or_default()),
        ("digest", image.map(|image| image.digest.clone()).unwrap_or_default()),
        ("created", units::ago(&template.created_at)),
    ]
}
