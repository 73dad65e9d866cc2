//! From an answer that is no success to a failure with an exit code.

use crate::failure::{Exit, Failure};
use hostler_doors::native::types::Problem;
use reqwest::Response;

/// What the server said, or at least its status.
pub(super) async fn failure(response: Response) -> Failure {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    let failure = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => of_problem(problem),
        Err(_) => Failure::new(format!("the server answered {status}"))
            .hint("is this the address of a hostler? its log may say more"),
    };
    let failure = failure.exit(exit(status.as_u16()));
    if status.as_u16() == 401 && failure.hint.is_none() {
        return failure
            .hint("log in with `hostler login`, or give a token with HOSTLER_TOKEN or --token-file");
    }
    failure
}

fn of_problem(problem: Problem) -> Failure {
    let text = match problem.field.filter(|field| !field.is_empty()) {
        Some(field) => format!("{field}: {}", problem.detail),
        None => problem.detail,
    };
    let mut failure = Failure::new(text);
    if problem.status == 500
        && let Some(id) = problem.request_id
    {
        failure = failure.cause(format!("the server's log has more under request {id}"));
    }
    failure.code = Some(problem.code);
    failure.hint = problem.hint;
    failure
}

fn exit(status: u16) -> Exit {
    match status {
        400 | 413 | 415 | 422 => Exit::USAGE,
        401 | 403 => Exit::DENIED,
        404 => Exit::NOT_FOUND,
        409 | 412 | 423 => Exit::CONFLICT,
        507 => Exit::NO_CAPACITY,
        _ => Exit::FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_exit_code() {
        let codes = [422, 401, 403, 404, 409, 507, 500, 501, 503, 429].map(|status| exit(status).0);
        assert_eq!(codes, [2, 4, 4, 3, 5, 6, 1, 1, 1, 1]);
    }

    #[test]
    fn a_problem_keeps_its_field_and_hint() {
        let problem = serde_json::json!({
            "type": "/hostler/problems/invalid", "title": "Unprocessable Content", "status": 422,
            "detail": "a name has at most 63 characters", "code": "invalid", "field": "name", "hint": "shorten it",
        });
        let failure = of_problem(serde_json::from_value(problem).unwrap());
        assert_eq!(failure.to_string(), "error: name: a name has at most 63 characters\nhint: shorten it");
    }
}
