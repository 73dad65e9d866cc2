//! `checkout --wait`: a request for machines, followed until they are there, and taken back by whoever gives up.

use super::checkout::edited;
use crate::cli::Session;
use crate::cli::client::Feed;
use crate::failure::{Exit, Failure};
use hostler_doors::native::types::{CheckoutCreate, CheckoutEdit, Machine, Request, RequestCreate};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// Between looks at the request while events come in; they are the quicker news.
const LOOK: Duration = Duration::from_secs(5);
/// Between looks without them.
const POLL: Duration = Duration::from_millis(300);

/// Machines that are made for this checkout, as it shall be.
pub(super) async fn made(
    session: &Session,
    wanted: &CheckoutCreate,
    deadline: Option<Duration>,
) -> Result<Vec<Machine>, Failure> {
    let client = &session.client;
    let ask = RequestCreate { key: None, pools: wanted.pools.clone() };
    let request: Request = client.post(&["requests"], &ask).await?;
    let id = request.id.to_string();
    let patience = async {
        match deadline {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let bar = bar();
    let ended = tokio::select! {
        ended = followed(session, request, &bar) => ended,
        () = patience => {
            Err(Failure::new("the machines were not ready in time").exit(Exit::NO_CAPACITY).hint(hint(wanted)))
        }
        _ = tokio::signal::ctrl_c() => Err(Failure::new("no longer waiting").exit(Exit(130))),
    };
    bar.finish_and_clear();
    let given = match ended {
        Ok(request) => given(session, request, wanted).await,
        Err(failure) => Err(failure),
    };
    match given {
        Ok(machines) => Ok(machines),
        Err(failure) => Err(taken_back(session, &id, failure).await),
    }
}

/// Nobody would know of machines that were not waited for: they are returned.
async fn taken_back(session: &Session, id: &str, failure: Failure) -> Failure {
    match session.client.delete::<Request>(&["requests", id]).await {
        Ok(_) => failure,
        Err(error) => failure.cause(format!("its request {id} could not be taken back: {}", error.text)),
    }
}

/// The request with its machines, which have the lifetime and the tags that were asked for.
async fn given(
    session: &Session,
    request: Request,
    wanted: &CheckoutCreate,
) -> Result<Vec<Machine>, Failure> {
    if request.state != "ready" {
        let failure = Failure::new("the machines could not be made");
        let failure = failure.exit(Exit::NO_CAPACITY).hint(hint(wanted));
        return Err(match request.reason {
            Some(reason) => failure.cause(reason),
            None => failure,
        });
    }
    let tags = Some(wanted.tags.clone()).filter(|tags| !tags.is_empty());
    let edit = CheckoutEdit { lifetime_s: wanted.lifetime_s, tags };
    if edit == CheckoutEdit::default() {
        return Ok(request.machines);
    }
    let mut machines = Vec::with_capacity(request.machines.len());
    for machine in request.machines {
        machines.push(edited(session, &machine.id.to_string(), &edit).await?);
    }
    Ok(machines)
}

async fn followed(session: &Session, request: Request, bar: &ProgressBar) -> Result<Request, Failure> {
    let id = request.id.to_string();
    let mut feed = Feed::open(&session.client, &[("subject", id.clone())], None).await.ok();
    loop {
        // What happened before the stream was open is seen by looking.
        let request: Request = session.client.get(&["requests", &id]).await?;
        draw(bar, &request);
        if request.state != "open" {
            return Ok(request);
        }
        let pause = tokio::time::sleep(if feed.is_some() { LOOK } else { POLL });
        let news = async {
            match &mut feed {
                Some(feed) => feed.next().await.is_some(),
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            heard = news => heard,
            () = pause => true,
        };
        if !heard {
            feed = None;
        }
    }
}

fn hint(wanted: &CheckoutCreate) -> String {
    let shows = wanted.pools.keys().map(|name| format!("`hostler pool show {name}`"));
    format!("{} says why", shows.collect::<Vec<_>>().join(" or "))
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} [{bar:24}] {pos} of {len} ready, {elapsed} {msg}");
    let bar = ProgressBar::new(1);
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn draw(bar: &ProgressBar, request: &Request) {
    bar.set_length(request.wanted.into());
    bar.set_position(request.ready.into());
    if request.failures > 0 {
        bar.set_message(format!("({} failed and are made anew)", request.failures));
    }
}
