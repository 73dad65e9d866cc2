//! Where the doors stand: a TCP address, and the unix socket of the data directory for local administrators.

use crate::config::Listen;
use crate::failure::Failure;
use crate::socket::SocketPath;
use axum::serve::Listener;
use hostler_doors::LocalPeer;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// Listens on the TCP address; the answer has the real port when any was asked for.
pub(super) async fn tcp(listen: &Listen) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind(listen.as_str()).await.map_err(|error| {
        let failure = Failure::because(format!("cannot listen on {listen}"), &error);
        match error.kind() {
            ErrorKind::AddrInUse => {
                failure.hint("another program has it; name another address with --listen")
            }
            ErrorKind::PermissionDenied => {
                failure.hint("ports below 1024 are root's; name another one with --listen")
            }
            ErrorKind::AddrNotAvailable => {
                failure.hint("this host does not have that address; see `ip address`")
            }
            _ => failure.hint("name another address with --listen or HOSTLER_LISTEN"),
        }
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::because(format!("cannot listen on {listen}"), &error))?;
    Ok((listener, address))
}

/// Accepts connections of our own user and of root only. Its file goes when it is dropped.
#[derive(Debug)]
pub(super) struct LocalListener {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalListener {
    /// Listens on the socket of a data directory that is locked for us: whatever socket is there is left over.
    pub(super) fn bind(data_dir: &Path) -> Result<Self, Failure> {
        let shown = data_dir.join("hostler.sock");
        let failed = |error: io::Error| {
            Failure::because(format!("cannot listen on the socket {}", shown.display()), &error)
        };
        let path = SocketPath::of(data_dir).map_err(failed)?;
        match std::fs::symlink_metadata(path.real()) {
            Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path.real()).map_err(failed)?,
            Ok(_) => {
                return Err(Failure::new(format!("{} is in the way: it is no socket", shown.display()))
                    .hint("look at it, and move it away"));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path.short()).map_err(failed)?;
        std::fs::set_permissions(path.real(), std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path: path.real().to_owned() })
    }
}

impl Drop for LocalListener {
    fn drop(&mut self) {
        // A file left behind harms nobody: the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listener for LocalListener {
    type Io = UnixStream;
    type Addr = LocalPeer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // The inner accept waits out passing errors, such as too many open files.
            let (stream, _) = Listener::accept(&mut self.listener).await;
            match stream.peer_cred() {
                Ok(peer) => {
                    let peer = local_peer(peer.uid());
                    if peer.is_administrator() {
                        return (stream, peer);
                    }
                    tracing::warn!(uid = peer.uid, "refused another user on the unix socket");
                }
                Err(error) => tracing::warn!(%error, "refused somebody unknown on the unix socket"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(local_peer(rustix::process::geteuid().as_raw()))
    }
}

fn local_peer(uid: u32) -> LocalPeer {
    LocalPeer { uid, server_uid: rustix::process::geteuid().as_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let (_first, address) = tcp(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_ne!(address.port(), 0);
        let refused = tcp(&address.to_string().parse().unwrap()).await.unwrap_err();
        assert_eq!(refused.text, format!("cannot listen on {address}"));
        assert!(refused.hint.unwrap().starts_with("another program has it"));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_anything_else_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hostler.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = LocalListener::bind(directory.path()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert!(LocalListener::bind(directory.path()).unwrap_err().text.ends_with("it is no socket"));
    }
}
