//! The language that lists are filtered and ordered with: `where`, `orderby` and `limit`.
//!
//! ```text
//! where    (name CP 'web-%') AND NOT (cluster.name EQ 'main' OR task EQ null)
//! orderby  cluster.name desc, name
//! limit    100,50
//! ```
//!
//! Grammar and meaning are those of VMmanager 6's filters, of which clients write the oddest forms: keywords in any
//! case, brackets without spaces around them, numbers in quotes, words without. docs/lists.md describes both for
//! people. A door brings a table of [`Field`]s: the names are its dialect's, the columns core's. What it gets is a
//! [`Filter`] and an [`Order`] that every command that lists takes, and a [`Malformed`] with the place otherwise:
//!
//! ```
//! use hostler_core::core::ListAsk;
//! use hostler_core::query::language::{self, Case, Field, Holds};
//! use hostler_core::query::Filter;
//! use hostler_core::record::Kind;
//!
//! const FIELDS: &[Field] = &[
//!     Field::of("id", Holds::Number, "number"),
//!     Field::of("name", Holds::Word, "name"),
//!     // Joined through the key in a column, under the dotted name and the bare one.
//!     Field::through("cluster", Holds::Number, "cluster", Kind::Cluster, "number"),
//!     Field::through("cluster.name", Holds::Text, "cluster", Kind::Cluster, "name"),
//!     // An array of what names this record: the comparison holds if it holds for any of them.
//!     Field::naming("ip4.ip", Holds::Text, Kind::Address, "machine", "ip"),
//!     // A word that core does not have.
//!     Field::cases("state", Holds::Text, &[
//!         Case { word: "active", when: || Filter::eq("observed", "on") },
//!         Case { word: "stopped", when: || Filter::ne("observed", "on") },
//!     ]),
//! ];
//!
//! let mut ask = ListAsk { counted: true, ..ListAsk::default() };
//! ask.filter = language::filter("(cluster EQ 1) AND (state EQ 'active')", FIELDS)?;
//! ask.order = language::order("cluster.name desc", FIELDS)?.sorts();
//! (ask.offset, ask.limit) = language::limit("100,50")?.unwrap_or((0, u32::MAX));
//! // let page = core.machine_list(&caller, ask).await?;  page.items, page.total
//!
//! let error = language::filter("name EQ 'a' AND colour EQ 1", FIELDS).unwrap_err();
//! assert_eq!(error.position, 16);
//! # Ok::<(), language::Malformed>(())
//! ```

mod fields;
mod literals;
mod order;
mod syntax;

pub use fields::{Case, Field, Holds, Place};
pub use order::{Order, limit};
pub use syntax::{Comparison, Expression, Literal, Operator, parse};

use super::Filter;

/// What is wrong with a filter, an order or a limit, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}, at character {}", position + 1)]
pub struct Malformed {
    /// Characters before the place.
    pub position: usize,
    /// What is wrong there, without a full stop.
    pub text: String,
}

impl Malformed {
    /// A mistake at this byte of `text`.
    fn at(text: &str, byte: usize, why: String) -> Self {
        Self { position: characters(text, byte), text: why }
    }

    fn unknown(name: &str, position: usize, fields: &[Field]) -> Self {
        let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let shown: String = name.chars().take(80).collect();
        Self { position, text: format!("there is no field `{shown}` here; known: {}", known.join(", ")) }
    }
}

/// How many characters begin before this byte.
fn characters(text: &str, bytes: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < bytes).count()
}

/// The filter that a text means, over these fields. White space alone means everything.
///
/// # Errors
/// With the place where it stops making sense, or of the first field that is not among `fields`.
pub fn filter(text: &str, fields: &[Field]) -> Result<Filter, Malformed> {
    match parse(text)? {
        None => Ok(Filter::All),
        Some(expression) => expression.filter(fields),
    }
}

/// The order that a text means, over these fields. White space alone means by number.
///
/// # Errors
/// With the place of the first term that is none, or of a field that is not among `fields` or has no order.
pub fn order(text: &str, fields: &[Field]) -> Result<Order, Malformed> {
    order::read(text, fields)
}
