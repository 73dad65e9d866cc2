//! Shakes hands on accepted connections. Each has its own deadline and waits for no other, so that whoever says nothing
//! holds up nobody; who speaks plain HTTP is told so.

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// From the connection to the end of the handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first byte of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What is read, at most, of a request that is not answered.
const DRAINED: u64 = 64 * 1024;

const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 36\r\n\
    connection: close\r\n\r\nthis port speaks TLS: use https://.\n";

type Shaken = Option<(TlsStream<TcpStream>, SocketAddr)>;

/// Accepts TCP connections and answers those that have become TLS.
pub(crate) struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    shaking: JoinSet<Shaken>,
}

impl TlsListener {
    pub(crate) fn new(tcp: TcpListener, tls: &super::Tls) -> Self {
        Self { tcp, acceptor: TlsAcceptor::from(tls.config.clone()), shaking: JoinSet::new() }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                // The inner accept waits out passing errors, such as too many open files.
                (stream, peer) = Listener::accept(&mut self.tcp) => {
                    self.shaking.spawn(shake(self.acceptor.clone(), stream, peer));
                }
                Some(Ok(Some(ready))) = self.shaking.join_next() => return ready,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn shake(acceptor: TlsAcceptor, stream: TcpStream, peer: SocketAddr) -> Shaken {
    match tokio::time::timeout(PATIENCE, secured(acceptor, stream)).await {
        Ok(Ok(stream)) => return stream.map(|stream| (stream, peer)),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS connection"),
        Err(_) => tracing::debug!(%peer, "no TLS connection in time"),
    }
    None
}

/// The connection over TLS; none when the peer does not speak it.
async fn secured(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
    // Answers are written at once; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first[0] == HANDSHAKE {
        return acceptor.accept(stream).await.map(Some);
    }
    if first[0].is_ascii_uppercase() {
        stream.write_all(PLAIN.as_bytes()).await?;
        stream.shutdown().await?;
        // To close with unread bytes would be a reset, which may overtake the answer.
        tokio::io::copy(&mut stream.take(DRAINED), &mut tokio::io::sink()).await?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_says() {
        let (head, body) = PLAIN.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
