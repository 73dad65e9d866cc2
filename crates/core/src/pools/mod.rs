//! Pools: stocks of ready machines that are lent and taken back.
//!
//! A machine of a pool carries its [`Stock`]. The checkout is part of it, so that handing a machine out is one change
//! of one record, which two callers cannot both make:
//!
//! ```text
//!   filling ──► ready ──► lent ──► returned ──► (the machine is gone)
//!      └──────────┴─► failed ──────────────────────┘
//! ```
//!
//! What is ready belongs to the account `hostler`; what is lent to whoever has it. [`PoolKeeper`](crate::reconcile)
//! fills pools, ends checkouts and replaces what stopped answering; a checkout's own event wakes it. [`Book`] is what
//! a process remembers of pools between two reads; the store is the authority.

mod book;
mod built_in;
mod change;
mod checkout;
mod commands;
mod declared;
mod figures;
mod fill;
mod lending;
mod model;
mod removal;
mod request;
mod rules;
mod shelf;
mod spec;

pub use book::PoolCounts;
pub(crate) use book::{Book, pool_in};
pub use change::Overriding;
pub use checkout::CheckoutAsk;
pub use declared::PoolDeclared;
pub use figures::Born;
pub(crate) use fill::Filled;
pub use lending::CheckoutChange;
pub use model::{
    Birth, Checkout, Demand, Figures, Overrides, Pool, Request, RequestState, Spread, Stock, StockState,
    Trouble, Wanted,
};
pub use request::RequestAsk;
pub use rules::{Anonymous, PoolRules};
pub use spec::{PoolSpec, Probe};
