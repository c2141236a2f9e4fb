//! `purge`: what has been over for long, counted or removed.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::client::{Client, Connection};
use super::confirm::Confirm;
use super::failure::Failure;
use super::output::{Output, Show, cell, pairs};
use crate::proto::{Counts, PurgeExpiredRequest};

#[derive(clap::Args)]
pub(super) struct Purge {
    /// Remove; without it nothing is changed
    #[arg(long)]
    apply: bool,
    /// Only what has been over for at least so long, instead of what the registry is configured to keep
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// How many rows one step looks at, instead of what the registry is configured to
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    batch_size: Option<i32>,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(purge: Purge) -> Result<(), Failure> {
    let client = purge.connection.open().await?;
    if purge.apply {
        let age = purge.older_than.map_or("longer than is configured to keep".to_owned(), |age| {
            format!("{} or longer", humantime::format_duration(age))
        });
        purge.confirm.ask(&format!("Remove everything that has been over for {age}?"))?;
    }
    let older_than = purge
        .older_than
        .map(prost_types::Duration::try_from)
        .transpose()
        .map_err(|_| Failure::Usage("--older-than is too long".to_owned()))?;
    let request = PurgeExpiredRequest {
        apply: purge.apply,
        batch_size: purge.batch_size.unwrap_or_default(),
        older_than,
        page_token: String::new(),
    };
    purge.output.show(&walk(&client, request).await?);
    Ok(())
}

/// Calls until all tables were gone through. How far it is shows on a terminal; elsewhere nothing is said until the end.
async fn walk(client: &Client, mut request: PurgeExpiredRequest) -> Result<Purged, Failure> {
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}");
    // It draws nothing where standard error is no terminal.
    let bar = ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    // From the beginning: the first answer takes half of the time that a call has.
    bar.tick();
    let what = if request.apply { "removed" } else { "would be removed" };
    let mut all = Purged { applied: request.apply, ..Purged::default() };
    loop {
        let answer = client.maintenance().purge_expired(client.request(request.clone())).await;
        let answer = answer.inspect_err(|_| bar.abandon())?.into_inner();
        let Counts { sessions, generic_tokens, auth_tokens } = answer.counts.unwrap_or_default();
        all.sessions += sessions;
        all.generic_tokens += generic_tokens;
        all.auth_tokens += auth_tokens;
        all.credential_changes += answer.credential_changes;
        all.examined += answer.examined;
        let examined = u64::try_from(all.examined).unwrap_or_default();
        bar.set_length(u64::try_from(answer.rows_estimate).unwrap_or_default().max(examined));
        bar.set_position(examined);
        bar.set_message(format!("{} of {} rows {what}", all.total(), all.examined));
        if answer.next_page_token.is_empty() {
            bar.finish_and_clear();
            return Ok(all);
        }
        request.page_token = answer.next_page_token;
    }
}

#[derive(Default, Serialize)]
struct Purged {
    applied: bool,
    sessions: i64,
    generic_tokens: i64,
    auth_tokens: i64,
    credential_changes: i64,
    examined: i64,
}

impl Purged {
    fn total(&self) -> i64 {
        self.sessions + self.generic_tokens + self.auth_tokens + self.credential_changes
    }
}

impl Show for Purged {
    fn text(&self) -> String {
        let what = if self.applied { "removed" } else { "would be removed" };
        let rows = pairs([
            ("sessions", cell(self.sessions.to_string())),
            ("one-time tokens", cell(self.generic_tokens.to_string())),
            ("API keys", cell(self.auth_tokens.to_string())),
            ("credential changes", cell(self.credential_changes.to_string())),
        ]);
        let more = if self.applied || self.total() == 0 { "" } else { "--apply removes them\n" };
        format!("{what}, of {} rows looked at:\n{rows}{more}", self.examined)
    }
}
