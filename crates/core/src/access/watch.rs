//! Waiting for what may end a caller's stay.

use super::Caller;
use crate::core::Core;
use crate::events::Event;
use crate::record::Kind;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Tells a long-lived stream when to ask again whether its caller still may: as soon as the caller's account,
/// credentials or groups change, in whichever process on the same store.
#[derive(Debug)]
pub struct Watch {
    feed: Receiver<Arc<Event>>,
    caller: Caller,
}

impl Core {
    /// A watch over what lets this caller in. Begin it before the credential is checked, so that nothing is missed.
    pub fn watch(&self, caller: &Caller) -> Watch {
        Watch { feed: self.event_feed(), caller: caller.clone() }
    }
}

impl Watch {
    /// Returns when something changed that may end the caller's stay, or when events were missed. Never returns once
    /// there are no more events, as when the store has closed.
    pub async fn changed(&mut self) {
        loop {
            match self.feed.recv().await {
                Ok(event) if !concerns(&self.caller, &event) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Whether the event may change whether or how this caller may come in.
fn concerns(caller: &Caller, event: &Event) -> bool {
    match event.event.kind {
        Kind::Account | Kind::Credential | Kind::Member => event.event.owner == Some(caller.account),
        Kind::Group | Kind::Grant => true,
        _ => false,
    }
}
