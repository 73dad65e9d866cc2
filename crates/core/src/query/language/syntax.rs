//! The grammar of `where`: a text becomes a tree that knows where each comparison stood.

use super::{Field, Malformed, characters};
use crate::query::Filter;
use std::fmt;
use winnow::ascii::{Caseless, multispace0, multispace1};
use winnow::combinator::{alt, cut_err, delimited, eof, not, opt, preceded, repeat, separated, terminated};
use winnow::error::{ContextError, ErrMode, ParseError, StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location};
use winnow::token::{one_of, take_while};

/// A longer filter is refused unread.
const MAX_BYTES: usize = 16 * 1024;
/// Brackets within each other.
const MAX_DEPTH: usize = 64;

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

impl Expression {
    /// The filter that it means over these fields.
    ///
    /// # Errors
    /// With the place of the first field that is not among them.
    pub fn filter(&self, fields: &[Field]) -> Result<Filter, Malformed> {
        super::fields::filter(self, fields)
    }

    /// Whether it says anything of this field.
    pub fn speaks_of(&self, field: &str) -> bool {
        match self {
            Self::Or(parts) | Self::And(parts) => parts.iter().any(|part| part.speaks_of(field)),
            Self::Not(inner) => inner.speaks_of(field),
            Self::Comparison(comparison) => comparison.field == field,
        }
    }
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

    fn null() -> Self {
        Self::Bare("null".to_owned())
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
    let refuse = |at: usize, why: String| Err(Malformed::at(text, at, why));
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
    Malformed::at(text, error.offset(), format!("{wanted} is expected, not {found}"))
}

/// Where brackets outside of quotes begin to stand too deep: the parser calls itself once for each. What is in quotes
/// is told apart as [`quoted`] does it, or brackets could hide.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut in_quotes) = (0_usize, false);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if in_quotes => {
                bytes.next_if(|(_, next)| matches!(next, b'\'' | b'\\'));
            }
            b'\'' => in_quotes = !in_quotes,
            b'(' if !in_quotes => depth += 1,
            b')' if !in_quotes => depth = depth.saturating_sub(1),
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
    let negation = (
        keyword("NOT"),
        not((multispace1, alt((operator.void(), keyword("IS"), keyword("IN"))))),
        multispace0,
    )
        .void();
    let negations: usize = repeat(0.., negation).parse_next(input)?;
    let inner = cut_err(alt((bracket, comparison)))
        .context(expected("a comparison such as name EQ 'web'"))
        .parse_next(input)?;
    Ok(if negations.is_multiple_of(2) { inner } else { Expression::Not(Box::new(inner)) })
}

fn bracket(input: &mut Input<'_>) -> Parsed<Expression> {
    let close = cut_err(')').context(expected("AND, OR or a closing bracket"));
    delimited(('(', multispace0), any_of_these, (multispace0, close)).parse_next(input)
}

fn comparison(input: &mut Input<'_>) -> Parsed<Expression> {
    let position = input.current_token_start();
    let field = field.parse_next(input)?;
    let one = |operator, literal| {
        Expression::Comparison(Comparison { position, field: field.clone(), operator, literal })
    };
    let after = preceded(
        multispace1,
        alt((operator.map(After::Operator), keyword("IS").value(After::Is), keyword("IN").value(After::In))),
    );
    match cut_err(after).context(expected("EQ, NE, GT, GE, LT, LE, CP, IS or IN")).parse_next(input)? {
        After::Operator(operator) => {
            let value = preceded(multispace1, alt((quoted, bare)));
            Ok(one(operator, cut_err(value).context(expected("a value")).parse_next(input)?))
        }
        After::Is => {
            let not = opt((keyword("NOT"), multispace1))
                .map(|not| if not.is_some() { Operator::Ne } else { Operator::Eq });
            let null = preceded(multispace1, terminated(not, keyword("null")));
            let operator = cut_err(null).context(expected("null or NOT null")).parse_next(input)?;
            Ok(one(operator, Literal::null()))
        }
        After::In => {
            let literals: Vec<Literal> = among.parse_next(input)?;
            Ok(joined(
                literals.into_iter().map(|literal| one(Operator::Eq, literal)).collect(),
                Expression::Or,
            ))
        }
    }
}

/// What may come after the name of a field.
#[derive(Clone, Copy)]
enum After {
    Operator(Operator),
    Is,
    In,
}

/// Values in brackets, of which one is meant.
fn among(input: &mut Input<'_>) -> Parsed<Vec<Literal>> {
    let value = delimited(multispace0, alt((quoted, in_list)), multispace0).context(expected("a value"));
    let open = (multispace0, '(').context(expected("an opening bracket"));
    let close = ')'.context(expected("a comma or a closing bracket"));
    cut_err(delimited(open, separated(1.., value, ','), close)).parse_next(input)
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
    word(input, "()'")
}

/// A word among others, with commas between.
fn in_list(input: &mut Input<'_>) -> Parsed<Literal> {
    word(input, "()',")
}

