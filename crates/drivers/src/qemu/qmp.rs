//! Our client for QMP, the control channel of a QEMU process.
//!
//! QEMU serves one client at a time: a second one connects but gets no greeting until the first hangs up. So a
//! connection is held for as long as the machine is ours, and a greeting that does not come means that somebody else
//! holds the machine. Two tasks per connection: one writes commands whole, one reads all lines and hands replies to
//! who waits and events to who listens. Neither trusts the peer: lines are bounded, nonsense ends the connection.
//! A descriptor travels beside the command that names it.

use super::qmp_types::{Message, QmpEvent, QueriedUuid, Refusal, Request, Status};
use crate::lines::Lines;
use hostler_core::ports::{DriverError, DriverErrorKind};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashMap;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The longest line we accept.
const LINE_LIMIT: usize = 1 << 20;
/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// A command as it goes out, and a descriptor that goes with it.
type Outgoing = (Vec<u8>, Option<OwnedFd>);

type Reply = Result<Value, Refusal>;
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>;

/// A connection to one QEMU process. Dropping it hangs up.
#[derive(Debug)]
pub(super) struct Qmp {
    commands: mpsc::Sender<Outgoing>,
    waiting: Waiting,
    next_id: AtomicU64,
    events: broadcast::Sender<QmpEvent>,
    /// Cancelled when the connection is over, by whichever side.
    closed: CancellationToken,
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Qmp {
    /// Waits for the greeting and agrees on capabilities. `patience` covers both.
    pub(super) async fn negotiate(stream: UnixStream, patience: Duration) -> Result<Self, DriverError> {
        let socket = stream.as_fd().try_clone_to_owned().map_err(|error| nonsense(&error.to_string()))?;
        Self::negotiate_over(stream, Some(socket), patience).await
    }

    pub(super) async fn negotiate_over<S>(
        stream: S,
        socket: Option<OwnedFd>,
        patience: Duration,
    ) -> Result<Self, DriverError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let mut lines = Lines::new(reader, LINE_LIMIT);
        let greeting = timeout(patience, lines.next()).await.map_err(|_| {
            DriverError::timeout("QEMU's monitor gives no greeting; another process seems to hold it")
        })?;
        match greeting {
            Ok(Some(line)) if parse(&line).is_ok_and(|message| message.greeting.is_some()) => {}
            Ok(Some(_)) => return Err(nonsense("the greeting makes no sense")),
            Ok(None) => return Err(hung_up()),
            Err(error) => return Err(nonsense(&error.to_string())),
        }
        let qmp = Self::open(lines, writer, socket);
        qmp.run("qmp_capabilities", Value::Null, patience).await?;
        Ok(qmp)
    }

    fn open<R, W>(lines: Lines<R>, writer: W, socket: Option<OwnedFd>) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (commands, outgoing) = mpsc::channel(16);
        let waiting = Waiting::default();
        let events = broadcast::Sender::new(64);
        let closed = CancellationToken::new();
        tokio::spawn(write_commands(writer, socket, outgoing, closed.clone()));
        tokio::spawn(read_lines(lines, waiting.clone(), events.clone(), closed.clone()));
        Self { commands, waiting, next_id: AtomicU64::new(1), events, closed }
    }

    /// Runs a command and waits for its reply, at most five seconds.
    pub(super) async fn execute(&self, command: &str, arguments: Value) -> Result<Value, DriverError> {
        self.run(command, arguments, COMMAND_TIMEOUT).await
    }

    /// Runs a command with another patience.
    pub(super) async fn run(
        &self,
        command: &str,
        arguments: Value,
        patience: Duration,
    ) -> Result<Value, DriverError> {
        self.send(command, arguments, None, patience).await
    }

    /// Gives QEMU a descriptor, under a name by which a later command takes it.
    pub(super) async fn hand_over(&self, name: &str, descriptor: OwnedFd) -> Result<(), DriverError> {
        let arguments = serde_json::json!({ "fdname": name });
        self.send("getfd", arguments, Some(descriptor), COMMAND_TIMEOUT).await.map(drop)
    }

    async fn send(
        &self,
        command: &str,
        arguments: Value,
        descriptor: Option<OwnedFd>,
        patience: Duration,
    ) -> Result<Value, DriverError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        locked(&self.waiting).insert(id, sender);
        let _forget = Forget { waiting: &self.waiting, id };
        let mut line = serde_json::to_vec(&Request { execute: command, arguments, id })
            .map_err(|error| DriverError::internal(format!("{command}: {error}")))?;
        line.push(b'\n');
        let answered = async {
            self.commands.send((line, descriptor)).await.map_err(|_| hung_up())?;
            tokio::select! {
                biased;
                reply = receiver => reply.map_err(|_| hung_up()),
                () = self.closed.cancelled() => Err(hung_up()),
            }
        };
        match timeout(patience, answered).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(refusal))) => Err(refused(command, &refusal)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DriverError::timeout(format!("QEMU did not answer {command} in time"))),
        }
    }

    async fn ask<T: DeserializeOwned>(&self, command: &str) -> Result<T, DriverError> {
        let value = self.execute(command, Value::Null).await?;
        serde_json::from_value(value).map_err(|error| nonsense(&format!("{command}: {error}")))
    }

    /// Whether what is saved or loaded from now on leaves out memory that lies in a shared file.
    pub(super) async fn leave_out_memory(&self, left_out: bool) -> Result<(), DriverError> {
        let capability = serde_json::json!({ "capability": "x-ignore-shared", "state": left_out });
        let capabilities = serde_json::json!({ "capabilities": [capability] });
        self.execute("migrate-set-capabilities", capabilities).await.map(drop)
    }

    /// The run state, e.g. `running`.
    pub(super) async fn status(&self) -> Result<String, DriverError> {
        Ok(self.ask::<Status>("query-status").await?.status)
    }

    /// The UUID that the process was started with.
    pub(super) async fn uuid(&self) -> Result<uuid::Uuid, DriverError> {
        Ok(self.ask::<QueriedUuid>("query-uuid").await?.uuid)
    }

    /// Events from now on.
    pub(super) fn events(&self) -> broadcast::Receiver<QmpEvent> {
        self.events.subscribe()
    }

    /// Returns when the connection is over.
    pub(super) async fn hung_up(&self) {
        self.closed.cancelled().await;
    }
}

