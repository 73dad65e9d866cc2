//! `machine log`: what a machine has written to its serial console.

use super::args::Log;
use crate::cli::Session;
use crate::failure::Failure;
use crate::output;
use reqwest::Method;
use std::time::Duration;

/// Between looks when following.
const PAUSE: Duration = Duration::from_millis(700);
/// What cannot be more than a machine writes between two looks.
const TAIL: u32 = 1 << 16;
/// So many of the last bytes are looked for in the next answer.
const OVERLAP: usize = 1024;

pub(super) async fn log(session: &Session, ask: &Log) -> Result<(), Failure> {
    let mut seen = fetch(session, &ask.machine, ask.bytes).await?;
    output::bytes(&seen);
    if !ask.follow {
        return Ok(());
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        let now = fetch(session, &ask.machine, TAIL).await?;
        output::bytes(news(&seen, &now));
        seen = now;
    }
}

async fn fetch(session: &Session, machine: &str, bytes: u32) -> Result<Vec<u8>, Failure> {
    let path = ["machines", machine, "console", "log"];
    let request = session.client.asking(Method::GET, &path, &[("bytes", bytes.to_string())]);
    let response = session.client.send(request).await?;
    let bytes = response.bytes().await;
    Ok(bytes.map_err(|error| Failure::because("the log was cut off", &error))?.to_vec())
}

/// What `now` has beyond `seen`; both are the end of one growing text, whose beginning may be cut off.
fn news<'a>(seen: &[u8], now: &'a [u8]) -> &'a [u8] {
    if now.starts_with(seen) {
        return &now[seen.len()..];
    }
    let tail = &seen[seen.len().saturating_sub(OVERLAP)..];
    // The last place counts: a guest may repeat itself.
    let found = now.windows(tail.len().max(1)).rposition(|window| window == tail);
    found.map_or(now, |at| &now[at + tail.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_are_printed() {
        assert_eq!(news(b"", b"abc"), b"abc");
        assert_eq!(news(b"abc", b"abcdef"), b"def");
        assert_eq!(news(b"abc", b"bcabcd"), b"d", "the beginning was cut off");
        assert_eq!(news(b"abc", b"xyz"), b"xyz", "the machine was started anew");
        assert_eq!(news(b"abc", b""), b"");
    }
}
