//! What is printed: figures, and the budgets of some of them.

use anyhow::Result;
use std::fmt;
use std::time::Duration;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    what: String,
    measured: String,
    budget: String,
    verdict: &'static str,
}

impl Figure {
    /// A figure without a budget.
    pub(crate) fn new(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), budget: String::new(), verdict: "" }
    }

    /// Its budget in words, and whether it was kept.
    pub(crate) fn budget(mut self, budget: impl Into<String>, kept: bool) -> Self {
        self.budget = budget.into();
        self.verdict = if kept { "ok" } else { "missed" };
        self
    }
}

enum Line {
    Heading(String),
    Figure(Figure),
}

/// All figures, under headings.
#[derive(Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
    broken: bool,
}

impl Table {
    /// Begins a part.
    pub(crate) fn heading(&mut self, text: &str) {
        self.lines.push(Line::Heading(text.to_owned()));
    }

    /// Adds figures.
    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        self.lines.extend(figures.into_iter().map(Line::Figure));
    }

    /// Adds figures, or why there are none: the rest is still worth measuring.
    pub(crate) fn add_or(&mut self, what: &str, figures: Result<Vec<Figure>>) {
        match figures {
            Ok(figures) => self.add(figures),
            Err(error) => {
                self.broken = true;
                self.add(vec![Figure::new(format!("FAILED: {what}"), format!("{error:#}"))]);
            }
        }
    }

    /// Whether anything could not be measured.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = || {
            self.lines.iter().filter_map(|line| match line {
                Line::Figure(figure) => Some(figure),
                Line::Heading(_) => None,
            })
        };
        // A long text, such as an error, must not push the other columns away.
        let width = |text: fn(&Figure) -> &str| {
            figures()
                .map(|figure| text(figure).chars().count())
                .filter(|width| *width <= 64)
                .max()
                .unwrap_or(0)
        };
        let (what, measured) = (width(|figure| &figure.what), width(|figure| &figure.measured));
        let budget = width(|figure| &figure.budget);
        for line in &self.lines {
            match line {
                Line::Heading(text) => writeln!(f, "\n{text}")?,
                Line::Figure(figure) => {
                    let Figure { what: name, measured: value, budget: goal, verdict } = figure;
                    let text = format!("  {name:<what$}  {value:<measured$}  {goal:<budget$}  {verdict}");
                    writeln!(f, "{}", text.trim_end())?;
                }
            }
        }
        Ok(())
    }
}

/// Several runs of one thing.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Duration>);

impl Runs {
    /// Adds a run.
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The time that `part` (0 to 1) of the runs did not exceed; zero without any run.
    pub(crate) fn at(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() as f64 * part) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// The middle one.
    pub(crate) fn median(&self) -> Duration {
        self.at(0.5)
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, least, most) = (ms(self.median()), ms(self.at(0.0)), ms(self.at(1.0)));
        write!(f, "{median} (of {}: {least} to {most})", self.0.len())
    }
}

/// A time for people.
pub(crate) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}
