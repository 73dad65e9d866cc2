//! Whether an SSH server answers. A connection proves nothing: QEMU's own network accepts before the guest does.

use hostler_core::ports::DriverError;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// What every server of the protocol begins with (RFC 4253, section 4.2).
const HELLO: &[u8; 4] = b"SSH-";

/// Waits until the server at this address says its banner.
pub(super) async fn heard(at: SocketAddr, patience: Duration) -> Result<(), DriverError> {
    let listening = async {
        while hello(at).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let heard = tokio::time::timeout(patience, listening).await;
    heard.map_err(|_| DriverError::timeout(format!("no SSH server says its banner at {at}")))
}

async fn hello(at: SocketAddr) -> std::io::Result<()> {
    let mut said = [0; HELLO.len()];
    let mut stream = TcpStream::connect(at).await?;
    stream.read_exact(&mut said).await?;
    if &said == HELLO { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_banner_is_heard_and_silence_or_another_protocol_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let short = Duration::from_millis(300);
        assert!(heard(at, short).await.is_err(), "it accepts and says nothing");
        let serve = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Whoever was listened for before has hung up.
                let _ = stream.write_all(b"SSH-2.0-x\r\n").await;
            }
        });
        heard(at, Duration::from_secs(20)).await.unwrap();
        serve.abort();
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = other.local_addr().unwrap();
        let serve = tokio::spawn(async move {
            loop {
                let _ = other.accept().await.unwrap().0.write_all(b"HTTP/1.1 400\r\n").await;
            }
        });
        assert!(heard(at, short).await.is_err());
        serve.abort();
    }
}
