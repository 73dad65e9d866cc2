//! The fetcher against servers that behave, and against those that do not.

use super::*;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LOOPBACK: &str = "127.0.0.0/8";

/// What the server does with one request.
#[derive(Clone)]
enum Turn {
    /// This head and body, then the end.
    Answer(String, Vec<u8>),
    /// A whole file with an ETag, or the part that was asked for.
    File(Vec<u8>, &'static str),
    /// So many bytes of such a file, then a broken connection.
    Break(Vec<u8>, usize),
    /// A body without end.
    Endless,
    /// A head, then nothing any more.
    Silent,
}

/// A server that answers one request after the other as it was told; the last turn is repeated.
struct Peer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    async fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let mut turns: VecDeque<Turn> = turns.into_iter().collect();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let turn = if turns.len() > 1 { turns.pop_front() } else { turns.front().cloned() };
                tokio::spawn(serve(stream, turn.unwrap(), heard.clone()));
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/disk.raw", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, turn: Turn, heard: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    while !request.contains("\r\n\r\n") {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        request.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let from: Option<usize> =
        request.split("bytes=").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
    heard.lock().unwrap().push(request.clone());
    let head = |file: &[u8], tag: &str| match from.filter(|_| request.contains(&format!("if-range: {tag}"))) {
        Some(from) => (
            from,
            format!(
                "HTTP/1.1 206 Partial\r\nETag: {tag}\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                file.len() - 1,
                file.len(),
                file.len() - from
            ),
        ),
        None => (0, format!("HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n", file.len())),
    };
    match turn {
        Turn::Answer(head, body) => {
            stream.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
            stream.write_all(&body).await
        }
        Turn::File(file, tag) => {
            let (from, head) = head(&file, tag);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&file[from..]).await
        }
        Turn::Break(file, bytes) => {
            let (from, head) = head(&file, "\"a\"");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&file[from..from + bytes]).await
        }
        Turn::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[1; 4096]).await?;
            }
        }
        Turn::Silent => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1").await?;
            std::future::pending().await
        }
    }
}

fn redirect(to: &str) -> Turn {
    Turn::Answer(format!("HTTP/1.1 302 Found\r\nLocation: {to}"), Vec::new())
}

fn rules(allowed: &[&str]) -> FetchRules {
    FetchRules {
        allow_addresses: allowed.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        stall: Duration::from_millis(300),
        patience: Duration::from_secs(20),
        kept_every: 1,
        ..FetchRules::default()
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 % 251) as u8).collect()
}

/// A place to fetch to and what happens there.
struct Bed(tempfile::TempDir);

impl Bed {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn fetch(&self, fetcher: &Fetcher, url: &str, most: u64) -> Result<Vec<u8>, DriverError> {
        let place = self.0.path().join("file");
        let mut file = fetcher.fetch(url, &place, most, &Progress::ignored()).await?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        Ok(bytes)
    }

    async fn refused(&self, fetcher: &Fetcher, url: &str) -> String {
        let error = self.fetch(fetcher, url, 1 << 20).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (DriverErrorKind::Refused, false), "{error}");
        error.detail
    }
}

fn allowing() -> Fetcher {
    Fetcher::new(rules(&[LOOPBACK]))
}

