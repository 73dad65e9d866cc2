//! Waiting for a task: a progress bar fed by the event stream, with a look at the task itself now and then.

use super::{Client, Feed, Message};
use crate::cli::args::Wait;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use hostler_doors::native::types::{Task, TaskState};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// Between looks at the task while events come in; they are the quicker news.
const LOOK: Duration = Duration::from_secs(5);
/// Between looks without them.
const POLL: Duration = Duration::from_millis(300);

/// Waits until the task has ended, if that is wanted. Answers whether it has ended well.
///
/// A task that failed is a failure; so are a timeout and Ctrl-C, though the work goes on.
pub(crate) async fn finish(client: &Client, task: Option<Task>, wait: Wait) -> Result<bool, Failure> {
    let Some(task) = task else { return Ok(true) };
    if !wait.wanted() {
        output::note(format_args!(
            "task {} does it; `hostler task watch {}` shows how far it is",
            task.number, task.number
        ));
        return Ok(false);
    }
    let number = task.number;
    let deadline = async {
        match wait.timeout {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let bar = bar();
    let ended = tokio::select! {
        ended = follow(client, task, &bar) => ended,
        () = deadline => Err(Failure::new(format!("task {number} has not ended in time; it goes on"))),
        _ = tokio::signal::ctrl_c() => {
            Err(Failure::new(format!("no longer waiting for task {number}; it goes on")).exit(Exit(130)))
        }
    };
    bar.finish_and_clear();
    let hint =
        format!("`hostler task watch {number}` waits for it again, `hostler task cancel {number}` stops it");
    outcome(&ended.map_err(|failure| if failure.hint.is_none() { failure.hint(hint) } else { failure })?)
}

/// What a task that has ended means for us.
fn outcome(task: &Task) -> Result<bool, Failure> {
    match task.state {
        TaskState::Done => Ok(true),
        TaskState::Cancelled => Err(Failure::new(format!(
            "task {} ({} of {}) was cancelled",
            task.number, task.kind, task.subject_name
        ))),
        TaskState::Failed => {
            let text = format!("task {} ({} of {}) failed", task.number, task.kind, task.subject_name);
            let failure = Failure::new(text).hint(format!(
                "`hostler task show {}` has the details, `hostler doctor` what is wrong",
                task.number
            ));
            Err(match &task.error {
                Some(error) => failure.cause(error.clone()),
                None => failure,
            })
        }
        TaskState::Queued | TaskState::Running | TaskState::Undoing => Ok(false),
    }
}

async fn follow(client: &Client, mut task: Task, bar: &ProgressBar) -> Result<Task, Failure> {
    let id = task.id.to_string();
    let mut feed = Feed::open(client, &[("subject", id.clone())], None).await.ok();
    // What happened before the stream was open is seen by looking.
    task = client.get(&["tasks", &id]).await?;
    loop {
        draw(bar, &task);
        if !task.open {
            return Ok(task);
        }
        let pause = if feed.is_some() { LOOK } else { POLL };
        let look = tokio::select! {
            () = tokio::time::sleep(pause) => true,
            message = news(&mut feed) => match message {
                Some(message) => learn(&mut task, &message),
                None => { feed = None; true }
            },
        };
        if look {
            task = client.get(&["tasks", &id]).await?;
        }
    }
}

async fn news(feed: &mut Option<Feed>) -> Option<Message> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

/// Takes what an event says of our task; answers whether the task itself must be looked at.
fn learn(task: &mut Task, message: &Message) -> bool {
    let Some(event) = message.event() else { return false };
    if event.subject != task.id || event.kind != "task" {
        return false;
    }
    if let Some(progress) = event.body["progress"].as_f64() {
        task.progress = progress;
    }
    if let Some(text) = event.body["message"].as_str() {
        text.clone_into(&mut task.message);
    }
    let state: Option<TaskState> = serde_json::from_value(event.body["state"].clone()).ok();
    state.is_none_or(|state| !state.is_open())
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {percent:>3}% {wide_msg}");
    let bar = ProgressBar::new(1000);
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn draw(bar: &ProgressBar, task: &Task) {
    bar.set_prefix(format!("{} {}", task.kind, units::plain(&task.subject_name)));
    bar.set_message(units::plain(&task.message));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
    bar.set_position((task.progress.clamp(0.0, 1.0) * 1000.0) as u64);
}
