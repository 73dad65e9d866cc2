//! What only concerns PostgreSQL: the server, its addresses, its restarts, several processes on one database.

use crate::Fresh;
use hostler_sim::postgres::{Care, Server};
use hostler_store::PostgresStore;
use std::sync::{Arc, OnceLock};

/// Of this database all others are copies.
const TEMPLATE: &str = "hostler_template";

/// The server that most tests share; none where PostgreSQL is not installed.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        if Server::installed().is_none() {
            eprintln!("SKIPPED: PostgreSQL is not installed");
            assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL");
            return None;
        }
        let server = Server::start(Care::Fleeting).unwrap();
        server.create(TEMPLATE, None).unwrap();
        let url = server.url(TEMPLATE);
        // A runtime of its own, because the one of the first test ends with it.
        let migrated = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { PostgresStore::open(&url).await.unwrap().close().await });
        });
        migrated.join().unwrap();
        Some(server)
    });
    server.as_ref()
}

pub(crate) async fn fresh() -> Option<Fresh> {
    let url = server()?.database(Some(TEMPLATE)).unwrap();
    Some(Arc::new(PostgresStore::open(&url).await.unwrap()))
}