fn word(input: &mut Input<'_>, ends: &'static str) -> Parsed<Literal> {
    let first = one_of(begins_word);
    let rest = take_while(0.., |c: char| !c.is_whitespace() && !ends.contains(c));
    (first, rest).take().map(|text: &str| Literal::Bare(text.to_owned())).parse_next(input)
}

fn begins_word(character: char) -> bool {
    character.is_alphanumeric() || "_@%-".contains(character)
}

impl fmt::Display for Expression {
    /// As it could have been written, with all the brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, word) = match self {
            Self::Comparison(comparison) => return comparison.fmt(f),
            Self::Not(inner) => return write!(f, "NOT ({inner})"),
            Self::Or(parts) => (parts, " OR "),
            Self::And(parts) => (parts, " AND "),
        };
        for (place, part) in parts.iter().enumerate() {
            write!(f, "{}({part})", if place > 0 { word } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.operator {
            Operator::Eq => "EQ",
            Operator::Ne => "NE",
            Operator::Gt => "GT",
            Operator::Ge => "GE",
            Operator::Lt => "LT",
            Operator::Le => "LE",
            Operator::Cp => "CP",
        };
        write!(f, "{} {operator} {}", self.field, self.literal)
    }
}

impl fmt::Display for Literal {
    /// Quotes are doubled: the backslashes before one always come in pairs, or it would have been an escaped one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(word) => f.write_str(word),
            Self::Quoted(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
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
            ("(owner_email IS null) AND is_new EQ false", "(owner_email Eq null & is_new Eq false)"),
            ("a is not NULL", "a Ne null"),
            ("NOT domain CP '%extended.%' AND (ipnet EQ 12)", "(!domain Cp %extended.% & ipnet Eq 12)"),
            ("id IN (1,'2, 3' , x) AND b EQ 1", "((id Eq 1 | id Eq 2, 3 | id Eq x) & b Eq 1)"),
            ("id in(7)", "id Eq 7"),
            ("not EQ 1 AND in EQ 2", "(not Eq 1 & in Eq 2)"),
        ] {
            assert_eq!(read(text), tree, "{text}");
        }
        assert_eq!(parse("  "), Ok(None));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, position, told) in [
            ("name", 4, "EQ, NE, GT, GE, LT, LE, CP, IS or IN is expected, not the end"),
            ("name LIKE 'x'", 5, "EQ, NE"),
            ("name IS 'x'", 8, "null or NOT null is expected"),
            ("name IS NOT 'x'", 12, "null or NOT null is expected"),
            ("name IN 'x'", 8, "an opening bracket"),
            ("name IN ()", 9, "a value"),
            ("name IN ('x' 'y')", 13, "a comma or a closing bracket"),
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
        // Brackets in quotes are text, and quotes that are text hide no brackets.
        assert!(parse(&format!("a EQ '\\'{}'", "(".repeat(1000))).is_ok());
        let hidden = |quote: &str| format!("a EQ '{quote}' AND {}", nested(MAX_DEPTH + 1));
        for quote in ["\\'", "''", "\\\\", "\\\\\\'"] {
            assert!(parse(&hidden(quote)).unwrap_err().text.contains("64 deep"), "{quote}");
        }
        // As long as they may be, all on one level.
        assert!(parse(&format!("a EQ 1{}", " OR a EQ 1".repeat(1600))).is_ok());
    }

    /// What a parser could have made: parts of one kind are never alone, nothing is negated twice.
    fn trees() -> impl Strategy<Value = Expression> {
        let literal = prop_oneof![
            "[ -~ü]{0,8}".prop_filter_map("a quote that is escaped", |text| {
                let ends =
                    text.split('\'').map(|part| part.bytes().rev().take_while(|c| *c == b'\\').count());
                ends.clone().all(|count: usize| count.is_multiple_of(2)).then_some(Literal::Quoted(text))
            }),
            "[a-z0-9_@%][a-z/.:%-]{0,5}".prop_map(Literal::Bare),
        ];
        let operators = [
            Operator::Eq,
            Operator::Ne,
            Operator::Gt,
            Operator::Ge,
            Operator::Lt,
            Operator::Le,
            Operator::Cp,
        ];
        let comparison =
            ("[a-z_]{1,5}(\\.[a-z]{1,3})?", proptest::sample::select(operators.to_vec()), literal);
        let leaf = comparison.prop_map(|(field, operator, literal)| {
            Expression::Comparison(Comparison { position: 0, field, operator, literal })
        });
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 2..5).prop_map(Expression::Or),
                proptest::collection::vec(inner.clone(), 2..5).prop_map(Expression::And),
                inner.prop_map(|inner| match inner {
                    Expression::Not(_) => inner,
                    other => Expression::Not(Box::new(other)),
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_as_it_was(tree in trees()) {
            let text = tree.to_string();
            let read = parse(&text).unwrap().unwrap();
            prop_assert_eq!(shown(&read), shown(&tree), "{}", text);
            prop_assert_eq!(read.to_string(), text);
        }

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
