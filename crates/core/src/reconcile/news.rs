//! Waiting for events that concern a reconciler.

use crate::events::Event;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Returns at the next event that concerns somebody, or when some were missed. Never, once there are no more.
pub(super) async fn relevant(news: &mut Receiver<Arc<Event>>, concerns: impl Fn(&Event) -> bool) {
    loop {
        match news.recv().await {
            Ok(event) if concerns(&event) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
