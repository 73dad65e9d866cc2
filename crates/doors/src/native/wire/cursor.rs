//! Cursors: where a page ended, as opaque text.
//!
//! Base64url over a small JSON array: the order it belongs to, the ordering value, the key. It is not signed: whoever
//! makes one up only chooses where their own page begins. It is checked against the order that is asked for, so that
//! the store never compares a column with a value of another type.

use super::list::Column;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hostler_core::query::Cursor;
use hostler_core::record::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
struct Wire(String, WireValue, Uuid);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireValue {
    Null,
    Int(i64),
    Text(String),
    Id(Uuid),
}

/// The text for a cursor of a list in this order (`name`, `-created_at`).
pub(super) fn encode(order: &str, cursor: &Cursor) -> String {
    let value = match &cursor.value {
        Value::Null => WireValue::Null,
        Value::Int(value) => WireValue::Int(*value),
        Value::Text(value) => WireValue::Text(value.clone()),
        Value::Id(value) => WireValue::Id(*value),
    };
    let json = serde_json::to_vec(&Wire(order.to_owned(), value, cursor.id)).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

/// The cursor of a text, if it is one of a list in this order.
pub(super) fn decode(text: &str, order: &str, column: &Column) -> Option<Cursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let Wire(of, value, id) = serde_json::from_slice(&bytes).ok()?;
    let value = match (value, column) {
        (WireValue::Null, _) => Value::Null,
        (WireValue::Int(value), Column::Int(_)) => Value::Int(value),
        (WireValue::Text(value), Column::Text(_)) => Value::Text(value),
        (WireValue::Id(value), Column::Id(_)) => Value::Id(value),
        _ => return None,
    };
    (of == order).then_some(Cursor { value, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: Column = Column::Text("name");

    #[test]
    fn cursors_come_back_as_they_were() {
        let id = Uuid::from_u128(5);
        for (value, column) in [
            (Value::Text("wéb-1".into()), NAME),
            (Value::Int(-3), Column::Int("created_at")),
            (Value::Id(id), Column::Id("id")),
            (Value::Null, NAME),
        ] {
            let cursor = Cursor { value, id };
            assert_eq!(decode(&encode("-x", &cursor), "-x", &column), Some(cursor));
        }
    }

    #[test]
    fn a_cursor_of_another_order_or_type_is_refused() {
        let cursor = Cursor { value: Value::Int(1), id: Uuid::nil() };
        assert_eq!(decode(&encode("name", &cursor), "name", &NAME), None);
        let cursor = Cursor { value: Value::Text("a".into()), id: Uuid::nil() };
        assert_eq!(decode(&encode("name", &cursor), "-name", &NAME), None);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_panic(text in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(decode(&text, "name", &NAME), None);
            prop_assert_eq!(decode(&URL_SAFE_NO_PAD.encode(bytes), "name", &NAME), None);
        }
    }
}
