//! What a literal means where a field holds numbers or moments: the condition that compares the column with it.

use super::Operator;
use crate::query::{Compare, Filter};
use crate::record::Value;
use crate::time::Timestamp;

/// Milliseconds of the units that end a time stamp's text, by its length; years and months have none of their own.
const UNITS: [(usize, i64); 4] = [(10, 86_400_000), (13, 3_600_000), (16, 60_000), (19, 1_000)];

/// Where a decimal lies among the whole numbers.
enum Decimal {
    Whole(i64),
    /// Between this one and the next.
    After(i64),
    /// Beyond all of them.
    Above,
    Below,
}

/// A whole number column compared with a literal that need not be whole, nor a number.
pub(super) fn number(column: &'static str, operator: Operator, text: &str) -> Filter {
    let any = Filter::ne(column, Value::Null);
    let at_most = |value: i64| Filter::Is(column, Compare::Le, value.into());
    let more_than = |value: i64| Filter::Is(column, Compare::Gt, value.into());
    let Some(decimal) = decimal(text) else { return incomparable(operator) };
    match (operator, decimal) {
        (operator, Decimal::Whole(value)) => Filter::Is(column, compare(operator), value.into()),
        (Operator::Ne, _) => Filter::All,
        (Operator::Lt | Operator::Le, Decimal::After(floor)) => at_most(floor),
        (Operator::Gt | Operator::Ge, Decimal::After(floor)) => more_than(floor),
        (Operator::Lt | Operator::Le, Decimal::Above) | (Operator::Gt | Operator::Ge, Decimal::Below) => any,
        _ => nothing(),
    }
}

fn decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(whole) || !numeric(fraction) {
        return None;
    }
    let is_whole = fraction.bytes().all(|byte| byte == b'0');
    let sign = if negative { "-" } else { "" };
    Some(match format!("{sign}{whole}").parse::<i64>() {
        Ok(value) if is_whole => Decimal::Whole(value),
        Ok(value) if negative => value.checked_sub(1).map_or(Decimal::Below, Decimal::After),
        Ok(value) => Decimal::After(value),
        Err(_) if negative => Decimal::Below,
        Err(_) => Decimal::Above,
    })
}

/// A moment compared with a literal: RFC 3339, or as much of `2026-03-01 12:00:00` (UTC) as is said, which then means
/// its first moment.
pub(super) fn moment(column: &'static str, operator: Operator, text: &str) -> Filter {
    match Timestamp::read(text).map(|time| time.0).or_else(|| stamp(text).map(|(start, _)| start)) {
        Some(value) => Filter::Is(column, compare(operator), value.into()),
        None => incomparable(operator),
    }
}

/// A moment that is shown as `2026-03-01 12:00:00` compared as that text: what begins like the literal and goes on is
/// greater than it.
pub(super) fn shown_moment(column: &'static str, operator: Operator, text: &str) -> Filter {
    let Some((start, unit)) = stamp(text) else { return incomparable(operator) };
    let whole = text.trim().len() == 19;
    let from = |value: i64| Filter::Is(column, Compare::Ge, value.into());
    let before = |value: i64| Filter::Is(column, Compare::Lt, value.into());
    match operator {
        Operator::Ge => from(start),
        Operator::Gt if whole => from(start + unit),
        Operator::Gt => from(start),
        Operator::Lt => before(start),
        Operator::Le if whole => before(start + unit),
        Operator::Le => before(start),
        Operator::Eq | Operator::Cp if whole => from(start).and(before(start + unit)),
        Operator::Ne if whole => Filter::Not(Box::new(from(start).and(before(start + unit)))),
        Operator::Eq | Operator::Ne | Operator::Cp => incomparable(operator),
    }
}

/// The moments of which the text begins like a pattern that ends in `%`.
pub(super) fn begins(column: &'static str, prefix: &str) -> Option<Filter> {
    let (start, unit) = stamp(prefix)?;
    let after = Filter::Is(column, Compare::Ge, start.into());
    Some(after.and(Filter::Is(column, Compare::Lt, (start + unit).into())))
}

/// The first moment of a text that is the beginning of `2026-03-01 12:00:00`, and how many milliseconds begin so.
fn stamp(text: &str) -> Option<(i64, i64)> {
    const FIRST: &str = "0000-01-01T00:00:00Z";
    let text = text.trim();
    let rest = FIRST.get(text.len()..)?;
    let moment = |text: &str| Timestamp::read(&text.replace(' ', "T")).map(|time| time.0);
    let start = moment(&format!("{text}{rest}"))?;
    let next = |months: i64, shown: String| {
        let (year, month) = (shown.get(..4)?.parse::<i64>().ok()?, shown.get(5..7)?.parse::<i64>().ok()?);
        let month = month - 1 + months;
        moment(&format!("{:04}-{:02}-01T00:00:00Z", year + month / 12, month % 12 + 1))
    };
    let unit = match text.len() {
        4 => next(12, format!("{text}{rest}"))? - start,
        7 => next(1, format!("{text}{rest}"))? - start,
        length => UNITS.iter().find(|(known, _)| *known == length)?.1,
    };
    Some((start, unit))
}

