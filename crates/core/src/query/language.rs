//! The language that lists are filtered with: `(name CP 'web-%') AND NOT (cluster EQ 1)`.
//!
//! Grammar and meaning are those of VMmanager 6's filters, of which clients write the oddest forms: keywords in any
//! case, brackets without spaces around them, numbers in quotes, words without. [`parse`] makes a tree that knows
//! where each comparison stood; [`fields`](super::fields) makes a [`Filter`](super::Filter) of it.

use winnow::ascii::{Caseless, multispace0, multispace1};
use winnow::combinator::{alt, cut_err, delimited, eof, not, preceded, repeat, separated, terminated};
use winnow::error::{ContextError, ErrMode, ParseError, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{one_of, take_while};

/// A longer filter is refused unread.
const MAX_BYTES: usize = 16 * 1024;
/// Brackets within each other.
const MAX_DEPTH: usize = 64;

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}, at character {}", position + 1)]
pub struct Malformed {
    /// Characters before the place.
    pub position: usize,
    /// What is wrong there, without a full stop.
    pub text: String,
}

/// A filter as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Any of these.
    Or(Vec<Expression>),
    /// All of these.
    And(Vec<Expression>),
    /// Not this.
    Not(Box<Expression>),
    /// One comparison.
    Comparison(Comparison),
}

/// A field, an operator, a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Characters before it.
    pub position: usize,
    /// Name of the field, dots included.
    pub field: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub literal: Literal,
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// In quotes, which are taken off.
    Quoted(String),
    /// A number or a word.
    Bare(String),
}

impl Literal {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Quoted(text) | Self::Bare(text) => text,
        }
    }

    /// Whether it is the word for "no value".
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Bare(word) if word.eq_ignore_ascii_case("null"))
    }
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater than.
    Gt,
    /// At least.
    Ge,
    /// Less than.
    Lt,
    /// At most.
    Le,
    /// As SQL's LIKE, from end to end.
    Cp,
}

type Input<'a> = LocatingSlice<&'a str>;
type Parsed<T> = winnow::Result<T, ErrMode<ContextError>>;

/// Reads a filter. White space alone is no filter.
///
/// # Errors
/// The place where it stops making sense, and what would make sense there.
pub fn parse(text: &str) -> Result<Option<Expression>, Malformed> {
    let refuse = |at: usize, why: String| Err(Malformed { position: characters(text, at), text: why });
    if text.len() > MAX_BYTES {
        return refuse(0, format!("a filter has at most {MAX_BYTES} bytes"));
    }
    if let Some(at) = too_deep(text) {
        return refuse(at, format!("brackets stand within each other at most {MAX_DEPTH} deep"));
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    let end = eof.context(expected("AND, OR or the end"));
    let mut whole = terminated(delimited(multispace0, any_of_these, multispace0), end);
    let mut tree = whole.parse(LocatingSlice::new(text)).map_err(|error| malformed(text, &error))?;
    count_characters(&mut tree, text);
    Ok(Some(tree))
}

fn expected(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

fn malformed(text: &str, error: &ParseError<Input<'_>, ContextError>) -> Malformed {
    let what = error.inner().context().find_map(|context| match context {
        StrContext::Expected(StrContextValue::Description(what)) => Some(*what),
        _ => None,
    });
    let found: String = text.get(error.offset()..).unwrap_or("").chars().take(20).collect();
    let found = if found.is_empty() { "the end".to_owned() } else { format!("`{found}`") };
    let wanted = what.unwrap_or("a comparison such as name EQ 'web'");
    Malformed {
        position: characters(text, error.offset()),
        text: format!("{wanted} is expected, not {found}"),
    }
}

fn characters(text: &str, bytes: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < bytes).count()
}

/// Where brackets outside of quotes begin to stand too deep: the parser calls itself once for each.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0_usize, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(at);
        }
    }
    None
}

/// Turns byte offsets into counts of characters, once for all comparisons.
fn count_characters(tree: &mut Expression, text: &str) {
    match tree {
        Expression::Or(parts) | Expression::And(parts) => {
            parts.iter_mut().for_each(|part| count_characters(part, text));
        }
        Expression::Not(inner) => count_characters(inner, text),
        Expression::Comparison(comparison) => comparison.position = characters(text, comparison.position),
    }
}

