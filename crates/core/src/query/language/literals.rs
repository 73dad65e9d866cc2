//! What a literal means where a field holds numbers or moments: the condition that compares the column with it.

use super::Operator;
use crate::query::{Compare, Filter};
use crate::record::Value;
use crate::time::Timestamp;

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
    shifted(column, operator, text, 0)
}

/// The same for a column that is shown with so much added.
pub(super) fn shifted(column: &'static str, operator: Operator, text: &str, by: i64) -> Filter {
    let any = Filter::ne(column, Value::Null);
    let at_most = |value: i64| Filter::Is(column, Compare::Le, value.into());
    let more_than = |value: i64| Filter::Is(column, Compare::Gt, value.into());
    let decimal = decimal(text).map(|decimal| match decimal {
        Decimal::Whole(value) => value.checked_sub(by).map_or(Decimal::Below, Decimal::Whole),
        Decimal::After(value) => value.checked_sub(by).map_or(Decimal::Below, Decimal::After),
        beyond => beyond,
    });
    let Some(decimal) = decimal else { return incomparable(operator) };
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
    match Timestamp::read(text).or_else(|| beginning(text.trim())) {
        Some(value) => Filter::Is(column, compare(operator), value.0.into()),
        None => incomparable(operator),
    }
}

fn beginning(text: &str) -> Option<Timestamp> {
    let rest = "0000-01-01T00:00:00Z".get(text.len()..)?;
    let whole_units = [4, 7, 10, 13, 16, 19].contains(&text.len());
    whole_units.then(|| Timestamp::read(&format!("{text}{rest}").replace(' ', "T"))).flatten()
}

/// A moment that is shown as `2026-03-01 12:00:00` compared as that text. Texts follow each other as moments do, so
/// whatever the literal is, there is a first second of which the text is not less.
pub(super) fn shown_moment(column: &'static str, operator: Operator, text: &str) -> Filter {
    let (first, exact) = first_second(text);
    let past = first + i64::from(exact);
    match operator {
        Operator::Ge => from(column, first),
        Operator::Gt => from(column, past),
        Operator::Lt => before(column, first),
        Operator::Le => before(column, past),
        Operator::Eq | Operator::Cp if exact => from(column, first).and(before(column, past)),
        Operator::Ne if exact => Filter::Not(Box::new(from(column, first).and(before(column, past)))),
        Operator::Eq | Operator::Ne | Operator::Cp => incomparable(operator),
    }
}

/// The moments of which the text begins so.
pub(super) fn begins(column: &'static str, prefix: &str) -> Filter {
    let (first, _) = first_second(prefix);
    let (past, _) = first_second(&format!("{prefix}{}", char::MAX));
    from(column, first).and(before(column, past))
}

fn from(column: &'static str, second: i64) -> Filter {
    Filter::Is(column, Compare::Ge, second.saturating_mul(1000).into())
}

fn before(column: &'static str, second: i64) -> Filter {
    Filter::Is(column, Compare::Lt, second.saturating_mul(1000).into())
}

/// The first second of which the text is not less than this, and whether it is the same. Only the years from 0 to
/// 9999 are written with four digits; what is beyond comes after all of them.
fn first_second(text: &str) -> (i64, bool) {
    const YEARS: (i64, i64) = (-62_167_219_200, 253_402_300_800);
    let (mut first, mut end) = YEARS;
    while first < end {
        let middle = first + (end - first) / 2;
        if shown(middle).as_str() < text { first = middle + 1 } else { end = middle }
    }
    (first, first < YEARS.1 && shown(first) == text)
}

/// A second as dialects show it.
fn shown(second: i64) -> String {
    let text = Timestamp(second.saturating_mul(1000)).to_string();
    text.chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
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

    #[test]
    fn a_moment_may_be_said_in_part() {
        for (text, moment) in [
            ("2024", "2024-01-01T00:00:00.000Z"),
            ("2024-02", "2024-02-01T00:00:00.000Z"),
            ("2024-02-29", "2024-02-29T00:00:00.000Z"),
            ("2024-02-29 23", "2024-02-29T23:00:00.000Z"),
            ("2024-02-29T23:59", "2024-02-29T23:59:00.000Z"),
            ("2024-02-29 23:59:58", "2024-02-29T23:59:58.000Z"),
        ] {
            assert_eq!(beginning(text).map(|time| time.to_string()).as_deref(), Some(moment), "{text}");
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
            assert_eq!(beginning(text), None, "{text}");
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
            (Operator::Lt, "2023-12-32", is(Compare::Lt, day)),
            (Operator::Ge, "2023-9", is(Compare::Ge, day)),
            (Operator::Lt, "yesterday", is(Compare::Lt, 253_402_300_800_000)),
            (Operator::Gt, "", is(Compare::Ge, -62_167_219_200_000)),
        ] {
            assert_eq!(shown_moment("t", operator, text), filter, "{operator:?} {text}");
        }
        let spring = is(Compare::Ge, 1_706_745_600_000).and(is(Compare::Lt, 1_709_251_200_000));
        assert_eq!(begins("t", "2024-02"), spring);
        assert_eq!(
            begins("t", "2024-13"),
            is(Compare::Ge, 1_735_689_600_000).and(is(Compare::Lt, 1_735_689_600_000))
        );
    }
}
