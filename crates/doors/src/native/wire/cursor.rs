//! Cursors: where a page ended, as opaque text.
//!
//! Base64url over a small JSON array: the order it belongs to, the ordering values, the key. It is not signed: whoever
//! makes one up only chooses where their own page begins. It is checked against the order that is asked for, so that
//! the store never compares a column with a value of another type.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hostler_core::query::Cursor;
use hostler_core::record::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
struct Wire(String, Vec<WireValue>, Uuid);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireValue {
    Null,
    Int(i64),
    Text(String),
    Id(Uuid),
}

/// The text for a cursor of a list in this order (`name`, `-created_at`, `by name desc, id`).
pub(super) fn encode(order: &str, cursor: &Cursor) -> String {
    let value = |value: &Value| match value {
        Value::Null => WireValue::Null,
        Value::Int(value) => WireValue::Int(*value),
        Value::Text(value) => WireValue::Text(value.clone()),
        Value::Id(value) => WireValue::Id(*value),
    };
    let values = cursor.values.iter().map(value).collect();
    let json = serde_json::to_vec(&Wire(order.to_owned(), values, cursor.id)).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

/// The cursor of a text, if it is one of a list in this order, whose values are of these types.
pub(super) fn decode(text: &str, order: &str, admitted: impl FnOnce(&[Value]) -> bool) -> Option<Cursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let Wire(of, values, id) = serde_json::from_slice(&bytes).ok()?;
    let value = |value| match value {
        WireValue::Null => Value::Null,
        WireValue::Int(value) => Value::Int(value),
        WireValue::Text(value) => Value::Text(value),
        WireValue::Id(value) => Value::Id(value),
    };
    let values: Vec<Value> = values.into_iter().map(value).collect();
    (of == order && admitted(&values)).then_some(Cursor { values, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cursors_come_back_as_they_were() {
        let id = Uuid::from_u128(5);
        let values = vec![Value::Text("wéb-1".into()), Value::Int(-3), Value::Id(id), Value::Null];
        let cursor = Cursor { values, id };
        let text = encode("-x", &cursor);
        assert_eq!(decode(&text, "-x", |values| values == cursor.values), Some(cursor.clone()));
        assert_eq!(decode(&text, "x", |_| true), None);
        assert_eq!(decode(&text, "-x", |_| false), None);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(text in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(decode(&text, "name", |_| true), None);
            prop_assert_eq!(decode(&URL_SAFE_NO_PAD.encode(bytes), "name", |_| true), None);
        }
    }
}
