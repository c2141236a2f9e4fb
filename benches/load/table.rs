//! The rows of the table, and how they are shown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use crate::cpu::Cpu;
use crate::measurement::Measurement;
use crate::spread::Spread;

/// What a measured ratio or size should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// There is no goal: it is told because it explains another row.
    None,
}

/// A row.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub what: String,
    pub goal: Goal,
    pub unit: &'static str,
    pub measured: Option<Spread>,
    pub met: Option<bool>,
    /// The absolute figures, or why there are none.
    pub detail: String,
}

impl Row {
    pub fn new(name: &'static str, what: impl Into<String>, goal: Goal, measured: Spread) -> Self {
        let met = match goal {
            Goal::AtLeast(least) => Some(measured.median >= least),
            Goal::AtMost(most) => Some(measured.median <= most),
            Goal::None => None,
        };
        let detail = String::new();
        Self { name, what: what.into(), goal, unit: "", measured: Some(measured), met, detail }
    }

    /// A row that can't be measured (yet).
    pub fn missing(name: &'static str, what: impl Into<String>, goal: Goal, why: &str) -> Self {
        let what = what.into();
        Self { name, what, goal, unit: "", measured: None, met: None, detail: why.to_owned() }
    }

    pub fn unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

/// The table, for a person.
pub fn show(rows: &[Row], colour: bool) -> String {
    let cells: Vec<[String; 5]> = rows.iter().map(cells).collect();
    let head = ["row", "what", "goal", "measured", ""].map(str::to_owned);
    let mut widths = head.each_ref().map(|cell| cell.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &[String; 5], detail: &str, met: Option<bool>| {
        let paint = match met {
            Some(true) if colour => ("\x1b[32m", "\x1b[0m"),
            Some(false) if colour => ("\x1b[31m", "\x1b[0m"),
            _ => ("", ""),
        };
        let [name, what, goal, measured, verdict] = cells;
        let [w_name, w_what, w_goal, w_measured, w_verdict] = widths;
        let _ = writeln!(
            text,
            "{name:<w_name$}  {what:<w_what$}  {goal:>w_goal$}  {measured:<w_measured$}  {}{verdict:<w_verdict$}{}  {detail}",
            paint.0, paint.1
        );
    };
    line(&head, "", None);
    for (cells, row) in cells.iter().zip(rows) {
        line(cells, &row.detail, row.met);
    }
    text
}

fn cells(row: &Row) -> [String; 5] {
    let goal = match row.goal {
        Goal::AtLeast(least) => format!("≥ {}", figure(least)),
        Goal::AtMost(most) => format!("≤ {}", figure(most)),
        Goal::None => String::new(),
    };
    let unit = if row.unit.is_empty() { String::new() } else { format!(" {}", row.unit) };
    let measured = row.measured.map_or_else(
        || "–".to_owned(),
        |m| format!("{}{unit} ({} to {})", figure(m.median), figure(m.least), figure(m.most)),
    );
    let verdict = match row.met {
        Some(true) => "met",
        Some(false) => "not met",
        None => "",
    };
    [row.name.to_owned(), row.what.clone(), goal, measured, verdict.to_owned()]
}

fn figure(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Where the processors' time went, a request, for a person.
pub fn show_cpu(measurements: &[Measurement]) -> String {
    let mut names: Vec<_> = measurements.iter().filter(|m| m.cpu.is_some()).map(|m| &m.who).collect();
    let mut seen = BTreeSet::new();
    names.retain(|name| (name.ends_with(" 256") || name.starts_with("Batch")) && seen.insert(*name));
    let mut text = String::from("processor time a request, µs   server  PostgreSQL  generator\n");
    for name in names {
        let of = |part: fn(&Cpu) -> f64| {
            let known = measurements.iter().filter(|m| &m.who == name);
            Spread::of(known.filter_map(|m| m.cpu.as_ref()).map(part)).median
        };
        let (server, postgresql, generator) = (of(|c| c.server), of(|c| c.postgresql), of(|c| c.generator));
        let _ = writeln!(text, "{name:<29}  {server:>7.1}  {postgresql:>10.1}  {generator:>9.1}");
    }
    text
}
