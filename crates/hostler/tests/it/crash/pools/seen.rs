//! A look at the books themselves: one statement sees one moment, and no memory of the server stands in between. Read with
//! types of our own, so that a misunderstanding in the product's cannot hide here.

use super::history::{History, State, Stock};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

#[derive(Deserialize)]
struct Body {
    name: String,
    life: serde_json::Value,
    stock: Kept,
}

#[derive(Deserialize)]
struct Kept {
    pool_name: String,
    state: String,
    checkout: Option<Checkout>,
}

#[derive(Deserialize)]
struct Checkout {
    at: i64,
    token: Option<String>,
    lifetime_s: Option<u64>,
    tags: BTreeMap<String, String>,
}

enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

const MACHINES: &str = "SELECT body FROM machine WHERE pool IS NOT NULL";

/// The database of a server, read beside it.
pub(super) struct Books {
    database: Database,
    /// Clients by the ids of their tokens.
    clients: HashMap<String, usize>,
}

impl Books {
    pub(super) async fn open(data: &Path, clients: HashMap<String, usize>) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(data.join("hostler.db")).read_only(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Self { database: Database::Sqlite(pool), clients })
    }

    /// The same of PostgreSQL.
    pub(super) async fn connect(url: &str, clients: HashMap<String, usize>) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
        Ok(Self { database: Database::Postgres(pool), clients })
    }

    /// Looks at all machines of pools and writes it down.
    pub(super) async fn look(&self, history: &History) -> Result<()> {
        let began = history.moment();
        let rows: Result<Vec<(String,)>, _> = match &self.database {
            Database::Sqlite(pool) => sqlx::query_as(MACHINES).fetch_all(pool).await,
            Database::Postgres(pool) => sqlx::query_as(MACHINES).fetch_all(pool).await,
        };
        let rows = rows.context("reading the books")?;
        let stock = rows.iter().map(|(body,)| self.stock(body)).collect::<Result<_>>()?;
        history.seen(began, stock);
        Ok(())
    }

    fn stock(&self, body: &str) -> Result<(String, Stock)> {
        let Body { name, life, stock } = serde_json::from_str(body).with_context(|| body.to_owned())?;
        let state = match stock.state.as_str() {
            "filling" => State::Filling,
            "ready" => State::Ready,
            "lent" => State::Lent,
            "returned" => State::Returned,
            "failed" => State::Failed,
            other => bail!("what is {other}?"),
        };
        let (mut client, mut lent_at, mut fields) = (None, 0, BTreeMap::new());
        if let Some(checkout) = stock.checkout {
            let token = checkout.token.unwrap_or_default();
            client = Some(self.clients.get(&token).copied().ok_or(token));
            lent_at = checkout.at;
            fields.extend(checkout.lifetime_s.map(|seconds| ("lifetime".to_owned(), seconds.to_string())));
            fields.extend(checkout.tags.into_iter().map(|(key, value)| (format!("tag:{key}"), value)));
        }
        Ok((name, Stock { pool: stock.pool_name, state, gone: life == "gone", client, lent_at, fields }))
    }
}
