//! Server-sent events, as far as the native API uses them.

use super::Client;
use crate::failure::Failure;
use futures_util::StreamExt;
use hostler_doors::native::types::Event;
use reqwest::Method;
use std::pin::Pin;

type Bytes = Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Vec<u8>>> + Send>>;

/// One event of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its position, to resume after.
    pub(crate) id: Option<String>,
    /// What happened.
    pub(crate) event: String,
    /// What it says.
    pub(crate) data: String,
}

impl Message {
    /// The event of the API in it, if it is one.
    pub(crate) fn event(&self) -> Option<Event> {
        serde_json::from_str(&self.data).ok()
    }
}

/// The stream of events, from now on.
pub(crate) struct Feed {
    bytes: Bytes,
    parser: Parser,
}

impl Feed {
    /// Begins after the position `after`, or now; `query` narrows it.
    pub(crate) async fn open(
        client: &Client,
        query: &[(&str, String)],
        after: Option<&str>,
    ) -> Result<Self, Failure> {
        let request = client.asking(Method::GET, &["events"], query);
        let mut request = request.header("Accept", "text/event-stream");
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = client.send(request).await?;
        let bytes = response.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec()));
        Ok(Self { bytes: Box::pin(bytes), parser: Parser::default() })
    }

    /// The next event; none when the stream has ended. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.parser.next() {
                return Some(message);
            }
            let chunk = self.bytes.next().await?.ok()?;
            self.parser.push(&chunk);
        }
    }
}

/// Cuts the stream into lines and the lines into events.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    message: Message,
    data: Vec<String>,
}

impl Parser {
    fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    fn next(&mut self) -> Option<Message> {
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let message = Message { data: self.data.join("\n"), ..std::mem::take(&mut self.message) };
                // A frame without data may still tell a position.
                if self.data.drain(..).count() > 0 || message.id.is_some() {
                    return Some(message);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "id" => self.message.id = Some(value),
                "event" => self.message.event = value,
                "data" => self.data.push(value),
                // Comments keep the connection alive; other fields mean nothing to us.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream = b": hello\n\nid: 7\nevent: task.updated\ndata: {\"a\":\ndata: 1}\r\n\r\ndata: x\n\n";
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for chunk in stream.chunks(size) {
                parser.push(chunk);
                found.extend(std::iter::from_fn(|| parser.next()));
            }
            assert_eq!(found.len(), 2, "in chunks of {size}");
            assert_eq!(found[0].id.as_deref(), Some("7"));
            assert_eq!((found[0].event.as_str(), found[0].data.as_str()), ("task.updated", "{\"a\":\n1}"));
            assert_eq!(found[1], Message { data: "x".into(), ..Message::default() });
        }
    }
}
