//! What an administrator decides about this door.

/// Who knows the people that ask for tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthStore {
    /// hostler's accounts, and the directories that it follows.
    #[default]
    Accounts,
    /// Nobody: there are no tokens, and none is needed.
    None,
}

/// What an administrator decides about this door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who knows the people that ask for tokens.
    pub auth: AuthStore,
    /// Whether pools may be changed here.
    pub experimental_features: bool,
    /// Whether even tags need a token.
    pub strict_put: bool,
    /// What the dashboard calls this installation.
    pub site_name: String,
    /// Domain of machines whose pool has none.
    pub domain: Option<String>,
    /// What the names of metrics begin with.
    pub prometheus_prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: AuthStore::default(),
            experimental_features: false,
            strict_put: false,
            site_name: "hostler".to_owned(),
            domain: None,
            prometheus_prefix: "vmpooler".to_owned(),
        }
    }
}
