//! What an import did: counted by kind of row, and every row that was not taken listed with its reason.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::batch::Fate;
use super::error::ImportError;

/// How many of the listed rows are shown on a screen.
const SHOWN: usize = 20;

/// What became of the rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows read on the other side.
    pub read: u64,
    /// Of these, new here.
    pub new: u64,
    /// Of these, here before, and now following the other side.
    pub changed: u64,
    /// Of these, here before and as before.
    pub unchanged: u64,
    /// Of these, kept as the registry has them. Listed.
    pub kept: u64,
    /// Of these, not taken. Listed.
    pub refused: u64,
    /// Brought by an earlier import and gone there since: ended here, but for what the registry has gone on with.
    pub ended: u64,
    /// New ones that came as ended: their user is suspended, or the registry has ended them since.
    pub new_but_ended: u64,
    /// New ones whose lifetime is over.
    pub new_but_expired: u64,
    /// New ones whose lifetime is counted from now, since it would have been over at once.
    pub lifetime_from_now: u64,
}

impl Counts {
    /// How many rows were written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.new + self.changed + self.ended
    }
}

/// A row that was not taken, or not as it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The kind of row: `users`, `sessions`, `one_time_tokens` or `auth_tokens`.
    pub kind: &'static str,
    /// The row's primary key on the other side.
    pub row: String,
    /// The user's key on the other side.
    pub user: Option<String>,
    /// `refused` or `kept`.
    pub outcome: &'static str,
    /// Why.
    pub reason: String,
}

/// What an import did.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Whether all was undone in the end.
    pub dry_run: bool,
    /// Whether the import came to its end.
    pub finished: bool,
    /// Why it didn't.
    pub error: Option<String>,
    /// Users.
    pub users: Counts,
    /// Sessions. Of these, rows of one session that aren't its newest are refused.
    pub sessions: Counts,
    /// One-time tokens.
    pub one_time_tokens: Counts,
    /// API keys.
    pub auth_tokens: Counts,
    /// What is odd about the other side's tables.
    pub notes: Vec<String>,
    /// The first of the listed rows.
    #[serde(skip)]
    shown: Vec<Listed>,
    #[serde(skip)]
    listed: u64,
    #[serde(skip)]
    file: Option<ReportFile>,
}

/// The complete report as JSON; rows are written as they come, so that any number of them takes no memory.
#[derive(Debug)]
struct ReportFile {
    path: PathBuf,
    to: BufWriter<File>,
}

impl ReportFile {
    fn create(path: &Path) -> Result<Self, ImportError> {
        let open = || {
            let mut to = BufWriter::new(File::create(path)?);
            to.write_all(b"{\"listed\":[")?;
            Ok(to)
        };
        Ok(Self { path: path.to_owned(), to: open().map_err(|error| failed(path, error))? })
    }
}

/// Which kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Users.
    Users,
    /// Sessions.
    Sessions,
    /// One-time tokens.
    Tokens,
    /// API keys.
    Keys,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Sessions => "sessions",
            Self::Tokens => "one_time_tokens",
            Self::Keys => "auth_tokens",
        }
    }
}

