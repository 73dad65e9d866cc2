//! Commands about pools, and about the machines that they lend.

mod args;
mod checkout;
mod request;
mod show;

pub(super) use args::PoolCommand;
pub(super) use checkout::{Checkout, Extend, Return, Tag, checkout, checkouts, extend, give_back, tag};

use crate::cli::Session;
use crate::failure::{Exit, Failure};
use args::{Change, Create};
use hostler_doors::native::types::{
    Machine, Pool, PoolEdit, PoolFigures, PoolShown, PoolSpec, Pools, StockState,
};
use reqwest::Method;

/// Machines that `pool show` tells of.
const NEWEST: usize = 10;

pub(super) async fn pool(session: &Session, command: PoolCommand) -> Result<Exit, Failure> {
    let (client, show) = (&session.client, session.show);
    match command {
        PoolCommand::List => {
            let pools: Pools = client.get(&["pools"]).await?;
            show.list(&pools.items, &show::POOLS, show::pool_row);
        }
        PoolCommand::Show { pool } => {
            let pool: PoolShown = client.get(&["pools", &pool]).await?;
            let path = ["pools", &pool.pool.id.to_string(), "machines"];
            let newest = [("order_by", "number desc".to_owned())];
            let newest: Vec<Machine> = client.list(&path, &newest, Some(NEWEST)).await?;
            show::shown(show, pool, newest);
        }
        PoolCommand::Create(create) => created(session, *create).await?,
        PoolCommand::Change(change) => changed(session, *change).await?,
        PoolCommand::Resize { pool, size } => {
            overridden(session, &pool, &PoolEdit { size: Some(size), ..PoolEdit::default() }).await?;
        }
        PoolCommand::Template { pool, template } => {
            overridden(session, &pool, &PoolEdit { template: Some(template), ..PoolEdit::default() }).await?;
        }
        PoolCommand::Reset { pool } => {
            let pool: Pool = client.post(&["pools", &pool, "reset"], &serde_json::Value::Null).await?;
            show.one(&pool, show::fields);
        }
        PoolCommand::Drain { pool } => {
            let pool: Pool = client.post(&["pools", &pool, "drain"], &serde_json::Value::Null).await?;
            show.said(&pool, format_args!("what was ready in pool {} is being replaced", pool.name));
        }
        PoolCommand::Delete { pool } => {
            let gone: Pool = client.get(&["pools", &pool]).await?;
            client.send(client.request(Method::DELETE, &["pools", &gone.id.to_string()])).await?;
            show.said(&gone, format_args!("pool {} goes as soon as its machines are gone", gone.name));
        }
        PoolCommand::Stock(ask) => {
            let stock: Vec<Machine> =
                client.list(&["pools", &ask.pool, "machines"], &ask.query(), None).await?;
            show.list(&stock, &show::STOCK, show::stock_row);
        }
        PoolCommand::Failures { pool } => {
            let failed = StockState::Failed.to_string();
            let query = [("stock", failed), ("order_by", "number desc".to_owned())];
            let failed: Vec<Machine> = client.list(&["pools", &pool, "machines"], &query, None).await?;
            show.list(&failed, &show::FAILURES, show::failure_row);
        }
        PoolCommand::Figures { from, to } => {
            let query: Vec<_> = [("from", from), ("to", to)]
                .into_iter()
                .filter_map(|(name, day)| Some((name, day?)))
                .collect();
            let request = client.asking(Method::GET, &["pools", "figures"], &query);
            let figures: PoolFigures = client.json(request).await?;
            show.list(&figures.items, &show::FIGURES, show::figures_row);
        }
    }
    Ok(Exit::DONE)
}

async fn created(session: &Session, create: Create) -> Result<(), Failure> {
    let least = serde_json::json!({ "name": create.name, "template": create.template, "size": create.size });
    let mut spec: PoolSpec = serde_json::from_value(least)
        .map_err(|error| Failure::because("cannot say what it shall be", &error))?;
    create.properties.put(&mut spec);
    let pool: Pool = session.client.post(&["pools"], &spec).await?;
    session.show.one(&pool, show::fields);
    Ok(())
}

async fn changed(session: &Session, change: Change) -> Result<(), Failure> {
    let client = &session.client;
    let pool: Pool = client.get(&["pools", &change.pool]).await?;
    let Some(before) = pool.spec else {
        return Err(Failure::new("only administrators change pools").exit(Exit::DENIED));
    };
    let mut spec = before.clone();
    spec.template = change.template.unwrap_or(spec.template);
    spec.size = change.size.unwrap_or(spec.size);
    change.properties.put(&mut spec);
    if spec == before {
        return Err(
            Failure::usage("nothing to change").hint("`hostler pool change --help` lists what can be")
        );
    }
    let id = pool.id.to_string();
    let pool: Pool = client.json(client.request(Method::PUT, &["pools", &id]).json(&spec)).await?;
    session.show.one(&pool, show::fields);
    Ok(())
}

async fn overridden(session: &Session, pool: &str, edit: &PoolEdit) -> Result<(), Failure> {
    let client = &session.client;
    let pool: Pool = client.json(client.request(Method::PATCH, &["pools", pool]).json(edit)).await?;
    session.show.one(&pool, show::fields);
    Ok(())
}
