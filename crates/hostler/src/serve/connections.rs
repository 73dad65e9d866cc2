//! Connections of a listener, each served until it ends, or until the server stops and its last answer is given.
//!
//! Whoever connects and says nothing, or sends the head or the body of a request a byte at a time, is cut off: otherwise a
//! few hundred such connections would use up what a process may have open.

use super::body::Timely;
use axum::Router;
use axum::extract::Request;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// From the first moment of a connection, or the end of an answer on it, to the last byte of the next request's head;
/// and from there to the last byte of its body.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves a listener until `stop`, then waits for the answers that are being given. `mark` tells the doors in the
/// extensions of each request who is at the other end.
pub(super) async fn serve<L: Listener<Addr: Clone + Sync>>(
    listener: L,
    router: Router,
    mark: impl Fn(&L::Addr, &mut Request<Incoming>) + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) -> std::io::Result<()> {
    serve_patiently(listener, router, mark, stop, PATIENCE).await
}

async fn serve_patiently<L: Listener<Addr: Clone + Sync>>(
    mut listener: L,
    router: Router,
    mark: impl Fn(&L::Addr, &mut Request<Incoming>) + Clone + Send + Sync + 'static,
    stop: CancellationToken,
    patience: Duration,
) -> std::io::Result<()> {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience);
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            // What has ended is let go of.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (router, mark) = (router.clone(), mark.clone());
        let marked = router.map_request(move |mut request: Request<Incoming>| {
            mark(&peer, &mut request);
            request.map(|body| axum::body::Body::new(Timely::new(body, patience)))
        });
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(marked));
        let (connection, stop) = (connection.with_upgrades(), stop.clone());
        connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended badly");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Nothing that is waited for takes longer.
    const DEADLINE: Duration = Duration::from_secs(20);

    async fn server(
        patience: Duration,
    ) -> (std::net::SocketAddr, CancellationToken, JoinSet<std::io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router =
            Router::new().route("/", get(async || "here\n").post(async |_: axum::body::Bytes| "read"));
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(serve_patiently(listener, router, |_, _| {}, stop.clone(), patience));
        (address, stop, serving)
    }

    /// What is read until the server closes the connection.
    async fn until_closed(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut text)).await;
        read.expect("the connection stays open").unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn who_says_nothing_or_too_little_is_cut_off() {
        let (address, _stop, _serving) = server(Duration::from_millis(100)).await;
        for said in ["", "GET / HTTP/1.1\r\nhost: a\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let answer = until_closed(&mut stream).await;
            assert!(!answer.contains("here"), "{said:?}: {answer}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // Served at once, and let go of when nothing follows.
        assert!(until_closed(&mut stream).await.ends_with("here\n"));
    }

    #[tokio::test]
    async fn who_trickles_is_cut_off_although_something_always_comes() {
        let (address, _stop, _serving) = server(Duration::from_millis(300)).await;
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let trickle = async {
            let mut beat = tokio::time::interval(Duration::from_millis(20));
            for letter in "GET / HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'y')) {
                beat.tick().await;
                if writer.write_all(&[letter]).await.is_err() {
                    break;
                }
            }
        };
        let closed = async {
            let mut rest = Vec::new();
            // A reset is an end as well: we were still writing.
            let _ = reader.read_to_end(&mut rest).await;
        };
        tokio::time::timeout(DEADLINE, async {
            tokio::select! { () = trickle => {}, () = closed => {} }
        })
        .await
        .expect("who trickles is served for ever");
    }

    #[tokio::test]
    async fn who_trickles_a_body_is_refused_and_cut_off() {
        let (address, _stop, _serving) = server(Duration::from_millis(300)).await;
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n";
        writer.write_all(head).await.unwrap();
        let trickle = async {
            let mut beat = tokio::time::interval(Duration::from_millis(20));
            loop {
                beat.tick().await;
                if writer.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut answer = Vec::new();
        let closed = async {
            let mut part = [0; 512];
            // A reset is an end as well: we were still writing.
            while let Ok(read @ 1..) = reader.read(&mut part).await {
                answer.extend_from_slice(&part[..read]);
            }
        };
        tokio::time::timeout(DEADLINE, async {
            tokio::select! { () = trickle => {}, () = closed => {} }
        })
        .await
        .expect("who trickles is waited for for ever");
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("read"), "{answer}");
    }

    #[tokio::test]
    async fn when_it_stops_idle_connections_are_closed_and_the_task_ends() {
        let (address, stop, mut serving) = server(DEADLINE).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        stop.cancel();
        assert!(until_closed(&mut stream).await.ends_with("here\n"));
        let ended = tokio::time::timeout(DEADLINE, serving.join_next()).await.expect("it does not stop");
        ended.unwrap().unwrap().unwrap();
    }
}
