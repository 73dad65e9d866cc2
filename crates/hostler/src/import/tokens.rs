//! vmpooler's tokens, as its export writes them: one map from `vmpooler__token__…` to whose each is.

use serde::Deserialize;
use std::collections::BTreeMap;

/// What keys of tokens begin with.
const PREFIX: &str = "vmpooler__token__";

/// A token and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OldToken {
    pub(crate) secret: String,
    pub(crate) user: String,
    /// When it was made, in vmpooler's words.
    pub(crate) created: String,
}

#[derive(Deserialize)]
struct Told {
    user: Option<String>,
    created: Option<String>,
}

/// What is in an export: tokens, and how many entries are none or name nobody.
///
/// # Errors
/// It is no JSON of this form; with line and column, and nothing of what stands there.
pub(crate) fn tokens(text: &str) -> Result<(Vec<OldToken>, usize), String> {
    let all: BTreeMap<String, Told> = serde_json::from_str(text).map_err(|error| {
        format!("{}:{}: this is no export of vmpooler's tokens", error.line(), error.column())
    })?;
    let count = all.len();
    let known = all.into_iter().filter_map(|(key, told)| {
        let secret = key.strip_prefix(PREFIX)?.to_owned();
        let user = told.user.filter(|user| !user.is_empty())?;
        Some(OldToken { secret, user, created: told.created.unwrap_or_default() })
    });
    let known: Vec<OldToken> = known.collect();
    let odd = count - known.len();
    Ok((known, odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_what_else_is_there_and_errors_show_no_secret() {
        let text = r#"{
            "vmpooler__token__utpg2i2xswor6h8ttjhu3d47z53yy47y":
                {"user": "jdoe", "created": "2015-04-28 19:17:47 -0700", "last": "2015-11-04 12:28:37 -0700"},
            "vmpooler__token__a9znth9dn01t416hrguu56ze37t790bl": {"created": "2015-04-28 19:17:47 -0700"},
            "vmpooler__running__debian": {"user": "x"}
        }"#;
        let (known, odd) = tokens(text).unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].user.as_str(), known[0].secret.len(), odd), ("jdoe", 32, 2));
        let error = tokens("{\"vmpooler__token__secretsecret\": [\n1]}").err().unwrap();
        assert!(error.starts_with("2:1: ") && !error.contains("secretsecret"), "{error}");
    }
}