/// Takes a command off the list of those that wait, however its future ends.
struct Forget<'a> {
    waiting: &'a Waiting,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        locked(self.waiting).remove(&self.id);
    }
}

async fn write_commands<W: AsyncWrite + Unpin>(
    mut writer: W,
    socket: Option<OwnedFd>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    closed: CancellationToken,
) {
    let writing = async {
        while let Some((line, descriptor)) = outgoing.recv().await {
            // The descriptor travels with the first byte, and never without one.
            let sent = match (&socket, descriptor) {
                (Some(socket), Some(descriptor)) => send_with(socket, &line, &descriptor).await,
                _ => Ok(0),
            };
            let Ok(sent) = sent else { break };
            if writer.write_all(&line[sent..]).await.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
    };
    let _ = closed.run_until_cancelled(writing).await;
    closed.cancel();
}

/// Sends what fits of a line together with a descriptor; answers how much did.
async fn send_with(socket: &OwnedFd, line: &[u8], descriptor: &OwnedFd) -> rustix::io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    loop {
        let sent = {
            let descriptors = [descriptor.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            beside.push(SendAncillaryMessage::ScmRights(&descriptors));
            sendmsg(socket, &[IoSlice::new(line)], &mut beside, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        };
        match sent {
            Err(rustix::io::Errno::AGAIN) => tokio::time::sleep(Duration::from_millis(1)).await,
            other => return other,
        }
    }
}

async fn read_lines<R: AsyncRead + Unpin>(
    mut lines: Lines<R>,
    waiting: Waiting,
    events: broadcast::Sender<QmpEvent>,
    closed: CancellationToken,
) {
    let reading = async {
        loop {
            match lines.next().await {
                Ok(Some(line)) => {
                    if let Err(error) = deliver(&line, &waiting, &events) {
                        tracing::warn!(%error, "QEMU's monitor sent nonsense; hanging up");
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "lost the connection to QEMU's monitor");
                    return;
                }
            }
        }
    };
    let _ = closed.run_until_cancelled(reading).await;
    closed.cancel();
    locked(&waiting).clear();
}

/// Hands one line to who waits for it. Replies nobody waits for any more are dropped.
fn deliver(
    line: &[u8],
    waiting: &Waiting,
    events: &broadcast::Sender<QmpEvent>,
) -> Result<(), serde_json::Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let message = parse(line)?;
    if let Some(name) = message.event {
        // Nobody may be listening just now.
        let _ = events.send(QmpEvent { name, data: message.data });
        return Ok(());
    }
    let reply = match (message.error, message.result) {
        (Some(refusal), _) => Err(refusal),
        (None, result) => Ok(result.unwrap_or(Value::Null)),
    };
    let id = message.id.as_ref().and_then(Value::as_u64);
    if let Some(sender) = id.and_then(|id| locked(waiting).remove(&id)) {
        let _ = sender.send(reply);
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Message, serde_json::Error> {
    serde_json::from_slice(line)
}

fn locked(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Reply>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hung_up() -> DriverError {
    DriverError::new(DriverErrorKind::Unreachable, "QEMU's monitor hung up")
}

fn nonsense(what: &str) -> DriverError {
    DriverError::new(DriverErrorKind::Protocol, format!("QEMU's monitor: {what}"))
}

fn refused(command: &str, refusal: &Refusal) -> DriverError {
    let kind = match refusal.class.as_str() {
        "CommandNotFound" => DriverErrorKind::Unsupported,
        "DeviceNotFound" => DriverErrorKind::Gone,
        _ => DriverErrorKind::Refused,
    };
    DriverError::new(kind, format!("QEMU refused {command}: {}", refusal.desc))
}

/// Everything that a process may say after its greeting, without anybody who waits for it.
pub(crate) fn fuzz(bytes: &[u8]) {
    let (waiting, events) = (Waiting::default(), broadcast::Sender::new(4));
    let (sender, _receiver) = oneshot::channel();
    locked(&waiting).insert(1, sender);
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = deliver(line, &waiting, &events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};

    const GREETING: &[u8] = b"{\"QMP\":{\"version\":{},\"capabilities\":[],\"later\":1}}\r\n";

    /// A QEMU that greets and agrees, then hands over its end.
    async fn connected() -> (Qmp, BufReader<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut theirs = BufReader::new(theirs);
        let serving = async {
            theirs.get_mut().write_all(GREETING).await.unwrap();
            let request = read(&mut theirs).await;
            assert_eq!(request["execute"], "qmp_capabilities");
            write(&mut theirs, json!({"return": {}, "id": request["id"]})).await;
            theirs
        };
        let (qmp, theirs) = tokio::join!(Qmp::negotiate_over(ours, None, Duration::from_secs(1)), serving);
        (qmp.unwrap(), theirs)
    }

    async fn read(theirs: &mut BufReader<DuplexStream>) -> Value {
        let mut line = String::new();
        theirs.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn write(theirs: &mut BufReader<DuplexStream>, value: Value) {
        theirs.get_mut().write_all(format!("{value}\r\n").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn replies_find_their_askers_in_any_order() {
        let (qmp, mut theirs) = connected().await;
        let serving = async {
            let first = read(&mut theirs).await;
            let second = read(&mut theirs).await;
            write(&mut theirs, json!({"return": "stray", "id": 999})).await;
            write(&mut theirs, json!({"return": "nameless"})).await;
            write(&mut theirs, json!({"return": second["execute"], "id": second["id"]})).await;
            write(&mut theirs, json!({"event": "STOP", "timestamp": {}})).await;
            write(&mut theirs, json!({"return": first["execute"], "id": first["id"]})).await;
            theirs
        };
        let mut events = qmp.events();
        let (a, b, _theirs) =
            tokio::join!(qmp.execute("a", Value::Null), qmp.execute("b", json!({"x": 1})), serving);
        assert_eq!((a.unwrap(), b.unwrap()), (json!("a"), json!("b")));
        assert_eq!(events.recv().await.unwrap().name, "STOP");
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_words() {
        let (qmp, mut theirs) = connected().await;
        let serving = async {
            let asked = read(&mut theirs).await;
            let error = json!({"class": "CommandNotFound", "desc": "no such thing"});
            write(&mut theirs, json!({"error": error, "id": asked["id"]})).await;
        };
        let (result, ()) = tokio::join!(qmp.execute("x", Value::Null), serving);
        let error = result.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Unsupported);
        assert!(error.detail.contains("no such thing"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_greeting_that_does_not_come_means_somebody_else_holds_it() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let error = Qmp::negotiate_over(ours, None, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_times_out_and_the_next_command_works() {
        let (qmp, mut theirs) = connected().await;
        assert_eq!(qmp.execute("slow", Value::Null).await.unwrap_err().kind, DriverErrorKind::Timeout);
        assert!(locked(&qmp.waiting).is_empty());
        let serving = async {
            let late = read(&mut theirs).await;
            let now = read(&mut theirs).await;
            write(&mut theirs, json!({"return": "late", "id": late["id"]})).await;
            write(&mut theirs, json!({"return": "now", "id": now["id"]})).await;
            theirs
        };
        let (result, _theirs) = tokio::join!(qmp.execute("quick", Value::Null), serving);
        assert_eq!(result.unwrap(), json!("now"));
    }

    #[tokio::test]
    async fn an_endless_line_ends_the_connection() {
        let (qmp, mut theirs) = connected().await;
        let flood = vec![b'x'; LINE_LIMIT + 2];
        let serving = async {
            let _ = theirs.get_mut().write_all(&flood).await;
        };
        let (result, ()) = tokio::join!(qmp.execute("x", Value::Null), serving);
        assert_eq!(result.unwrap_err().kind, DriverErrorKind::Unreachable);
        qmp.hung_up().await;
    }

    #[tokio::test]
    async fn the_end_of_the_process_fails_what_waits() {
        let (qmp, mut theirs) = connected().await;
        let serving = async move {
            read(&mut theirs).await;
        };
        let (result, ()) = tokio::join!(qmp.execute("x", Value::Null), serving);
        assert_eq!(result.unwrap_err().kind, DriverErrorKind::Unreachable);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn garbage_never_panics(line in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            let (waiting, events) = (Waiting::default(), broadcast::Sender::new(4));
            let _ = deliver(&line, &waiting, &events);
            let _ = deliver(text.as_bytes(), &waiting, &events);
            let _ = deliver(format!("{{\"return\":{text:?},\"id\":{text:?}}}").as_bytes(), &waiting, &events);
        }

        #[test]
        fn garbage_after_the_greeting_is_an_error_not_a_hang(
            garbage in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (ours, mut theirs) = tokio::io::duplex(1024);
                theirs.write_all(GREETING).await.unwrap();
                theirs.write_all(&garbage).await.unwrap();
                theirs.shutdown().await.unwrap();
                prop_assert!(Qmp::negotiate_over(ours, None, Duration::from_secs(5)).await.is_err());
                Ok(())
            })?;
        }
    }
}
