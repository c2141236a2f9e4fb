//! `user`: what the registry knows of a user, and the ends that come to all of a user's things at once.

use clap::Subcommand;
use comfy_table::Color;
use serde::Serialize;

use super::client::{Client, Connection};
use super::confirm::Confirm;
use super::failure::Failure;
use super::output::{Output, Show, cell, coloured, pairs, time, timestamp};
use crate::proto;

#[derive(clap::Args)]
pub(super) struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a user and count what is live of theirs
    Show {
        #[command(flatten)]
        common: Common,
    },
    /// End everything that the user's credentials opened, as a password change does; logins in progress too
    ///
    /// Sessions, one-time tokens and API keys are revoked, and `credential_version` moves, so that a login whose
    /// password was judged before fails. To end sessions only: `session revoke --all`.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// Spare this session
        #[arg(long, value_name = "SESSION")]
        except_session: Option<String>,
        /// Spare one-time tokens of this purpose; may be repeated
        #[arg(long, value_name = "PURPOSE")]
        keep_purpose: Vec<String>,
        /// Spare the user's API keys
        #[arg(long)]
        keep_keys: bool,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Suspend a user: every check refuses at once, sessions and one-time tokens are revoked
    Deactivate {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// End a suspension; what it revoked stays revoked
    Activate {
        #[command(flatten)]
        common: Common,
    },
    /// Remove a user and everything of theirs
    Delete {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(clap::Args)]
struct Common {
    /// Which user
    #[arg(value_name = "USER")]
    user_id: String,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(user: User) -> Result<(), Failure> {
    match user.command {
        Command::Show { common } => {
            let client = common.connection.open().await?;
            common.output.show(&read(&client, &common.user_id).await?);
        }
        Command::Revoke { common, except_session, keep_purpose, keep_keys, confirm } => {
            let client = common.connection.open().await?;
            confirm.ask(&format!("Revoke what the credentials of {} opened?", common.user_id))?;
            let request = proto::RevokeCredentialsRequest {
                user_id: common.user_id,
                except_session,
                keep_purposes: keep_purpose,
                keep_auth_tokens: Some(keep_keys),
                request_id: None,
            };
            let done = client.users().revoke_credentials(client.request(request)).await?.into_inner();
            common.output.show(&Changed::new(done.user, done.revoked));
        }
        Command::Deactivate { common, confirm } => {
            let client = common.connection.open().await?;
            confirm
                .ask(&format!("Suspend {} and revoke their sessions and one-time tokens?", common.user_id))?;
            common.set_active(&client, false).await?;
        }
        Command::Activate { common } => {
            let client = common.connection.open().await?;
            common.set_active(&client, true).await?;
        }
        Command::Delete { common, confirm } => {
            let client = common.connection.open().await?;
            // Also so that a misspelt name is told instead of zeros.
            let known = read(&client, &common.user_id).await?;
            let question =
                format!("Delete {} and everything of theirs ({} live)?", common.user_id, known.live);
            confirm.ask(&question)?;
            let request = proto::DeleteUserRequest { user_id: common.user_id.clone() };
            let done = client.users().delete_user(client.request(request)).await?.into_inner();
            let deleted = Counts::from(done.deleted.unwrap_or_default());
            common.output.show(&Deleted { user_id: common.user_id, deleted });
        }
    }
    Ok(())
}

impl Common {
    async fn set_active(&self, client: &Client, active: bool) -> Result<(), Failure> {
        let request = proto::SetUserActiveRequest { user_id: self.user_id.clone(), active: Some(active) };
        let done = client.users().set_user_active(client.request(request)).await?.into_inner();
        self.output.show(&Changed::new(done.user, done.revoked));
        Ok(())
    }
}

async fn read(client: &Client, user_id: &str) -> Result<Known, Failure> {
    let request = proto::GetUserRequest { user_id: user_id.to_owned() };
    let found = client.users().get_user(client.request(request)).await?.into_inner();
    Ok(Known { user: found.user.unwrap_or_default().into(), live: found.live.unwrap_or_default().into() })
}

#[derive(Serialize)]
struct Subject {
    user_id: String,
    active: bool,
    credential_version: String,
    created: Option<String>,
}

impl From<proto::User> for Subject {
    fn from(user: proto::User) -> Self {
        Self {
            user_id: user.user_id,
            active: user.active,
            credential_version: user.credential_version,
            created: timestamp(user.created),
        }
    }
}

#[derive(Serialize)]
struct Counts {
    sessions: i64,
    generic_tokens: i64,
    auth_tokens: i64,
}

impl From<proto::Counts> for Counts {
    fn from(counts: proto::Counts) -> Self {
        Self {
            sessions: counts.sessions,
            generic_tokens: counts.generic_tokens,
            auth_tokens: counts.auth_tokens,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sessions, generic_tokens, auth_tokens } = self;
        write!(f, "sessions: {sessions}, one-time tokens: {generic_tokens}, API keys: {auth_tokens}")
    }
}

#[derive(Serialize)]
struct Known {
    user: Subject,
    live: Counts,
}

impl Show for Known {
    fn text(&self) -> String {
        let Self { user, live } = self;
        let active = if user.active { ("yes", Color::Green) } else { ("no: suspended", Color::Red) };
        pairs([
            ("user", cell(user.user_id.clone())),
            ("active", coloured(active.0.to_owned(), active.1)),
            ("known since", time(user.created.as_deref())),
            ("credential version", cell(user.credential_version.clone())),
            ("live sessions", cell(live.sessions.to_string())),
            ("live one-time tokens", cell(live.generic_tokens.to_string())),
            ("live API keys", cell(live.auth_tokens.to_string())),
        ])
    }
}

#[derive(Serialize)]
struct Changed {
    user: Subject,
    revoked: Counts,
}

impl Changed {
    fn new(user: Option<proto::User>, revoked: Option<proto::Counts>) -> Self {
        Self { user: user.unwrap_or_default().into(), revoked: revoked.unwrap_or_default().into() }
    }
}

impl Show for Changed {
    fn text(&self) -> String {
        let Self { user, revoked } = self;
        let state = if user.active { "active" } else { "suspended" };
        format!("{} is {state}; revoked {revoked}\n", user.user_id)
    }
}

#[derive(Serialize)]
struct Deleted {
    user_id: String,
    deleted: Counts,
}

impl Show for Deleted {
    fn text(&self) -> String {
        format!("{} is deleted, with {}, dead ones included\n", self.user_id, self.deleted)
    }
}
