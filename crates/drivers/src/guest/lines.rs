//! Cuts what a guest says into lines, never holding more than one line of bounded length.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line accepted from a guest, bytes. Two outputs of 256 KiB in base64 fit three times.
pub(super) const LINE_LIMIT: usize = 2 << 20;

/// A line of a guest, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it. Never empty.
    Whole(Vec<u8>),
    /// It was longer than the limit and is gone. Told before its end has come: that may never come.
    TooLong,
}

/// What was read and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The beginning of a line.
    started: Vec<u8>,
    /// Bytes read behind it, from here on.
    fresh: Vec<u8>,
    at: usize,
    /// The rest of a line that was too long is dropped.
    skipping: bool,
}

impl Lines {
    /// The next line. May be dropped while it waits: nothing is lost.
    pub(super) async fn next(&mut self, source: &mut (impl AsyncRead + Unpin)) -> io::Result<Line> {
        loop {
            while self.at < self.fresh.len() {
                if let Some(line) = self.take() {
                    return Ok(line);
                }
            }
            self.fresh.clear();
            self.at = 0;
            self.fresh.reserve(16 * 1024);
            let mut bounded = source.take(64 * 1024);
            if bounded.read_buf(&mut self.fresh).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Moves what was read into the line that was started, up to its end.
    fn take(&mut self) -> Option<Line> {
        let rest = &self.fresh[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let text = &rest[..end.unwrap_or(rest.len())];
        self.at += text.len() + usize::from(end.is_some());
        if self.skipping {
            self.skipping = end.is_none();
            return None;
        }
        if self.started.len() + text.len() > LINE_LIMIT {
            self.started = Vec::new();
            self.skipping = end.is_none();
            return Some(Line::TooLong);
        }
        self.started.extend_from_slice(text);
        end?;
        let line = std::mem::take(&mut self.started);
        (!line.is_empty()).then_some(Line::Whole(line))
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_LIMIT, Line, Lines};
    use proptest::prelude::*;

    async fn all(mut source: &[u8]) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        while let Ok(line) = lines.next(&mut source).await {
            found.push(line);
        }
        assert!(lines.started.len() <= LINE_LIMIT);
        found
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.into())
    }

    #[tokio::test]
    async fn lines_are_cut_and_empty_ones_dropped() {
        assert_eq!(all(b"\none\n\n\ntwo\nhalf").await, [whole("one"), whole("two")]);
    }

    #[tokio::test]
    async fn a_long_line_is_told_once_and_the_next_one_read() {
        let mut source = vec![b'x'; 3 * LINE_LIMIT];
        source.extend_from_slice(b"\nnext\n");
        assert_eq!(all(&source).await, [Line::TooLong, whole("next")]);
        let mut source = vec![b'x'; LINE_LIMIT];
        source.push(b'\n');
        assert!(matches!(all(&source).await.as_slice(), [Line::Whole(line)] if line.len() == LINE_LIMIT));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(8u8..14, 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let lines = runtime.block_on(all(&bytes));
            let ended = bytes.iter().rposition(|&byte| byte == b'\n').map_or(&[][..], |end| &bytes[..end]);
            let expected = ended.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
            let expected: Vec<Line> = expected.map(|line| Line::Whole(line.to_vec())).collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
