//! The description of the native API (OpenAPI 3.1), made from the handlers themselves.
//!
//! `openapi/native.json` is a copy that reviewers see change; a test compares it.

use super::types::Problem;
use crate::state::DoorState;
use axum::http::Method;
use std::collections::HashSet;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder, Schema};
use utoipa_axum::router::OpenApiRouter;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "hostler",
        description = "Creates, keeps, lends and takes back machines.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/hostler/v1")),
    components(schemas(Problem)),
    security(("token" = [])),
    tags(
        (name = "machines", description = "Computers we manage"),
        (name = "templates", description = "What machines are made from"),
        (name = "media", description = "ISO images that can be inserted into machines"),
        (name = "volumes", description = "Virtual disks, and the storages they lie in"),
        (name = "snapshots", description = "States of machines that can be gone back to"),
        (name = "pools", description = "Stocks of ready machines, and machines that are lent"),
        (name = "networks", description = "Networks and their addresses"),
        (name = "hosts", description = "Computers that run virtual machines, and clusters of them"),
        (name = "tasks", description = "Durable work"),
        (name = "access", description = "Who may come in: accounts, groups, SSH keys, tokens and sessions"),
        (name = "system", description = "The installation itself")
    )
)]
struct Document;

/// A router whose description begins with ours.
pub(super) fn begin() -> OpenApiRouter<DoorState> {
    OpenApiRouter::with_openapi(Document::openapi())
}

/// The description with what every operation shares: how to come in, and that any other answer is a problem.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token, `hst_…`. Not needed over the unix socket of the server's own user."));
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert("token".to_owned(), RefOr::T(SecurityScheme::Http(scheme.build())));
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    let answer = ResponseBuilder::new()
        .description("Why it was not done")
        .content("application/problem+json", problem)
        .build();
    for item in document.paths.paths.values_mut() {
        for operation in operations_of(item) {
            operation.parameters.iter_mut().flatten().for_each(bound);
            operation.responses.responses.insert("default".to_owned(), answer.clone().into());
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response
                    && response.description.is_empty()
                {
                    "Done".clone_into(&mut response.description);
                }
            }
        }
    }
    document
}

/// What every parameter of a kind may hold: `paths` refuses the rest, and so does the reader of the header.
fn bound(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    let pattern = match (&parameter.parameter_in, parameter.name.as_str()) {
        (ParameterIn::Path, _) => r"^[^/\\\u0000-\u001f\u007f-\u009f]+$",
        (ParameterIn::Header, "Idempotency-Key") => r"^[\x21-\x7e]{1,255}$",
        _ => return,
    };
    if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
        schema.pattern = Some(pattern.to_owned());
    }
}

fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    all.into_iter().filter_map(Option::as_mut)
}

/// The description as it is served.
pub(crate) fn serialized(document: &OpenApi) -> String {
    document.to_pretty_json().unwrap_or_default() + "\n"
}

/// Every operation of the native door: its method, and its path as a pattern below `/hostler/v1`.
pub fn operations() -> Vec<(Method, String)> {
    let document = super::description();
    listed(&document).map(|(method, path, _)| (method, path.to_owned())).collect()
}

/// Operations that take no query parameters, by their whole pattern.
pub(super) fn without_parameters(document: &OpenApi) -> HashSet<(Method, String)> {
    let queried = |operation: &Operation| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(
            |parameter| matches!(parameter, RefOr::T(one) if matches!(one.parameter_in, ParameterIn::Query)),
        )
    };
    let bare = listed(document).filter(|(_, _, operation)| !queried(operation));
    bare.map(|(method, path, _)| (method, format!("/hostler/v1{path}"))).collect()
}

fn listed(document: &OpenApi) -> impl Iterator<Item = (Method, &str, &Operation)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        let methods = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        let known = methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)));
        known.map(|(method, operation)| (method, path.as_str(), operation))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn document() -> OpenApi {
        complete(super::super::description())
    }

    #[test]
    fn the_committed_description_is_the_present_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/native.json");
        let present = serialized(&document());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &present).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == present,
            "openapi/native.json has drifted; run `UPDATE=1 cargo test -p hostler-doors` and review the change"
        );
    }

    #[test]
    fn every_operation_is_described() {
        let document = document();
        let value = serde_json::to_value(&document).unwrap();
        assert_eq!(value["openapi"], "3.1.0");
        let mut ids = std::collections::BTreeSet::new();
        for (method, path) in operations() {
            let operation = &value["paths"][&path][method.as_str().to_lowercase()];
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["responses"]["default"].is_object(), "{method} {path} has no problem");
            assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: id is taken");
        }
        assert!(ids.len() > 40, "{} operations", ids.len());
    }
}
