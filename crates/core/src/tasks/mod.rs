//! Tasks: durable work with steps, progress and an outcome.
//!
//! A task is a row, made in the same commit as the state it carries out. A [`Worker`] takes a lease on it, runs
//! its steps one after the other, and commits each step's result together with the task's new position. A step is
//! idempotent: after a crash it runs again from the last committed position.
//!
//! ```text
//!            ┌───────────────┐  next / wait
//!            ▼               │
//!   queued ─► running ───────┘──► done
//!               │  failure, or cancelled between steps
//!               ▼
//!            undoing ──► failed | cancelled
//! ```
//!
//! Only the holder of the lease writes a task; every such write carries the lease's epoch, so a worker that was
//! stalled while another took over can finish nothing. [`work`] is the list of everything that can be done.

mod commands;
mod model;
mod order;
mod runner;
pub(crate) mod work;
mod worker;

pub use model::{Task, TaskState};
pub use order::Accepted;
pub(crate) use order::{Order, ordered};
pub use runner::{Executed, Runner};
pub use work::TASK_KINDS;
pub(crate) use work::{Outcome, Step, StepContext, StepError, Work};
pub use worker::Worker;
