//! When hostler takes no requests: while it starts, and in maintenance. Whoever is turned away gets 503 with a pause, in
//! the shape of the door that was asked, and nothing has been done.

use crate::isp::refused::Refused;
use crate::isp::service::Asked;
use crate::login::LocalPeer;
use crate::native::Refusal;
use crate::state::DoorState;
use crate::{is_native, observe, vmpooler};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hostler_core::{Error, ErrorKind};
use std::sync::{Arc, OnceLock};
use tower::ServiceExt;

/// Who asks for these in maintenance wants to know of it, or to end it.
const ALWAYS: [&str; 4] = ["/livez", "/readyz", "/metrics", "/hostler/v1/maintenance"];

/// Whose shape an answer has that no route of a door gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Problems (RFC 9457).
    Native,
    /// The envelope of VMmanager's and DCImanager's services.
    Isp,
    /// `{"ok": false}`.
    Vmpooler,
    /// A line of text.
    Plain,
}

impl Dialect {
    /// The first path segment decides.
    pub(crate) fn of(path: &str) -> Self {
        if is_native(path) {
            Self::Native
        } else if Asked::of(path).is_some() {
            Self::Isp
        } else if vmpooler::is_ours(path) {
            Self::Vmpooler
        } else {
            Self::Plain
        }
    }

    /// An answer that no route gives; `code` is the native door's word for it.
    pub(crate) fn answer(self, status: StatusCode, code: &'static str, text: &str) -> Response {
        match self {
            Self::Native => Refusal::new(status, code, text).into_response(),
            Self::Isp if status == StatusCode::NOT_FOUND => Refused::no_such_function().into_response(),
            Self::Isp => Refused::bare(status, text).into_response(),
            Self::Vmpooler => vmpooler::answer(status, text),
            Self::Plain => (status, format!("{text}\n")).into_response(),
        }
    }

    /// "Not now", as this dialect has it.
    fn refuse(self, error: Error) -> Response {
        match self {
            Self::Native => Refusal::from(error).into_response(),
            Self::Isp => Refused::from(error).into_response(),
            Self::Vmpooler => vmpooler::refuse(error),
            Self::Plain => {
                let pause = match error.kind {
                    ErrorKind::Unavailable { retry_after_s } => retry_after_s,
                    _ => 1,
                };
                let retry = [(header::RETRY_AFTER, pause.to_string())];
                (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{}\n", error.text)).into_response()
            }
        }
    }
}

/// Turns requests away in maintenance, before anything is done for them.
pub(crate) async fn heed_maintenance(
    State(state): State<DoorState>,
    request: Request,
    next: Next,
) -> Response {
    match state.core().maintenance() {
        Some(maintenance) if !goes_on(&request) => {
            Dialect::of(request.uri().path()).refuse(maintenance.refusal())
        }
        _ => next.run(request).await,
    }
}

/// What is answered in maintenance all the same: see [`ALWAYS`]; and what a local administrator only looks at, so that
/// the command line can show how things stand. A connection that is upgraded is more than a look.
fn goes_on(request: &Request) -> bool {
    let path = request.uri().path();
    let local = request.extensions().get::<LocalPeer>().is_some_and(|peer| peer.is_administrator());
    let look = matches!(*request.method(), Method::GET | Method::HEAD);
    let upgrade = request.headers().contains_key(header::UPGRADE);
    ALWAYS.contains(&path) || (local && look && !upgrade && is_native(path))
}

/// What a listener serves from the first moment: "not now" until the doors are [opened](Self::open).
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    doors: Arc<OnceLock<Router>>,
}

impl Entrance {
    /// From now on requests go to these doors. Only the first call counts.
    pub fn open(&self, doors: Router) {
        // Nobody opens them twice.
        let _ = self.doors.set(doors);
    }

    /// The service for a listener.
    pub fn router(&self) -> Router {
        let entrance = self.clone();
        Router::new().fallback(async move |request: Request| match entrance.doors.get() {
            Some(doors) => match doors.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            None => starting(&request),
        })
    }
}

fn starting(request: &Request) -> Response {
    let path = request.uri().path();
    if path == "/livez" {
        return "ok\n".into_response();
    }
    let error = Error::new(ErrorKind::Unavailable { retry_after_s: 1 }, "starting", "hostler is starting");
    let dialect = Dialect::of(path);
    let refused = dialect.refuse(error);
    observe::finished(refused, dialect, observe::request_id(request.headers()).unwrap_or("starting"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};

    fn request(method: Method, path: &str, peer: Option<u32>) -> Request {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        if let Some(uid) = peer {
            request.extensions_mut().insert(LocalPeer { uid, server_uid: 1000 });
        }
        request
    }

    #[test]
    fn in_maintenance_only_looks_of_local_administrators_and_operations_go_on() {
        for (method, path, peer, wanted) in [
            (Method::GET, "/livez", None, true),
            (Method::GET, "/metrics", None, true),
            (Method::PUT, "/hostler/v1/maintenance", None, true),
            (Method::GET, "/hostler/v1/machines", None, false),
            (Method::GET, "/hostler/v1/machines", Some(1000), true),
            (Method::GET, "/hostler/v1/machines", Some(1001), false),
            (Method::POST, "/hostler/v1/machines", Some(1000), false),
            (Method::GET, "/vm", Some(1000), false),
            (Method::GET, "/hostler/v1/maintenance/x", None, false),
        ] {
            assert_eq!(goes_on(&request(method.clone(), path, peer)), wanted, "{method} {path} {peer:?}");
        }
        let mut console = request(Method::GET, "/hostler/v1/machines/web/console", Some(1000));
        console.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        assert!(!goes_on(&console));
    }

    #[tokio::test]
    async fn until_the_doors_open_everybody_is_asked_to_come_again() {
        let entrance = Entrance::default();
        let origin = entrance.router();
        let ask = async |path: &str| origin.clone().oneshot(request(Method::POST, path, None)).await.unwrap();
        assert_eq!(ask("/livez").await.status(), StatusCode::OK);
        for (path, kind) in [
            ("/hostler/v1/machines", "application/problem+json"),
            ("/vm", "application/json"),
            ("/", "text/plain; charset=utf-8"),
            ("/vm/v3/host", "application/json"),
            ("/api/auth/v4/public/token", "application/json"),
            ("/readyz", "text/plain; charset=utf-8"),
        ] {
            let response = ask(path).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
            assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
            let body = to_bytes(response.into_body(), 4096).await.unwrap();
            assert!(String::from_utf8_lossy(&body).contains("hostler is starting"), "{path}");
        }
        entrance.open(Router::new().fallback(async || "open"));
        assert_eq!(ask("/vm").await.status(), StatusCode::OK);
    }
}
