//! Reading lines from a peer that is not trusted: a line never grows beyond a bound.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Lines (or other delimited pieces) of a stream, each at most `limit` bytes long.
///
/// Dropping the future of [`Lines::next`] loses nothing: bytes read so far stay in the buffer.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    stream: R,
    buffer: Vec<u8>,
    searched: usize,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(stream: R, limit: usize) -> Self {
        Self { stream, buffer: Vec::new(), searched: 0, limit }
    }

    /// The next line without its line feed; none at the end of the stream. A last piece without line feed counts as
    /// cut off and is dropped. A line beyond the limit is an error of kind `InvalidData`.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(found) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + found + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                line.pop();
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.limit {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The stream, for writing to the same peer.
    pub(crate) fn stream(&mut self) -> &mut R {
        &mut self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_one_by_one_and_the_cut_off_last_is_dropped() {
        let mut lines = Lines::new(&b"a\n\nbc\nrest"[..], 16);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"a");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"bc");
        assert!(lines.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let mut lines = Lines::new(tokio::io::repeat(b'x'), 1000);
        assert_eq!(lines.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