impl Report {
    /// An empty report, which also goes to a file if one is named.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn new(dry_run: bool, path: Option<&Path>) -> Result<Self, ImportError> {
        let file = path.map(ReportFile::create).transpose()?;
        Ok(Self { dry_run, file, ..Self::default() })
    }

    /// The counts of a kind.
    pub fn counts(&mut self, kind: Kind) -> &mut Counts {
        match kind {
            Kind::Users => &mut self.users,
            Kind::Sessions => &mut self.sessions,
            Kind::Tokens => &mut self.one_time_tokens,
            Kind::Keys => &mut self.auth_tokens,
        }
    }

    /// Counts what became of a row, and lists it if it wasn't taken as it is.
    ///
    /// # Errors
    /// The report's file can't be written.
    pub fn note(&mut self, kind: Kind, row: &str, user: &str, fate: Fate) -> Result<(), ImportError> {
        let counts = self.counts(kind);
        counts.read += 1;
        let reason = match fate {
            Fate::New { ended, from_now, expired } => {
                counts.new += 1;
                counts.new_but_ended += u64::from(ended);
                counts.new_but_expired += u64::from(expired && !ended);
                counts.lifetime_from_now += u64::from(from_now && !ended);
                return Ok(());
            }
            Fate::Changed => {
                counts.changed += 1;
                return Ok(());
            }
            Fate::Same => {
                counts.unchanged += 1;
                return Ok(());
            }
            Fate::Kept(kept) => kept.reason(),
            Fate::OtherKeyIsHere => "the user has another key here",
            Fate::ValueIsHere => "the same value of this user and purpose is here already",
        };
        counts.kept += 1;
        self.list(kind, row, Some(user), "kept", reason)
    }

    /// Counts and lists a row that can't be taken.
    ///
    /// # Errors
    /// The report's file can't be written.
    pub fn refuse(
        &mut self,
        kind: Kind,
        row: &str,
        user: Option<&str>,
        reason: &str,
    ) -> Result<(), ImportError> {
        let counts = self.counts(kind);
        counts.read += 1;
        counts.refused += 1;
        self.list(kind, row, user, "refused", reason)
    }

    fn list(
        &mut self,
        kind: Kind,
        row: &str,
        user: Option<&str>,
        outcome: &'static str,
        reason: &str,
    ) -> Result<(), ImportError> {
        let listed = Listed {
            kind: kind.name(),
            row: row.to_owned(),
            user: user.map(ToOwned::to_owned),
            outcome,
            reason: reason.to_owned(),
        };
        if let Some(file) = &mut self.file {
            let comma: &[u8] = if self.listed > 0 { b",\n" } else { b"\n" };
            let written =
                file.to.write_all(comma).and_then(|()| Ok(serde_json::to_writer(&mut file.to, &listed)?));
            written.map_err(|error| failed(&file.path, error))?;
        }
        self.listed += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(listed);
        }
        Ok(())
    }

    /// Ends the report's file.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(&mut self) -> Result<(), ImportError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let mut write = || {
            let rest = serde_json::to_string(self)?;
            // The rest is an object too: its fields go on where the list ends.
            file.to.write_all(b"\n],\n")?;
            file.to.write_all(rest.trim_start_matches('{').as_bytes())?;
            file.to.write_all(b"\n")?;
            file.to.flush()
        };
        write().map_err(|error| failed(&file.path, error))
    }

    /// The report for a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let would = if self.dry_run {
            "A dry run: nothing was written. This is what an import would do.\n\n"
        } else {
            ""
        };
        text.push_str(would);
        let _ = writeln!(
            text,
            "{:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "", "read", "new", "changed", "as before", "kept", "refused", "ended"
        );
        let kinds = [
            ("users", &self.users),
            ("sessions", &self.sessions),
            ("one-time tokens", &self.one_time_tokens),
            ("API keys", &self.auth_tokens),
        ];
        for (name, c) in kinds {
            let _ = writeln!(
                text,
                "{name:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
                c.read, c.new, c.changed, c.unchanged, c.kept, c.refused, c.ended
            );
        }
        for (name, c) in kinds {
            for (count, what) in [
                (
                    c.new_but_ended,
                    "came as ended: the user is suspended, or the registry has ended them since",
                ),
                (c.new_but_expired, "came as expired"),
                (
                    c.lifetime_from_now,
                    "have their lifetime counted from now: it would have been over at once",
                ),
            ] {
                if count > 0 && !(name == "users" && what.starts_with("came as ended")) {
                    let _ = writeln!(text, "{count} of the new {name} {what}");
                }
            }
        }
        if self.users.new_but_ended > 0 {
            let _ = writeln!(text, "{} of the new users are suspended", self.users.new_but_ended);
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        for row in &self.shown {
            let user = row.user.as_deref().unwrap_or("nobody");
            let _ = writeln!(
                text,
                "{}: {} row {} of user {user}: {}",
                row.outcome, row.kind, row.row, row.reason
            );
        }
        if self.listed > self.shown.len() as u64 {
            let more = self.listed - self.shown.len() as u64;
            let _ = writeln!(text, "… and {more} more; --report FILE lists them all");
        }
        text
    }
}

fn failed(path: &Path, error: io::Error) -> ImportError {
    ImportError::Report { path: path.display().to_string(), error }
}