pub(super) fn compare(operator: Operator) -> Compare {
    match operator {
        Operator::Eq => Compare::Eq,
        Operator::Ne => Compare::Ne,
        Operator::Gt => Compare::Gt,
        Operator::Ge => Compare::Ge,
        Operator::Lt => Compare::Lt,
        Operator::Le => Compare::Le,
        Operator::Cp => Compare::Like,
    }
}

/// A literal that cannot be a value of the field: nothing equals it, everything differs from it.
pub(super) fn incomparable(operator: Operator) -> Filter {
    if operator == Operator::Ne { Filter::All } else { nothing() }
}

pub(super) fn nothing() -> Filter {
    Filter::Or(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<(String, i64)> {
        stamp(text).map(|(start, unit)| (Timestamp(start).to_string(), unit / 1000))
    }

    #[test]
    fn a_stamp_may_be_said_in_part() {
        let day = 86_400;
        for (text, start, seconds) in [
            ("2024", "2024-01-01T00:00:00.000Z", 366 * day),
            ("2024-02", "2024-02-01T00:00:00.000Z", 29 * day),
            ("2023-12", "2023-12-01T00:00:00.000Z", 31 * day),
            ("2024-02-29", "2024-02-29T00:00:00.000Z", day),
            ("2024-02-29 23", "2024-02-29T23:00:00.000Z", 3600),
            ("2024-02-29T23:59", "2024-02-29T23:59:00.000Z", 60),
            (" 2024-02-29 23:59:58 ", "2024-02-29T23:59:58.000Z", 1),
        ] {
            assert_eq!(span(text), Some((start.to_owned(), seconds)), "{text}");
        }
        for text in [
            "",
            "20",
            "2024-",
            "2024-13",
            "2023-02-29",
            "2024-02-29 24",
            "now",
            "2024-02-29 23:59:58.5",
            "ü024",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_need_not_be_whole_nor_small() {
        let is = |compare, value: i64| Filter::Is("n", compare, value.into());
        let any = Filter::ne("n", Value::Null);
        for (operator, text, filter) in [
            (Operator::Eq, "5", is(Compare::Eq, 5)),
            (Operator::Eq, "05.0", is(Compare::Eq, 5)),
            (Operator::Gt, "-1.5", is(Compare::Gt, -2)),
            (Operator::Ge, "1.5", is(Compare::Gt, 1)),
            (Operator::Lt, "1.5", is(Compare::Le, 1)),
            (Operator::Le, "-0.5", is(Compare::Le, -1)),
            (Operator::Eq, "1.5", nothing()),
            (Operator::Ne, "1.5", Filter::All),
            (Operator::Lt, "99999999999999999999", any.clone()),
            (Operator::Gt, "99999999999999999999", nothing()),
            (Operator::Gt, "-99999999999999999999", any),
            (Operator::Lt, "web", nothing()),
            (Operator::Ne, "web", Filter::All),
            (Operator::Eq, "1.", nothing()),
            (Operator::Eq, "", nothing()),
        ] {
            assert_eq!(number("n", operator, text), filter, "{operator:?} {text}");
        }
    }

    #[test]
    fn a_shown_moment_compares_as_its_text() {
        let is = |compare, value: i64| Filter::Is("t", compare, value.into());
        let day = 1_704_067_200_000;
        let second = || is(Compare::Ge, day).and(is(Compare::Lt, day + 1000));
        for (operator, text, filter) in [
            (Operator::Gt, "2024-01-01", is(Compare::Ge, day)),
            (Operator::Le, "2024-01-01", is(Compare::Lt, day)),
            (Operator::Gt, "2024-01-01 00:00:00", is(Compare::Ge, day + 1000)),
            (Operator::Le, "2024-01-01 00:00:00", is(Compare::Lt, day + 1000)),
            (Operator::Eq, "2024-01-01 00:00:00", second()),
            (Operator::Ne, "2024-01-01 00:00:00", Filter::Not(Box::new(second()))),
            (Operator::Eq, "2024-01-01", nothing()),
            (Operator::Ne, "2024-01-01", Filter::All),
        ] {
            assert_eq!(shown_moment("t", operator, text), filter, "{operator:?} {text}");
        }
    }
}
