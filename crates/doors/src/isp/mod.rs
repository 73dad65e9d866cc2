//! What the services of VMmanager 6 and DCImanager 6 have in common: their paths, envelopes, credentials and filters; and
//! the service `auth`, which is one for both.
//!
//! A door of one service brings a [`routes::Table`] and adds it to [`tables`]. Handlers take [`by::By`],
//! [`body::Body`] and [`filters::Filters`] from a request and answer with [`refused::Answer`]; lists are rendered by
//! [`render::list`]. Not one member of a body of success is named `error`: the Go client takes that for a failure.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod by;
pub(crate) mod filters;
pub(crate) mod refused;
pub(crate) mod render;
pub(crate) mod routes;
pub(crate) mod service;

use crate::state::DoorState;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use refused::Refused;
use routes::Table;
use serde_json::json;

/// The functions of every service that is served.
fn tables() -> Vec<Table> {
    vec![auth::table(), crate::vmmanager::table(), crate::dcimanager::table()]
}

/// Method, whole path pattern and access (`public`, `user` or `administrator`) of every function, under both prefixes.
pub fn isp_routes() -> Vec<(Method, String, &'static str)> {
    tables().iter().flat_map(|table| table.listed().collect::<Vec<_>>()).collect()
}

/// The routes of all these services, under both prefixes.
pub(crate) fn router(state: &DoorState) -> Router<DoorState> {
    tables().into_iter().map(|table| table.router(state)).fold(Router::new(), Router::merge)
}

/// Whether the services know this method at all; `OPTIONS` is answered without a function.
pub(crate) fn knows(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::POST, Method::DELETE].contains(method)
}

/// The answer to a method that no function has here. It names all methods of the services, whatever the path.
///
/// Quirk: `OPTIONS` succeeds with `{}`, never with an empty body, and permits no other origin anything.
pub(crate) fn method_not_allowed(method: &Method) -> Response {
    let mut response = match *method {
        Method::OPTIONS => Json(json!({})).into_response(),
        _ => {
            let text = format!("{method} is not possible at this path");
            Refused::bare(StatusCode::METHOD_NOT_ALLOWED, text).into_response()
        }
    };
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    response
}
