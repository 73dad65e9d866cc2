//! Tasks: durable work with steps, progress and an outcome.

mod model;

pub use model::{Task, TaskState};