#[tokio::test]
async fn a_file_comes_whole_and_is_not_fetched_twice() {
    let (bed, file) = (Bed::new(), bytes(3 << 20));
    let peer = Peer::new([Turn::File(file.clone(), "\"a\"")]).await;
    assert!(bed.fetch(&allowing(), &peer.url(), 4 << 20).await.unwrap() == file);
    assert!(bed.fetch(&allowing(), &peer.url(), 4 << 20).await.unwrap() == file);
    assert_eq!(peer.asked().len(), 1);
    forget(&bed.0.path().join("file")).unwrap();
    assert_eq!(bed.0.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_broken_connection_is_gone_on_with() {
    let (bed, file) = (Bed::new(), bytes(3 << 20));
    let turns = [
        Turn::Break(file.clone(), 1 << 20),
        Turn::Break(file.clone(), 70),
        Turn::File(file.clone(), "\"a\""),
    ];
    let peer = Peer::new(turns).await;
    assert!(bed.fetch(&allowing(), &peer.url(), 4 << 20).await.unwrap() == file);
    let asked = peer.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[1].contains("bytes=1048576-") && asked[2].contains("bytes=1048646-"), "{asked:?}");
}

#[tokio::test]
async fn a_restart_goes_on_and_a_changed_file_begins_anew() {
    let (bed, file) = (Bed::new(), bytes(3 << 20));
    let peer = Peer::new([Turn::Break(file.clone(), 1 << 20), Turn::Silent]).await;
    let url = peer.url();
    let error = bed.fetch(&allowing(), &url, 4 << 20).await.unwrap_err();
    assert!(error.retryable, "{error}");
    drop(peer);
    // Another process, the same address: the peer now stands for the same server after a change of its file.
    let changed = bytes(2 << 20);
    let peer = Peer::new([Turn::File(changed.clone(), "\"b\"")]).await;
    let place = bed.0.path().join("file");
    let mut partial = Partial::open(&place, &url).unwrap();
    partial.begin(Some("\"a\"".into())).unwrap();
    std::fs::write(&place, &file[..1 << 20]).unwrap();
    partial.keep(&File::open(&place).unwrap(), 1 << 20, false).unwrap();
    let again = Partial::open(&place, &url).unwrap();
    assert_eq!(again.resumes_at(), Some((1 << 20, "\"a\"")));
    assert_eq!(Partial::open(&place, "http://elsewhere/").unwrap().resumes_at(), None);
    std::fs::write(&place, "short").unwrap();
    assert_eq!(Partial::open(&place, &url).unwrap().resumes_at(), None);
    assert!(bed.fetch(&allowing(), &peer.url(), 4 << 20).await.unwrap() == changed);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_fetched_from_its_beginning() {
    let (bed, file, changed) = (Bed::new(), bytes(3 << 20), bytes(1 << 20));
    let peer = Peer::new([Turn::Break(file, 1 << 20), Turn::File(changed.clone(), "\"b\"")]).await;
    assert!(bed.fetch(&allowing(), &peer.url(), 4 << 20).await.unwrap() == changed);
    assert!(peer.asked()[1].contains("if-range: \"a\""));
}

#[tokio::test]
async fn what_never_ends_ends_with_a_clear_word() {
    let bed = Bed::new();
    let peer = Peer::new([Turn::Endless]).await;
    assert!(bed.refused(&allowing(), &peer.url()).await.contains("more than the 1 MiB"));
    let peer = Peer::new([Turn::File(bytes(2 << 20), "\"a\"")]).await;
    assert!(bed.refused(&allowing(), &peer.url()).await.contains("more than the 1 MiB"));
    let peer = Peer::new([Turn::Silent]).await;
    let error = bed.fetch(&allowing(), &peer.url(), 1 << 20).await.unwrap_err();
    assert!(error.retryable && error.detail.contains("sent nothing for 0.3 s"), "{error}");
    let impatient = FetchRules { patience: Duration::from_millis(100), ..rules(&[LOOPBACK]) };
    assert!(bed.refused(&Fetcher::new(impatient), &peer.url()).await.contains("took longer than 0.1 s"));
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_written() {
    let bed = Bed::new();
    let peer = Peer::new([Turn::File(bytes(9), "\"a\"")]).await;
    let (fetcher, port) = (Fetcher::new(rules(&[])), peer.address.port());
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "127.1",
        "0",
    ] {
        let text = bed.refused(&fetcher, &format!("http://{host}:{port}/")).await;
        assert!(text.contains("is not fetched from"), "{host}: {text}");
    }
    for url in ["http://169.254.169.254/latest/meta-data/", "http://[fd00::1]/", "http://[64:ff9b::a00:1]/"] {
        assert!(bed.refused(&fetcher, url).await.contains("is not fetched from"), "{url}");
    }
    assert!(peer.asked().is_empty());
    for url in ["file:///dev/zero", "ftp://127.0.0.1/", "gopher://x/", "http://user:secret@127.0.0.1/"] {
        let text = bed.refused(&fetcher, url).await;
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_redirection_into_our_own_network_is_refused() {
    let bed = Bed::new();
    let target = Peer::new([Turn::File(bytes(9), "\"a\"")]).await;
    // Only the first may be fetched from.
    let fetcher = Fetcher::new(rules(&["127.0.0.1/32"]));
    let port = target.address.port();
    for to in [format!("http://127.0.0.2:{port}/"), "//10.0.0.1/".into(), "http://169.254.169.254/".into()] {
        let peer = Peer::new([redirect(&to)]).await;
        assert!(bed.refused(&fetcher, &peer.url()).await.contains("is not fetched from"), "{to}");
    }
    let peer = Peer::new([redirect("file:///etc/passwd")]).await;
    assert!(bed.refused(&fetcher, &peer.url()).await.contains("only http"));
    let peer = Peer::new([redirect("/again")]).await;
    assert!(bed.refused(&fetcher, &peer.url()).await.contains("more than 5 times"));
    assert_eq!(peer.asked().len(), 6);
    assert!(target.asked().is_empty());
    let peer = Peer::new([redirect(&target.url())]).await;
    assert_eq!(bed.fetch(&fetcher, &peer.url(), 100).await.unwrap(), bytes(9));
}

#[tokio::test]
async fn names_are_resolved_once_and_all_their_addresses_count() {
    let bed = Bed::new();
    let peer = Peer::new([Turn::File(bytes(9), "\"a\"")]).await;
    let url = format!("http://public.example:{}/", peer.address.port());
    let resolved = Arc::new(AtomicUsize::new(0));
    let resolver = |answers: Vec<Vec<&'static str>>| -> Resolver {
        let resolved = resolved.clone();
        Arc::new(move |_| {
            let time = resolved.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            let found = answers[time].iter().map(|address| address.parse().unwrap()).collect();
            Box::pin(std::future::ready(Ok(found)))
        })
    };
    let fetcher = Fetcher::with_resolver(rules(&[]), resolver(vec![vec!["127.0.0.1"]]));
    let text = bed.refused(&fetcher, &url).await;
    assert!(text.contains("public.example is at 127.0.0.1, a loopback address"), "{text}");
    let fetcher = Fetcher::with_resolver(rules(&[]), resolver(vec![vec!["93.184.216.34", "10.0.0.1"]]));
    assert!(bed.refused(&fetcher, &url).await.contains("10.0.0.1"));
    assert!(peer.asked().is_empty());
    // A name that answers something else when asked once more is not asked once more.
    resolved.store(0, Ordering::Relaxed);
    let answers = resolver(vec![vec!["127.0.0.1"], vec!["127.0.0.9"]]);
    let fetcher = Fetcher::with_resolver(rules(&["127.0.0.1/32"]), answers);
    assert_eq!(bed.fetch(&fetcher, &url, 100).await.unwrap(), bytes(9));
    assert_eq!(resolved.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_the_server_says_decides_whether_to_try_again() {
    let bed = Bed::new();
    let answers = |status: &str| [Turn::Answer(format!("HTTP/1.1 {status}"), Vec::new())];
    let peer = Peer::new(answers("404 Not Found")).await;
    assert!(bed.refused(&allowing(), &peer.url()).await.contains("404"));
    let peer = Peer::new(answers("503 Later")).await;
    let error = bed.fetch(&allowing(), &peer.url(), 1).await.unwrap_err();
    assert!(error.retryable, "{error}");
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let gone = format!("http://127.0.0.1:{port}/?token=secret");
    let error = bed.fetch(&allowing(), &gone, 1).await.unwrap_err();
    assert!(!error.detail.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_proxy_of_the_configuration_is_used() {
    let bed = Bed::new();
    let proxy = Peer::new([Turn::File(bytes(9), "\"a\"")]).await;
    let rules = FetchRules { proxy: Some(format!("http://{}", proxy.address)), ..rules(&[]) };
    let fetcher = Fetcher::new(rules);
    assert_eq!(bed.fetch(&fetcher, "http://public.example/x", 100).await.unwrap(), bytes(9));
    assert!(proxy.asked()[0].starts_with("GET http://public.example/x"), "{:?}", proxy.asked());
    assert!(bed.refused(&fetcher, "http://10.0.0.1/").await.contains("is not fetched from"));
}

#[test]
fn prefixes_are_checked() {
    assert_eq!(FetchRules::check_prefix("10.0.0.0/8"), Ok(()));
    assert_eq!(FetchRules::check_prefix("fd00::/8"), Ok(()));
    assert!(FetchRules::check_prefix("10.0.0.1/8").unwrap_err().contains("10.0.0.0/8"));
    assert!(FetchRules::check_prefix("10.0.0.0").is_err());
    assert!(FetchRules::check_prefix("http://10.0.0.0/8").is_err());
}
