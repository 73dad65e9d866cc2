//! Server-sent events: what changes, as it is committed.
//!
//! A stream first reads the table after the position asked for, then follows what is committed, and goes back to the
//! table whenever it hears of a position that does not follow the last one: nothing is left out and nothing comes
//! twice. When the position is older than what is kept, an event `reset` tells the client to read everything anew.
//!
//! Every 15 seconds a frame without data tells the position reached, also past events that the client did not want,
//! so that a client of rare events can resume; the caller's credential is looked at again at the same time, and at once
//! when something happens that may end it.

use super::types::{Event as WireEvent, EventsAsk};
use super::wire::{Answer, Parameters, Refusal, session};
use crate::login::Session;
use crate::state::DoorState;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event as Frame, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hostler_core::access::Watch;
use hostler_core::events::{Event, Sight};
use hostler_core::record::Kind;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(events))
}

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read from the table at a time.
const PAGE: u32 = 500;

/// Follow what changes
///
/// Server-sent events. `id` is the position; give it back as `Last-Event-ID` to resume. An event `reset` means that
/// events were missed: read everything anew.
#[utoipa::path(
    get, path = "/events", tag = "system",
    params(EventsAsk, ("Last-Event-ID" = Option<u64>, Header, description = "Resume after this position")),
    responses((status = 200, body = WireEvent, content_type = "text/event-stream"))
)]
async fn events(State(state): State<DoorState>, parameters: Parameters, request: Request) -> Answer {
    parameters.only(&["kind", "subject", "after"])?;
    let wanted = Wanted::read(&parameters)?;
    let after = position(request.headers(), &parameters)?;
    let session = session(request.extensions())?;
    // Hearing begins before looking, so that nothing is committed in between unheard.
    let feed = state.core().event_feed();
    let watch = state.core().watch(&session.caller);
    let (first, last) = state.core().event_bounds().await?;
    let reset = after.is_some_and(|after| is_lost(after, first, last));
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follower = Follower {
        sight: state.core().sight(&session.caller),
        state,
        watch,
        session,
        wanted,
        feed,
        heartbeat,
        at: after.filter(|_| !reset).unwrap_or(last),
        behind: true,
        reset,
        queue: VecDeque::new(),
    };
    Ok(streamed(stream::unfold(follower, Follower::next)))
}

/// nginx would hold events back to fill its buffer.
fn streamed(frames: impl stream::Stream<Item = Result<Frame, axum::Error>> + Send + 'static) -> Response {
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    ([unbuffered], Sse::new(frames)).into_response()
}

/// The position to resume after, if one is asked for. The header wins: a reconnecting browser sends it to the same URL.
fn position(headers: &HeaderMap, parameters: &Parameters) -> Answer<Option<i64>> {
    let (name, text) = match (headers.get("last-event-id"), parameters.0.get("after")) {
        (Some(value), _) => ("Last-Event-ID", value.to_str().unwrap_or("")),
        (None, Some(text)) => ("after", text.as_str()),
        (None, None) => return Ok(None),
    };
    let position = text.parse::<i64>().ok().filter(|position| *position >= 0);
    let wrong = || Refusal::malformed(name, format!("`{name}` is a position: a number from 0"));
    position.ok_or_else(wrong).map(Some)
}

/// Whether events after this position are no longer kept, or the position is one that we never gave out.
fn is_lost(after: i64, first: i64, last: i64) -> bool {
    after > last || after < first - 1
}

/// Which events a client wants.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    kinds: Vec<Kind>,
    subjects: Vec<Uuid>,
}

impl Wanted {
    fn read(parameters: &Parameters) -> Answer<Self> {
        let mut wanted = Self::default();
        for word in listed(parameters, "kind") {
            let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word);
            let wrong = || Refusal::malformed("kind", "there are no events about this kind of object");
            wanted.kinds.push(kind.ok_or_else(wrong)?);
        }
        for key in listed(parameters, "subject") {
            let wrong =
                |_| Refusal::malformed("subject", "`subject` is a UUID, or several with commas between");
            wanted.subjects.push(key.parse().map_err(wrong)?);
        }
        Ok(wanted)
    }

    fn wants(&self, event: &Event) -> bool {
        let told = &event.event;
        (self.kinds.is_empty() || self.kinds.contains(&told.kind))
            && (self.subjects.is_empty() || self.subjects.contains(&told.subject))
    }
}

fn listed<'a>(parameters: &'a Parameters, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    parameters.0.get(name).into_iter().flat_map(|value| value.split(','))
}

/// One client's way through the events.
struct Follower {
    state: DoorState,
    session: Session,
    sight: Sight,
    wanted: Wanted,
    feed: Receiver<Arc<Event>>,
    /// Tells when the caller may no longer be who they were.
    watch: Watch,
    heartbeat: Interval,
    /// Everything up to here is in the queue or was sent.
    at: i64,
    /// The table may hold more than what is in the queue.
    behind: bool,
    /// The client has to be told that it missed something.
    reset: bool,
    queue: VecDeque<Event>,
}

