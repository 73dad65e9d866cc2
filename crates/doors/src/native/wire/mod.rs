//! The parts of the wire that all native routes share: problems, bodies, lists.

mod cursor;
mod extract;
mod list;
mod problem;

pub(crate) use extract::{By, OptionallyPosted, Parameters, Posted, accepted, created, session};
pub(crate) use list::{ListQuery, ListSpec, Pick};
pub use problem::Refusal;

/// The answer to one request.
pub(crate) type Answer<T = axum::response::Response> = Result<T, Refusal>;
