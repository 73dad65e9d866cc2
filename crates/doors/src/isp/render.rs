//! What the answers of the services have in common.

use crate::isp::refused::Answer;
use crate::state::DoorState;
use axum::Json;
use hostler_core::access::Role;
use hostler_core::core::Page;
use hostler_core::time::Timestamp;
use serde_json::{Value, json};

/// A list: its items, how many there are on all pages, and the number of the last change of anything.
pub(crate) async fn list<T>(
    state: &DoorState,
    page: Page<T>,
    item: impl Fn(T) -> Value,
) -> Answer<Json<Value>> {
    let (_, last_notify) = state.core().event_bounds().await?;
    let size = page.total.unwrap_or(page.items.len() as u64);
    let list: Vec<Value> = page.items.into_iter().map(item).collect();
    Ok(Json(json!({ "last_notify": last_notify, "list": list, "size": size })))
}

/// The word of a role, as both products have it.
pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Administrator => "@admin",
        Role::ReadOnly => "@admin.readonly",
        Role::AdvancedUser => "@advanced_user",
        Role::User => "@user",
    }
}

/// A moment as both products show it: `2026-03-01 12:00:00`, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    at.to_string().chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// A moment from that text; none when it is something else.
pub(crate) fn read_moment(text: &str) -> Option<Timestamp> {
    let at = Timestamp::read(&format!("{}Z", text.replacen(' ', "T", 1)))?;
    (moment(at) == text).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_and_read_without_a_zone() {
        assert_eq!(moment(Timestamp(1_772_366_400_250)), "2026-03-01 12:00:00");
        assert_eq!(read_moment("2026-03-01 12:00:00"), Some(Timestamp(1_772_366_400_000)));
        for wrong in [
            "",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01 12:00:00Z",
            "2026-3-1 12:00:00",
            "2026-02-30 12:00:00",
            " 2026-03-01 12:00:00",
            "2026-03-01 12:00:00.5",
            "2026-03-01 12:00:60",
            "tomorrow",
        ] {
            assert_eq!(read_moment(wrong), None, "{wrong}");
        }
    }
}
