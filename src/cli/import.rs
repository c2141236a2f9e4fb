//! `import`: another system's rows, brought over.

use std::fmt::Write;
use std::io::{IsTerminal as _, stderr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use super::failure::{Failure, with_causes};
use super::output::print;
use super::{SETTINGS, in_runtime};
use crate::config::{Config, Flags};
use crate::import::{self, Column, Names, Options, Progress};

#[derive(Subcommand)]
pub(super) enum ImportCommand {
    #[command(about = "Bring users, sessions and tokens of a Django system (jwt_allauth); may be repeated")]
    #[command(after_help = SETTINGS, long_about = DJANGO)]
    Django {
        #[command(flatten)]
        arguments: Box<DjangoArguments>,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    #[command(about = "Forget what imports have seen, after the last one", after_help = SETTINGS)]
    Forget {
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

const DJANGO: &str = "\
Reads the tables of django-jwt-allauth from a running PostgreSQL database and brings users, sessions, one-time tokens \
and auth tokens into the registry (DATABASE_URL). It never writes there.

It may be repeated as often as one likes, beside both systems at work: it brings what has changed there since, ends what \
has ended there, and leaves alone what the registry itself has rotated, revoked or consumed. See \
docs/migrating-from-django.md.";

/// Where `--from` may be, too.
const FROM: &str = "DJANGO_DATABASE_URL";

#[derive(Args)]
#[expect(clippy::doc_markdown, reason = "the help is read on a terminal")]
pub(super) struct DjangoArguments {
    /// The Django database, as postgres://user:password@host:5432/name; better in the environment as
    /// DJANGO_DATABASE_URL, since other users of the machine can read command lines
    #[arg(long, value_name = "URL", help_heading = "Import")]
    from: Option<String>,
    /// Only say what an import would do: everything is tried and undone
    #[arg(long, help_heading = "Import")]
    dry_run: bool,
    /// Write the complete report to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Import")]
    report: Option<PathBuf>,
    /// The registry's user_id of a user; {} stands for the primary key
    #[arg(long, value_name = "TEXT", default_value = "{}", help_heading = "Import")]
    user_id_format: String,
    /// The schema of the tables
    #[arg(long, value_name = "NAME", default_value = "public", help_heading = "Import")]
    schema: String,
    /// What the names of the package's tables begin with
    #[arg(long, value_name = "TEXT", default_value = "jwt_allauth_", help_heading = "Import")]
    table_prefix: String,
    /// The table of the keys of rest_framework.authtoken
    #[arg(long, value_name = "NAME", default_value = "authtoken_token", help_heading = "Import")]
    auth_table: String,
    /// The users' table, also as SCHEMA.NAME; by default the one that the refresh tokens' foreign key names
    #[arg(long, value_name = "NAME", help_heading = "Import")]
    user_table: Option<String>,
    /// A column that has another name there, such as user.id=uuid or refresh.user_id=owner_id (tables: user, refresh,
    /// generic, auth); may be given several times
    #[arg(long = "column", value_name = "TABLE.COLUMN=NAME", help_heading = "Import")]
    columns: Vec<Column>,
    /// A purpose of your own whose column `token` holds the value itself although it looks like a SHA-256; may be given
    /// several times
    #[arg(long = "plain-purpose", value_name = "PURPOSE", help_heading = "Import")]
    plain_purposes: Vec<String>,
    /// How long refresh tokens live there (the package's default: 14d): sessions whose token is older are over and come
    /// as expired. Without it, every session is taken for a living one
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Import")]
    refresh_token_lifetime: Option<Duration>,
    /// Give one-time tokens that are over their lifetime anew, from now
    #[arg(long, help_heading = "Import")]
    renew_expired_tokens: bool,
    /// Go on although more than half of what was brought before is gone there
    #[arg(long, help_heading = "Import")]
    accept_missing: bool,
}

pub(super) fn run(command: ImportCommand) -> Result<(), Failure> {
    match command {
        ImportCommand::Django { arguments, flags } => in_runtime(django(*arguments, &flags)),
        ImportCommand::Forget { flags } => in_runtime(forget(&flags)),
    }
}

async fn django(arguments: DjangoArguments, flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    config.database_url()?;
    let from = arguments.from.or_else(|| std::env::var(FROM).ok());
    let from = from.ok_or_else(|| {
        Failure::Usage(format!("no Django database: say --from URL, or set the environment variable {FROM}"))
    })?;
    let options = Options {
        from: from.into(),
        names: Names {
            schema: arguments.schema,
            table_prefix: arguments.table_prefix,
            auth_table: arguments.auth_table,
            user_table: arguments.user_table,
            columns: arguments.columns,
        },
        user_id_format: arguments.user_id_format,
        refresh_token_lifetime: arguments.refresh_token_lifetime,
        plain_purposes: arguments.plain_purposes,
        renew_expired_tokens: arguments.renew_expired_tokens,
        accept_missing: arguments.accept_missing,
        dry_run: arguments.dry_run,
        report: arguments.report,
    };
    let mut bar = Bar::new();
    let done = import::django(&config, &options, |progress| bar.show(progress)).await;
    bar.end();
    match done {
        Ok(report) => {
            print(&report.text());
            Ok(())
        }
        Err((_, error)) if error.is_of_the_command_line() => Err(Failure::Usage(error.to_string())),
        Err((report, error)) if report.users.read > 0 => {
            print(&format!("Broken off. Until then:\n\n{}", report.text()));
            let again = "Users are brought whole; the same import again goes on where this one ended";
            Err(Failure::Running(format!("{}. {again}", with_causes(&error))))
        }
        Err((_, error)) => Err(Failure::Running(with_causes(&error))),
    }
}

async fn forget(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    config.database_url()?;
    import::forget(&config).await.map_err(|error| Failure::Running(with_causes(&error)))?;
    print("forgotten; a later import would take what is here for the registry's own\n");
    Ok(())
}

/// How fast it goes and how much longer, once that is known.
fn pace(state: &ProgressState, to: &mut dyn Write) {
    if state.pos() > 0 {
        let left = HumanDuration(state.eta());
        let _ = write!(to, ", {:.0} a second, {left} left", state.per_sec());
    }
}

/// How far it is: a bar on a terminal, a line now and then elsewhere.
struct Bar {
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Bar {
    fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} users{pace}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style.with_key("pace", pace))
        });
        Self { bar, said: Instant::now() }
    }

    fn show(&mut self, progress: Progress) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        } else if self.said.elapsed() > Duration::from_secs(5) {
            self.said = Instant::now();
            eprintln!("{} of {} users", progress.done, progress.total);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
