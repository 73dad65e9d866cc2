//! What is wrong with a configuration, and where.

use std::ops::Range;
use std::path::Path;

/// A configuration that cannot be used. Its text may have several lines: the place, and the line it is in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConfigError {
    text: String,
}

impl ConfigError {
    /// Not about a place in a file.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// About a place in a file: `hostler.toml:3:1: unknown field …`, then the line with the place marked.
    pub(super) fn at(path: &Path, source: &str, error: &toml::de::Error) -> Self {
        let message = error.message();
        let Some(span) = error.span() else {
            return Self::new(format!("{}: {message}", path.display()));
        };
        Self::at_place(path, source, span, message)
    }

    /// The same, about these bytes of the file.
    pub(super) fn at_place(path: &Path, source: &str, span: Range<usize>, message: &str) -> Self {
        let start = floor(source, span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = source[line_start..].lines().next().unwrap_or_default();
        let shown = without_password(line);
        let number = source[..line_start].matches('\n').count() + 1;
        let before = source[line_start..start].chars().count();
        let end = floor(source, span.end).min(line_start + line.len()).max(start);
        let marks = "^".repeat(source[start..end].chars().count().max(1));
        let gutter = " ".repeat(number.to_string().len());
        // Tabs are kept before the mark, so that it stands under its place whatever their width.
        let indent: String = line.chars().take(before).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let place = format!("{}:{number}:{}", path.display(), before + 1);
        Self::new(format!("{place}: {message}\n{gutter} |\n{number} | {shown}\n{gutter} | {indent}{marks}"))
    }
}

/// The line with every password in an address covered, character by character.
fn without_password(line: &str) -> String {
    let Some((before, address)) = line.split_once("://") else { return line.to_owned() };
    let Some((user, host)) = address.split_once('@') else { return line.to_owned() };
    let Some((name, password)) = user.split_once(':') else { return line.to_owned() };
    format!("{before}://{name}:{}@{host}", "*".repeat(password.chars().count()))
}

/// The nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}