impl Follower {
    /// The next frame; none when the stream ends.
    async fn next(mut self) -> Option<(Result<Frame, axum::Error>, Self)> {
        loop {
            if std::mem::take(&mut self.reset) {
                return Some((Ok(reset(self.at)), self));
            }
            if let Some(event) = self.queue.pop_front() {
                return Some((frame(&event), self));
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            let shutdown = self.state.shutdown().clone();
            tokio::select! {
                biased;
                () = self.watch.changed() => {
                    if !self.session.still_counts(self.state.core()).await {
                        return None;
                    }
                }
                heard = self.feed.recv() => self.hear(heard).await?,
                _ = self.heartbeat.tick() => {
                    if !self.session.still_counts(self.state.core()).await {
                        return None;
                    }
                    return Some((Ok(alive(self.at)), self));
                }
                () = shutdown.cancelled() => return None,
            }
        }
    }

    /// Reads on in the table. None when it cannot be read: the client comes back and resumes.
    async fn catch_up(&mut self) -> Option<()> {
        let read = self.state.core().events_after(&mut self.sight, self.at, PAGE).await;
        match read {
            Ok((events, reached)) => {
                self.behind = reached > self.at;
                self.at = reached;
                self.queue.extend(events.into_iter().filter(|event| self.wanted.wants(event)));
                Some(())
            }
            Err(error) => {
                tracing::warn!(error = error.chain(), "a stream of events ended: they cannot be read");
                None
            }
        }
    }

    /// Takes what was heard when it follows the last; otherwise the table is asked. None when nothing more comes.
    async fn hear(&mut self, heard: Result<Arc<Event>, RecvError>) -> Option<()> {
        match heard {
            Ok(event) if event.seq <= self.at => {}
            Ok(event) if event.seq == self.at + 1 => {
                self.at = event.seq;
                let seen = self.sight.reaches(&event).await;
                let seen = seen
                    .inspect_err(|error| tracing::warn!(error = error.chain(), "a stream of events ended"));
                if seen.ok()? && self.wanted.wants(&event) {
                    self.queue.push_back(Event::clone(&event));
                }
            }
            Ok(_) | Err(RecvError::Lagged(_)) => self.behind = true,
            Err(RecvError::Closed) => return None,
        }
        Some(())
    }
}

fn frame(event: &Event) -> Result<Frame, axum::Error> {
    let wire = WireEvent::from(event);
    Frame::default().id(wire.seq.to_string()).event(&wire.name).json_data(&wire)
}

/// A frame without data dispatches nothing in a browser, but moves its position.
fn alive(at: i64) -> Frame {
    Frame::default().id(at.to_string()).comment("")
}

fn reset(at: i64) -> Frame {
    Frame::default().id(at.to_string()).event("reset").data("{}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::events::{Change, NewEvent};
    use hostler_core::time::Timestamp;

    fn event(seq: i64, kind: Kind, subject: u128) -> Event {
        let body = r#"{"name":"web-1"}"#.to_owned();
        let subject = Uuid::from_u128(subject);
        let at = Timestamp(0);
        Event { seq, event: NewEvent { at, kind, change: Change::Updated, subject, owner: None, body } }
    }

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[tokio::test]
    async fn frames_carry_position_name_and_body() {
        let frames = [frame(&event(7, Kind::Machine, 1)), Ok(alive(9)), Ok(reset(12))];
        let response = streamed(stream::iter(frames));
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let bytes = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let frames: Vec<&str> = text.split("\n\n").collect();
        let data = r#"{"seq":7,"name":"machine.updated","at":"1970-01-01T00:00:00.000Z","kind":"machine","subject":"00000000-0000-0000-0000-000000000001","body":{"name":"web-1"}}"#;
        assert_eq!(frames[0], format!("id: 7\nevent: machine.updated\ndata: {data}"));
        let mut alive: Vec<&str> = frames[1].lines().map(str::trim_end).collect();
        alive.sort_unstable();
        assert_eq!(alive, [":", "id: 9"]);
        assert_eq!(frames[2], "id: 12\nevent: reset\ndata: {}");
    }

    #[test]
    fn a_position_is_lost_when_something_after_it_was_forgotten() {
        for (after, first, last, lost) in [
            (0, 0, 0, false),
            (5, 0, 0, true),
            (0, 1, 9, false),
            (9, 1, 9, false),
            (10, 1, 9, true),
            (3, 4, 9, false),
            (2, 4, 9, true),
        ] {
            assert_eq!(is_lost(after, first, last), lost, "{after} of {first} to {last}");
        }
    }

    #[test]
    fn clients_choose_by_kind_and_subject() {
        let subject = Uuid::from_u128(1).to_string();
        let wanted = Wanted::read(&parameters(&[("kind", "task,machine"), ("subject", &subject)])).unwrap();
        assert!(wanted.wants(&event(1, Kind::Machine, 1)));
        assert!(!wanted.wants(&event(1, Kind::Volume, 1)));
        assert!(!wanted.wants(&event(1, Kind::Machine, 2)));
        assert!(Wanted::default().wants(&event(1, Kind::Volume, 2)));
        assert!(Wanted::read(&parameters(&[("kind", "vm")])).is_err());
        assert!(Wanted::read(&parameters(&[("subject", "x")])).is_err());
    }

    #[test]
    fn the_header_wins_over_the_parameter() {
        let mut headers = HeaderMap::new();
        assert_eq!(position(&headers, &parameters(&[])).unwrap(), None);
        assert_eq!(position(&headers, &parameters(&[("after", "3")])).unwrap(), Some(3));
        headers.insert("last-event-id", HeaderValue::from_static("5"));
        assert_eq!(position(&headers, &parameters(&[("after", "3")])).unwrap(), Some(5));
        headers.insert("last-event-id", HeaderValue::from_static("-1"));
        assert!(position(&headers, &parameters(&[])).is_err());
    }
}