fn any_of_these(input: &mut Input<'_>) -> Parsed<Expression> {
    let parts = separated(1.., all_of_these, joint("OR")).parse_next(input)?;
    Ok(joined(parts, Expression::Or))
}

fn all_of_these(input: &mut Input<'_>) -> Parsed<Expression> {
    let parts = separated(1.., term, joint("AND")).parse_next(input)?;
    Ok(joined(parts, Expression::And))
}

fn joined(mut parts: Vec<Expression>, join: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            join(parts)
        }
    }
}

/// A word between two terms, with white space where brackets do not make it needless.
fn joint<'a>(word: &'static str) -> impl Parser<Input<'a>, (), ErrMode<ContextError>> {
    delimited(multispace0, keyword(word), multispace0)
}

fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, (), ErrMode<ContextError>> {
    (Caseless(word), not(one_of(in_name))).void()
}

fn in_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// A comparison or a bracket, with any number of NOTs before it. They are counted, not nested: a thousand of them
/// are no deeper than one.
fn term(input: &mut Input<'_>) -> Parsed<Expression> {
    let negation = (keyword("NOT"), not((multispace1, operator)), multispace0).void();
    let negations: usize = repeat(0.., negation).parse_next(input)?;
    let inner = cut_err(alt((bracket, comparison)))
        .context(expected("a comparison such as name EQ 'web'"))
        .parse_next(input)?;
    Ok(if negations % 2 == 0 { inner } else { Expression::Not(Box::new(inner)) })
}

fn bracket(input: &mut Input<'_>) -> Parsed<Expression> {
    let close = cut_err(')').context(expected("AND, OR or a closing bracket"));
    delimited(('(', multispace0), any_of_these, (multispace0, close)).parse_next(input)
}

fn comparison(input: &mut Input<'_>) -> Parsed<Expression> {
    let position = input.current_token_start();
    let field = field.parse_next(input)?;
    let operator = cut_err(preceded(multispace1, operator))
        .context(expected("EQ, NE, GT, GE, LT, LE or CP"))
        .parse_next(input)?;
    let literal =
        cut_err(preceded(multispace1, alt((quoted, bare)))).context(expected("a value")).parse_next(input)?;
    Ok(Expression::Comparison(Comparison { position, field, operator, literal }))
}

fn field(input: &mut Input<'_>) -> Parsed<String> {
    let name = (one_of(|c: char| c.is_ascii_alphabetic() || c == '_'), take_while(0.., in_name));
    let names = separated::<_, _, (), _, _, _, _>(1.., name.void(), '.');
    names.take().map(|text: &str| text.to_owned()).parse_next(input)
}

fn operator(input: &mut Input<'_>) -> Parsed<Operator> {
    alt((
        keyword("EQ").value(Operator::Eq),
        keyword("NE").value(Operator::Ne),
        keyword("GT").value(Operator::Gt),
        keyword("GE").value(Operator::Ge),
        keyword("LT").value(Operator::Lt),
        keyword("LE").value(Operator::Le),
        keyword("CP").value(Operator::Cp),
    ))
    .parse_next(input)
}

/// Text in quotes. A quote within it is doubled or has a backslash before it; any other backslash stays, for CP.
fn quoted(input: &mut Input<'_>) -> Parsed<Literal> {
    let piece = alt((
        "''".value("'"),
        "\\'".value("'"),
        "\\\\".value("\\\\"),
        "\\".value("\\"),
        take_while(1.., |c| c != '\'' && c != '\\'),
    ));
    let inner = repeat(0.., piece).fold(String::new, |mut text, piece: &str| {
        text.push_str(piece);
        text
    });
    let close = cut_err('\'').context(expected("the closing quote"));
    delimited('\'', inner, close).map(Literal::Quoted).parse_next(input)
}

