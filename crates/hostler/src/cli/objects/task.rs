//! `task` and `events`: what the server does.

use crate::cli::Session;
use crate::cli::args::{Listing, Wait};
use crate::cli::client::{Feed, finish};
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Subcommand;
use hostler_doors::native::types::{Event, Task};

/// What can be done with tasks. A task is named by its number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TaskCommand {
    /// List tasks, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only tasks that have not ended
        #[arg(long)]
        open: bool,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show everything about a task
    Show {
        /// The task
        task: String,
    },
    /// Wait until a task has ended, and show how far it is meanwhile
    Watch {
        /// The task
        task: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Ask a task to stop; what it did is undone
    Cancel {
        /// The task
        task: String,
    },
}

pub(in crate::cli) async fn task(session: &Session, command: TaskCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        TaskCommand::List { open, limit, listing } => {
            let mut query = listing.query_or("-number");
            if open {
                query.push(("open", "true".to_owned()));
            }
            let tasks: Vec<Task> = client.list(&["tasks"], &query, Some(limit)).await?;
            let columns = ["number", "kind", "of", "state", "done", "created", "message"];
            session.show.list(&tasks, &columns, row);
        }
        TaskCommand::Show { task } => {
            let task: Task = client.get(&["tasks", &task]).await?;
            session.show.one(&task, fields);
        }
        TaskCommand::Watch { task, wait } => {
            let task: Task = client.get(&["tasks", &task]).await?;
            let id = task.id.to_string();
            finish(client, Some(task), wait).await?;
            let task: Task = client.get(&["tasks", &id]).await?;
            session.show.said(&task, format_args!("task {} is {}", task.number, task.state));
        }
        TaskCommand::Cancel { task } => {
            let task: Task = client.post(&["tasks", &task, "cancel"], &serde_json::json!({})).await?;
            let sentence = if task.open {
                format!("task {} was asked to stop; `hostler task watch {}`", task.number, task.number)
            } else {
                format!("task {} is {} already", task.number, task.state)
            };
            session.show.said(&task, sentence);
        }
    }
    Ok(Exit::DONE)
}

pub(in crate::cli) async fn events(session: &Session) -> Result<Exit, Failure> {
    let mut after: Option<String> = None;
    loop {
        let mut feed = Feed::open(&session.client, &[], after.as_deref()).await?;
        loop {
            let message = tokio::select! {
                message = feed.next() => message,
                _ = tokio::signal::ctrl_c() => return Ok(Exit::DONE),
            };
            let Some(message) = message else { break };
            if message.id.is_some() {
                after.clone_from(&message.id);
            }
            if session.show.is_json() {
                output::line(&message.data);
            } else if let Some(event) = message.event() {
                output::line(sentence(&event));
            }
        }
        // A stream may end at any time, by a proxy for instance; it goes on where it was.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn sentence(event: &Event) -> String {
    let text = |name: &str| event.body[name].as_str().unwrap_or_default().to_owned();
    let name = [text("name"), text("subject_name")].concat();
    let name = if name.is_empty() { event.subject.to_string() } else { name };
    let details = ["kind", "life", "state", "power", "message", "error"].map(text);
    let details: Vec<_> = details.into_iter().filter(|detail| !detail.is_empty()).collect();
    units::plain(&format!("{} {:<18} {name} {}", event.at, event.name, details.join(" ")))
        .trim_end()
        .to_owned()
}

fn percent(task: &Task) -> String {
    format!("{:.0}%", task.progress * 100.0)
}

fn row(task: &Task) -> Vec<String> {
    vec![
        task.number.to_string(),
        task.kind.clone(),
        task.subject_name.clone(),
        task.state.to_string(),
        percent(task),
        units::ago(&task.created_at),
        task.error.clone().unwrap_or_else(|| task.message.clone()),
    ]
}

fn fields(task: &Task) -> Vec<(&'static str, String)> {
    let ago = |at: &Option<String>| at.as_deref().map(units::ago).unwrap_or_default();
    let attempt = if task.attempt > 0 { task.attempt.to_string() } else { String::new() };
    vec![
        ("number", task.number.to_string()),
        ("id", task.id.to_string()),
        ("kind", task.kind.clone()),
        ("of", format!("{} {}", task.subject_kind, task.subject_name)),
        ("state", task.state.to_string()),
        ("step", task.step.clone()),
        ("failed tries", attempt),
        ("done", percent(task)),
        ("message", task.message.clone()),
        ("error", task.error.clone().unwrap_or_default()),
        ("code", task.error_code.clone().unwrap_or_default()),
        ("next step", if task.open { units::ago(&task.due) } else { String::new() }),
        ("created", units::ago(&task.created_at)),
        ("started", ago(&task.started_at)),
        ("ended", ago(&task.ended_at)),
    ]
}
