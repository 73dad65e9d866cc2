//! `template`: what machines are made from.

use crate::cli::Session;
use crate::cli::args::Wait;
use crate::cli::client::finish;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::{Args, Subcommand, ValueEnum};
use hostler_doors::native::types::{Accepted, ImageFormat, ImageSource, Template, TemplateCreate};
use std::path::PathBuf;

/// What can be done with templates. A template is named by name (its newest version), name@version, number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TemplateCommand {
    /// List templates
    #[command(visible_alias = "ls")]
    List,
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
    /// Make a template from a disk image on the server's host
    #[command(
        after_help = "Example:\n  hostler template import /srv/debian-12.qcow2 --name debian-12 --memory 1G"
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
    /// The image, a file on the server's host
    file: PathBuf,
    /// Name of the template
    #[arg(long, short)]
    name: String,
    /// Format of the image [default: by the end of its name: .qcow2, .raw or .img]
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Largest virtual size to accept
    #[arg(long, value_name = "SIZE", default_value = "64G", value_parser = units::parse_mib)]
    max_size: u64,
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
    /// Virtual CPUs of its machines
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    vcpus: u32,
    /// Memory of its machines
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = units::parse_mib)]
    memory: u64,
    /// Disk of its machines [default: the image's size]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    disk: Option<u64>,
    /// Storage that its image shall lie on; its machines run on that host [default: that of the host that is asked]
    #[arg(long)]
    storage: Option<String>,
}

/// Formats of disk images.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    Raw,
    Qcow2,
}

pub(in crate::cli) async fn template(session: &Session, command: TemplateCommand) -> Result<Exit, Failure> {
    match command {
        TemplateCommand::List => {
            let templates: Vec<Template> = session.client.list(&["templates"], &[], None).await?;
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
            make(session, name, source, build.defaults, build.wait).await?;
        }
        TemplateCommand::Import(import) => {
            let source = import.source()?;
            make(session, import.name, source, import.defaults, import.wait).await?;
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

impl Import {
    fn source(&self) -> Result<ImageSource, Failure> {
        let format = match (self.format, self.file.extension().and_then(|end| end.to_str())) {
            (Some(FormatName::Raw), _) | (None, Some("raw" | "img")) => ImageFormat::Raw,
            (Some(FormatName::Qcow2), _) | (None, Some("qcow2")) => ImageFormat::Qcow2,
            (None, _) => {
                let text = format!("the format of {} does not show in its name", self.file.display());
                return Err(Failure::usage(text).hint("say it with --format raw or --format qcow2"));
            }
        };
        let path = std::path::absolute(&self.file)
            .map_err(|error| Failure::because("cannot tell the current directory", &error))?;
        let Some(path) = path.to_str() else {
            return Err(Failure::usage(format!("the path {} is not UTF-8", path.display())));
        };
        Ok(ImageSource::File { path: path.to_owned(), format, max_mib: self.max_size })
    }
}

async fn make(
    session: &Session,
    name: String,
    source: ImageSource,
    defaults: Defaults,
    wait: Wait,
) -> Result<(), Failure> {
    let ask = TemplateCreate {
        name,
        source,
        description: defaults.description,
        vcpus: defaults.vcpus,
        memory_mib: defaults.memory,
        disk_mib: defaults.disk.unwrap_or(0),
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
    let source = match &template.source {
        Some(ImageSource::Recipe { recipe, mirror }) => {
            let mirror = mirror.as_ref().map(|mirror| format!(" from {mirror}")).unwrap_or_default();
            format!("recipe {recipe}{mirror}")
        }
        Some(ImageSource::File { path, format, .. }) => format!("{path} ({format})"),
        None => String::new(),
    };
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
        ("has", guest.unwrap_or_default()),
        ("size", image.map(|image| units::bytes(image.bytes)).unwrap_or_default()),
        ("digest", image.map(|image| image.digest.clone()).unwrap_or_default()),
        ("created", units::ago(&template.created_at)),
    ]
}
