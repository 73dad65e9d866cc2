//! Waiting for a guest's SSH server. A forwarded port accepts before the guest does, so only its banner proves it.

use crate::output;
use hostler_doors::native::types::Endpoint;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A guest that has just become ready opens its port within this long, even a whole distribution on a slow host, whose
/// agent answers long before its SSH server does.
const PATIENCE: Duration = Duration::from_secs(180);
/// Somebody who has waited this long is told for what.
const QUIET: Duration = Duration::from_secs(5);
/// A server that says nothing is asked anew after this long.
const SILENCE: Duration = Duration::from_secs(3);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns when the server has said who it is, or when it takes too long: then ssh itself says what is wrong.
pub(super) async fn wait_for_banner(endpoint: &Endpoint) {
    let told = async {
        tokio::time::sleep(QUIET).await;
        output::note("waiting for the guest's SSH server");
        std::future::pending::<()>().await;
    };
    let answered = async {
        while !matches!(tokio::time::timeout(SILENCE, says_ssh(endpoint)).await, Ok(Ok(true))) {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let either = async {
        tokio::select! {
            () = answered => {}
            () = told => {}
        }
    };
    // Out of patience is no failure here.
    let _ = tokio::time::timeout(PATIENCE, either).await;
}

async fn says_ssh(endpoint: &Endpoint) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((endpoint.address, endpoint.port)).await?;
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await?;
    Ok(&greeting == b"SSH-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_port_that_only_accepts_is_not_taken_for_a_server() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint { address: address.ip(), port: address.port() };
        let guest = async {
            drop(listener.accept().await.unwrap());
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-test\r\n").await.unwrap();
            stream
        };
        let (_stream, ()) = tokio::join!(guest, wait_for_banner(&endpoint));
    }
}
