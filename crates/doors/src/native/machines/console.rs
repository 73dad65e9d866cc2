//! A machine's consoles: what was written to it so far, and a live connection.
//!
//! The connection is an HTTP/1.1 upgrade to `hostler-stream`: after `101 Switching Protocols` bytes go both ways as
//! they are. It ends with the machine, with the client, when the server shuts down, and soon after the caller's
//! credential or right has ended: both are asked for again while it is open.

use crate::login::Session;
use crate::native::wire::{Answer, By, Parameters, Refusal, session};
use crate::state::DoorState;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use hostler_core::ErrorKind;
use hostler_core::ports::Console;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::UnixStream;

const PROTOCOL: &str = "hostler-stream";
/// Between two looks at whether the caller still counts, when nothing happens that may end it.
const CHECK_PAUSE: Duration = Duration::from_secs(15);
/// Of the log, when nothing is said.
const DEFAULT_BYTES: u64 = 65_536;
const MAX_BYTES: u64 = 1 << 20;

/// Show what a machine wrote to its serial console
///
/// The last bytes of it, as they are.
#[utoipa::path(
    get, path = "/machines/{machine}/console/log", tag = "machines",
    params(
        ("machine" = String, Path, description = "Id, number or name"),
        ("bytes" = Option<u64>, Query, maximum = 1048576, description = "At most this many, up to 1048576; 65536 when left out")
    ),
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(super) async fn console_log(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    parameters: Parameters,
) -> Answer {
    parameters.only(&["bytes"])?;
    let bytes = parameters.number("bytes", MAX_BYTES)?.unwrap_or(DEFAULT_BYTES);
    let log = state.core().machine_console_log(&caller, &machine, bytes).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], log).into_response())
}

/// Open a machine's serial console
///
/// Upgrade to `hostler-stream`: bytes both ways.
#[utoipa::path(
    get, path = "/machines/{machine}/console/serial", tag = "machines",
    params(("machine" = String, Path, description = "Id, number or name")),
    responses((status = 101, description = "Bytes go both ways from here"))
)]
pub(super) async fn console_serial(
    State(state): State<DoorState>,
    Path(machine): Path<String>,
    request: Request,
) -> Answer {
    open(state, machine, request, Console::Serial).await
}

/// Open a machine's graphical console
///
/// Upgrade to `hostler-stream`: RFB (VNC), bytes both ways.
#[utoipa::path(
    get, path = "/machines/{machine}/console/display", tag = "machines",
    params(("machine" = String, Path, description = "Id, number or name")),
    responses((status = 101, description = "Bytes go both ways from here"))
)]
pub(super) async fn console_display(
    State(state): State<DoorState>,
    Path(machine): Path<String>,
    request: Request,
) -> Answer {
    open(state, machine, request, Console::Display).await
}

async fn open(state: DoorState, machine: String, mut request: Request, which: Console) -> Answer {
    let session = session(request.extensions())?;
    if !wants_stream(request.headers()) {
        let text = format!("this needs an HTTP/1.1 upgrade to {PROTOCOL}");
        let mut response =
            Refusal::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", text).into_response();
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        return Ok(response);
    }
    let console = state.core().machine_console(&session.caller, &machine, which).await?;
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        let text = "this connection cannot be upgraded";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "malformed", text));
    };
    let streams = state.streams().clone();
    streams.spawn(carry(state, session, machine, upgrade, console));
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let names = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, PROTOCOL)
}

async fn carry(
    state: DoorState,
    session: Session,
    machine: String,
    upgrade: OnUpgrade,
    mut console: UnixStream,
) {
    let upgraded = tokio::select! {
        upgraded = upgrade => upgraded,
        () = state.shutdown().cancelled() => return,
    };
    let mut client = match upgraded {
        Ok(client) => TokioIo::new(client),
        Err(error) => {
            tracing::debug!(%error, machine, "a console was not opened after all");
            return;
        }
    };
    tokio::select! {
        ended = tokio::io::copy_bidirectional(&mut client, &mut console) => {
            if let Err(error) = ended {
                tracing::debug!(%error, machine, "a console ended");
            }
        }
        () = state.shutdown().cancelled() => {}
        () = no_longer_allowed(&state, &session, &machine) => {
            tracing::info!(caller = session.caller.login, machine, "a console was closed: no longer allowed");
        }
    }
}

/// Returns when the caller's credential has ended or the machine is no longer theirs.
async fn no_longer_allowed(state: &DoorState, session: &Session, machine: &str) {
    let mut watch = state.core().watch(&session.caller);
    loop {
        if !session.still_counts(state.core()).await {
            return;
        }
        if let Err(error) = state.core().machine_console_allowed(&session.caller, machine).await
            && matches!(error.kind, ErrorKind::NotFound | ErrorKind::Denied)
        {
            return;
        }
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep(CHECK_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_upgrade_to_our_protocol_opens_a_stream() {
        let asks = |connection: &'static str, upgrade: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
            headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
            wants_stream(&headers)
        };
        assert!(asks("Upgrade", "hostler-stream"));
        assert!(asks("keep-alive, upgrade", "websocket, Hostler-Stream"));
        assert!(!asks("keep-alive", "hostler-stream"));
        assert!(!asks("upgrade", "websocket"));
        assert!(!wants_stream(&HeaderMap::new()));
    }
}
