//! What became of a file: for whoever moves.

use serde::Serialize;
use std::fmt;

/// What became of each part. No value of what is not taken over is in it, since that may be a password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// What is taken over, and as what.
    pub(crate) taken: Vec<Line>,
    /// What has no counterpart, and why.
    pub(crate) left: Vec<Line>,
    /// What whoever moves has to see to.
    pub(crate) to_do: Vec<Line>,
    /// What is another way here without being asked.
    pub(crate) different: Vec<Line>,
}

/// One thing: its name in the old file, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) text: String,
}

impl Line {
    fn new(key: &str, text: impl Into<String>) -> Self {
        Self { key: shown(key), text: shown(&text.into()) }
    }
}

/// Without what moves a terminal's cursor.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

impl Report {
    pub(crate) fn taken(&mut self, key: &str, text: impl Into<String>) {
        self.taken.push(Line::new(key, text));
    }

    pub(crate) fn left(&mut self, key: &str, why: impl Into<String>) {
        self.left.push(Line::new(key, why));
    }

    pub(crate) fn due(&mut self, key: &str, what: impl Into<String>) {
        self.to_do.push(Line::new(key, what));
    }

    pub(crate) fn different(&mut self, key: &str, how: impl Into<String>) {
        self.different.push(Line::new(key, how));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("taken over", &self.taken),
            ("without a counterpart", &self.left),
            ("for you to see to", &self.to_do),
            ("different here", &self.different),
        ];
        let mut first = true;
        for (title, lines) in parts.into_iter().filter(|(_, lines)| !lines.is_empty()) {
            if !first {
                writeln!(f)?;
            }
            first = false;
            writeln!(f, "{title}:")?;
            let width = lines.iter().map(|line| line.key.chars().count()).max().unwrap_or(0).min(40);
            for Line { key, text } in lines {
                writeln!(f, "  {key:<width$}  {text}")?;
            }
        }
        Ok(())
    }
}