fn bare(input: &mut Input<'_>) -> Parsed<Literal> {
    let first = one_of(|c: char| c.is_alphanumeric() || "_@%-".contains(c));
    let rest = take_while(0.., |c: char| !c.is_whitespace() && !"()'".contains(c));
    (first, rest).take().map(|text: &str| Literal::Bare(text.to_owned())).parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tree in one line, brackets everywhere.
    fn shown(tree: &Expression) -> String {
        let join = |parts: &[Expression], word: &str| {
            let parts: Vec<String> = parts.iter().map(shown).collect();
            format!("({})", parts.join(word))
        };
        match tree {
            Expression::Or(parts) => join(parts, " | "),
            Expression::And(parts) => join(parts, " & "),
            Expression::Not(inner) => format!("!{}", shown(inner)),
            Expression::Comparison(Comparison { field, operator, literal, .. }) => {
                format!("{field} {operator:?} {}", literal.text())
            }
        }
    }

    fn read(text: &str) -> String {
        shown(&parse(text).unwrap().unwrap())
    }

    #[test]
    fn forms_that_clients_write() {
        for (text, tree) in [
            ("(id EQ 1)", "id Eq 1"),
            (
                "(consul_id EQ '1341774670') AND (name EQ 'host_create')",
                "(consul_id Eq 1341774670 & name Eq host_create)",
            ),
            ("id eq 7", "id Eq 7"),
            ("email CP 'u@x.y'", "email Cp u@x.y"),
            ("name CP '1.1.0.0/24'", "name Cp 1.1.0.0/24"),
            ("(name CP 'n') AND (account.id EQ 3)", "(name Cp n & account.id Eq 3)"),
            ("((roles CP '%@admin%') AND (state EQ 'active'))", "(roles Cp %@admin% & state Eq active)"),
            ("(a EQ 1)AND(b EQ 2)OR(c EQ 3)", "((a Eq 1 & b Eq 2) | c Eq 3)"),
            (
                "((a EQ '1') AND (b EQ 'x')) OR ((a EQ '2') AND (b EQ 'y'))",
                "((a Eq 1 & b Eq x) | (a Eq 2 & b Eq y))",
            ),
            ("NOT(a EQ 1)", "!a Eq 1"),
            ("not not a EQ -1.5", "a Eq -1.5"),
            ("NOT a EQ 1 AND b NE null", "(!a Eq 1 & b Ne null)"),
            ("notes EQ orange", "notes Eq orange"),
            ("name EQ 'it''s'", "name Eq it's"),
            ("name EQ 'it\\'s'", "name Eq it's"),
            ("name CP 'a\\%b'", "name Cp a\\%b"),
            ("  name\tEQ  ''  ", "name Eq "),
        ] {
            assert_eq!(read(text), tree, "{text}");
        }
        assert_eq!(parse("  "), Ok(None));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, position, told) in [
            ("name", 4, "EQ, NE, GT, GE, LT, LE or CP is expected, not the end"),
            ("name IS 'x'", 5, "EQ, NE"),
            ("ü EQ 1", 0, "a comparison"),
            ("name EQ", 7, "a value"),
            ("name EQ 'ü' x", 12, "AND, OR or the end is expected, not `x`"),
            ("(name EQ 'x'", 12, "a closing bracket"),
            ("name EQ 'x", 10, "the closing quote"),
            ("name EQ 'x')", 11, "AND, OR or the end"),
            ("a EQ 1 AND", 10, "a comparison"),
            ("AND a EQ 1", 4, "EQ, NE"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.text.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn neither_depth_nor_length_is_without_end() {
        let nested = |depth| format!("{}a EQ 1{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().text.contains("64 deep"));
        assert_eq!(read(&format!("{}a EQ 1", "NOT ".repeat(4001))), "!a Eq 1");
        assert!(parse(&" ".repeat(MAX_BYTES + 1)).is_err());
        // As long as they may be, all on one level.
        assert!(parse(&format!("a EQ 1{}", " OR a EQ 1".repeat(1600))).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[ -~ü'()%\\\\]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn words_of_the_language_in_any_order(
            words in proptest::collection::vec(
                prop_oneof!["AND", "or", "NOT", "EQ", "cp", "name", "\\(", "\\)", "'x'", "''", "'", "1", " "],
                0..20,
            )
        ) {
            if let Err(error) = parse(&words.join(" ")) {
                prop_assert!(error.position <= words.join(" ").chars().count());
            }
        }
    }
}
