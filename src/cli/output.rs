//! What a command prints: a table for a person, JSON for a program.
//!
//! A command makes a value that can be serialised, and says how a person reads it ([`Show`]). The JSON is part of what
//! scripts rely on: fields are added, never renamed, and what isn't known is `null`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Row, Table, presets};
use prost_types::Timestamp;
use serde::Serialize;

/// How a command prints what it found or did.
#[derive(clap::Args)]
pub(super) struct Output {
    /// For a person or for a program
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// A value that a command prints.
pub(super) trait Show: Serialize {
    /// As a person reads it, with a line's end.
    fn text(&self) -> String;
}

impl Output {
    /// Prints to standard output.
    pub(super) fn show(&self, value: &impl Show) {
        print(&match self.output {
            Format::Table => value.text(),
            Format::Json => {
                let mut text =
                    serde_json::to_string_pretty(value).expect("texts, numbers and lists of these");
                text.push('\n');
                text
            }
        });
    }
}

/// Rows under a heading. On a terminal they have lines around them and fit its width; elsewhere they are lines of
/// words, for `grep` and `awk`.
pub(super) fn columns<R: Into<Row>>(heading: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let terminal = io::stdout().is_terminal();
    let mut table = Table::new();
    table.set_header(heading.iter().map(|word| word.to_uppercase()).collect::<Vec<_>>());
    table.add_rows(rows);
    table.load_style(if terminal { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    if terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
    }
    finished(&table)
}

/// Names and values, one pair a line.
pub(super) fn pairs<const N: usize>(pairs: [(&str, Cell); N]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(pairs.map(|(name, value)| vec![Cell::new(name), value]));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    finished(&table)
}

fn finished(table: &Table) -> String {
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

/// A text; nothing when it isn't known.
pub(super) fn cell(text: impl Into<Option<String>>) -> Cell {
    // Neither another program's server nor a strange device moves the cursor here.
    Cell::new_owned(text.into().unwrap_or_default().replace(char::is_control, "\u{fffd}"))
}

/// A text that means something good, something to look at, or something bad.
pub(super) fn coloured(text: String, colour: Color) -> Cell {
    // https://no-color.org; that standard output is a terminal is for the table to see.
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { cell(text).fg(colour) } else { cell(text) }
}

/// A token's state, and why it is so.
pub(super) fn state(state: &str, reason: Option<&str>) -> Cell {
    let colour = match state {
        "active" => Color::Green,
        "disabled" | "user-inactive" => Color::Yellow,
        _ => Color::Red,
    };
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    coloured(format!("{state}{reason}"), colour)
}

/// A time in UTC, as a person reads it.
pub(super) fn time(time: Option<&str>) -> Cell {
    cell(time.map(|time| {
        // 2030-01-02T03:04:05.678Z
        let seconds = time.get(..19).unwrap_or(time);
        seconds.replace('T', " ") + "Z"
    }))
}

/// A time in UTC as RFC 3339 writes it, with microseconds, as the database keeps it.
pub(super) fn timestamp(time: Option<Timestamp>) -> Option<String> {
    let time = time?;
    let since = Duration::new(u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?);
    Some(humantime::format_rfc3339_micros(SystemTime::UNIX_EPOCH.checked_add(since)?).to_string())
}

/// An enumeration's value as people write it: `TOKEN_STATE_USER_INACTIVE` is `user-inactive`.
pub(super) fn word(value: &str, prefix: &str) -> String {
    value.strip_prefix(prefix).unwrap_or(value).to_lowercase().replace('_', "-")
}

/// How many were revoked.
#[derive(Serialize)]
pub(super) struct Revoked {
    pub(super) revoked_count: i64,
}

impl Show for Revoked {
    fn text(&self) -> String {
        match self.revoked_count {
            0 => "there was nothing to revoke\n".to_owned(),
            count => format!("revoked: {count}\n"),
        }
    }
}

/// To standard output; a reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
