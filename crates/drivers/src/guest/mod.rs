//! The host's end of the channel to our agent. Placeholder until the agent's own change lands.

use hostler_core::ports::{CommandOutput, DriverError, GuestCommand, GuestFacts, Identity};
use std::path::Path;
use std::time::Duration;

/// A connection to the agent of one guest.
#[derive(Debug)]
pub struct AgentLink {
    _stream: tokio::net::UnixStream,
}

impl AgentLink {
    /// Connects to the channel's socket.
    pub async fn connect(socket: &Path, patience: Duration) -> Result<AgentLink, DriverError> {
        let connecting = tokio::net::UnixStream::connect(socket);
        match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(stream)) => Ok(Self { _stream: stream }),
            Ok(Err(error)) => Err(DriverError::timeout(format!("the agent's channel: {error}"))),
            Err(_) => Err(DriverError::timeout("the agent's channel does not answer")),
        }
    }

    /// Who the guest says it is.
    pub async fn facts(&mut self, patience: Duration) -> Result<GuestFacts, DriverError> {
        tokio::time::sleep(patience).await;
        Err(DriverError::timeout("the agent did not answer"))
    }

    /// Gives the guest its identity.
    pub async fn identify(&mut self, _identity: &Identity) -> Result<(), DriverError> {
        Err(DriverError::unsupported("not built in"))
    }

    /// Runs a command in the guest.
    pub async fn run(&mut self, _command: &GuestCommand) -> Result<CommandOutput, DriverError> {
        Err(DriverError::unsupported("not built in"))
    }
}
