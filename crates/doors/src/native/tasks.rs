//! Tasks: look, wait, cancel.

use super::fields;
use super::types::{Page, PageAsk, Task, TasksAsk};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hostler_core::access::Caller;
use hostler_core::events::Event;
use hostler_core::tasks;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Longest wait for a task's end; proxies give up on requests that take longer.
const MAX_WAIT_S: u64 = 60;
/// A waiter looks again after this long even when it hears nothing.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// Routes that answer soon.
pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(task_list)).routes(routes!(task_cancel_by_verb))
}

/// Routes that may wait.
pub(super) fn slow_routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(task_show, task_cancel))
}

const LIST: ListSpec = ListSpec {
    fields: fields::TASKS,
    picks: &[
        ("kind", Pick::Text),
        ("state", Pick::Words(&["queued", "running", "undoing", "done", "failed", "cancelled"])),
        ("open", Pick::Bool),
        ("subject", Pick::Key),
        ("owner", Pick::Key),
    ],
};

/// List tasks
///
/// The caller's; an administrator sees everybody's.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(PageAsk, TasksAsk), responses((status = 200, body = Page<Task>)))]
async fn task_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Task>>> {
    let query = ListQuery::read(&parameters.0, &LIST)?;
    let page = state.core().task_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, |task| Task::from(&task))))
}

/// Show a task, or wait for its end
#[utoipa::path(
    get, path = "/tasks/{task}", tag = "tasks",
    params(
        ("task" = String, Path, description = "Id or number"),
        ("wait_s" = Option<u64>, Query, maximum = 60, description = "Answer when it has ended, or after this many seconds, at most 60")
    ),
    responses((status = 200, body = Task))
)]
async fn task_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(task): Path<String>,
    parameters: Parameters,
) -> Answer<Json<Task>> {
    parameters.only(&["wait_s"])?;
    let wait = Duration::from_secs(parameters.number("wait_s", MAX_WAIT_S)?.unwrap_or(0));
    let task = waited(&state, &caller, &task, wait).await?;
    Ok(Json(Task::from(&task)))
}

/// The task when it has ended, or as it is when `wait` is over or the server shuts down.
async fn waited(
    state: &DoorState,
    caller: &Caller,
    key: &str,
    wait: Duration,
) -> hostler_core::Result<tasks::Task> {
    let until = Instant::now() + wait;
    // Listening begins before looking, so that nothing can happen in between unheard.
    let mut feed = state.core().event_feed();
    loop {
        let task = state.core().task_get(caller, key).await?;
        if !task.state.is_open() || Instant::now() >= until {
            return Ok(task);
        }
        let pause = until.min(Instant::now() + LOOK_PAUSE);
        tokio::select! {
            () = heard_of(&mut feed, task.id.0) => {}
            () = tokio::time::sleep_until(pause) => {}
            () = state.shutdown().cancelled() => return Ok(task),
        }
    }
}

/// Returns when something may have happened to this object.
async fn heard_of(feed: &mut Receiver<Arc<Event>>, subject: Uuid) {
    loop {
        match feed.recv().await {
            Ok(event) if event.event.subject == subject => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // Nothing will be heard any more; the pause between two looks goes on.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Cancel a task
///
/// A request: the task honours it between two steps and undoes what it did.
#[utoipa::path(
    delete, path = "/tasks/{task}", tag = "tasks",
    params(("task" = String, Path, description = "Id or number")),
    responses((status = 202, body = Task))
)]
async fn task_cancel(State(state): State<DoorState>, By(caller): By, Path(task): Path<String>) -> Answer {
    cancelled(&state, &caller, &task).await
}

/// Cancel a task (as DELETE does)
#[utoipa::path(
    post, path = "/tasks/{task}/cancel", tag = "tasks",
    params(("task" = String, Path, description = "Id or number")),
    responses((status = 202, body = Task))
)]
async fn task_cancel_by_verb(
    State(state): State<DoorState>,
    By(caller): By,
    Path(task): Path<String>,
) -> Answer {
    cancelled(&state, &caller, &task).await
}

async fn cancelled(state: &DoorState, caller: &Caller, key: &str) -> Answer<Response> {
    let task = state.core().task_cancel(caller, key).await?;
    Ok((StatusCode::ACCEPTED, Json(Task::from(&task))).into_response())
}
