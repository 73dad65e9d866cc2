//! What is set for this door.

use std::time::Duration;

/// What is set for vmpooler's door, from `[vmpooler]`. What holds for pools whoever asks is in
/// [`PoolRules`](hostler_core::pools::PoolRules).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether there are tokens and logins; without, whoever reaches the door is nobody in particular.
    pub auth: bool,
    /// Whether sizes and templates of pools may be changed here.
    pub experimental_features: bool,
    /// What the dashboard calls itself.
    pub site_name: String,
    /// Domain of pools that have none of their own.
    pub domain: Option<String>,
    /// Whether tags need a token, too.
    pub strict_put: bool,
    /// How long a machine that is gone can be looked up.
    pub keep_destroyed: Duration,
    /// What names and the label of series at `/prometheus` begin with.
    pub prometheus_prefix: String,
    /// Whether clients are limited to some requests a minute.
    pub rate_limit: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: true,
            experimental_features: false,
            site_name: "vmpooler".to_owned(),
            domain: None,
            strict_put: false,
            keep_destroyed: Duration::from_secs(168 * 3600),
            prometheus_prefix: "vmpooler".to_owned(),
            rate_limit: false,
        }
    }
}
