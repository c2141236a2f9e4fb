//! `key`: a user's API keys.

use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

use super::client::{Client, Connection};
use super::confirm::Confirm;
use super::failure::Failure;
use super::output::{Output, Show, cell, columns, pairs, state, time, timestamp, word};
use super::pages::{Limit, MORE};
use crate::proto;

#[derive(clap::Args)]
pub(super) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key and print it: the only time that it can be read
    Create {
        /// Whose key
        #[arg(value_name = "USER")]
        user_id: String,
        /// What the user calls it
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// How long it is good, such as 90d; without it, it doesn't expire
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        lifetime: Option<Duration>,
        /// End the key whose place it takes: the user's one of the model `drf`, those of the same name otherwise
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// List a user's keys, the newest first; what can be read of them is their prefix
    List {
        /// Whose keys
        #[arg(value_name = "USER")]
        user_id: String,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a key: from then on nobody knows it
    Revoke {
        /// Whose key
        #[arg(value_name = "USER")]
        user_id: String,
        /// Which key, by its prefix as `key list` shows it; not needed with the model `drf`
        prefix: Option<String>,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

pub(super) async fn run(key: Key) -> Result<(), Failure> {
    match key.command {
        Command::Create { user_id, name, lifetime, replace, confirm, connection, output } => {
            let lifetime = lifetime
                .map(prost_types::Duration::try_from)
                .transpose()
                .map_err(|error| Failure::Usage(format!("--lifetime: {error}")))?;
            let client = connection.open().await?;
            if replace {
                confirm.ask(&format!("End the key of {user_id} whose place the new one takes?"))?;
            }
            let request =
                proto::CreateAuthTokenRequest { user_id, replace, name, lifetime, request_id: None };
            let made = client.auth_tokens().create_auth_token(client.request(request)).await?.into_inner();
            output.show(&Made { auth_token: made.auth_token.unwrap_or_default().into(), key: made.key });
        }
        Command::List { user_id, limit, connection, output } => {
            let client = connection.open().await?;
            output.show(&list(&client, user_id, limit).await?);
        }
        Command::Revoke { user_id, prefix, confirm, connection, output } => {
            let client = connection.open().await?;
            confirm.ask(&match &prefix {
                Some(prefix) => format!("Remove the key {prefix} of {user_id}?"),
                None => format!("Remove the key of {user_id}?"),
            })?;
            let request = proto::DeleteAuthTokenRequest { user_id, prefix };
            let done = client.auth_tokens().delete_auth_token(client.request(request)).await?.into_inner();
            output.show(&Removed { deleted_count: done.deleted_count });
        }
    }
    Ok(())
}

async fn list(client: &Client, user_id: String, limit: Limit) -> Result<Known, Failure> {
    let ask = async |page_size, page_token| {
        let request = proto::ListAuthTokensRequest { user_id: user_id.clone(), page_size, page_token };
        let page = client.auth_tokens().list_auth_tokens(client.request(request)).await?.into_inner();
        Ok((page.auth_tokens, page.next_page_token))
    };
    let (tokens, more) = limit.pages(ask).await?;
    Ok(Known { auth_tokens: tokens.into_iter().map(AuthToken::from).collect(), more })
}

/// What is known of a key, by the names of the API's message.
#[derive(Serialize)]
struct AuthToken {
    user_id: String,
    prefix: String,
    name: String,
    state: String,
    created: Option<String>,
    expires: Option<String>,
    last_used: Option<String>,
}

impl From<proto::AuthToken> for AuthToken {
    fn from(token: proto::AuthToken) -> Self {
        Self {
            state: word(token.state().as_str_name(), "TOKEN_STATE_"),
            user_id: token.user_id,
            prefix: token.prefix,
            name: token.name,
            created: timestamp(token.created),
            expires: timestamp(token.expires),
            last_used: timestamp(token.last_used),
        }
    }
}

/// The one value with a secret that a command prints, which is what it is asked for.
#[derive(Serialize)]
struct Made {
    auth_token: AuthToken,
    key: String,
}

impl Show for Made {
    fn text(&self) -> String {
        let Self { auth_token: token, key } = self;
        let expires = match token.expires.as_deref() {
            None => cell("never".to_owned()),
            expires => time(expires),
        };
        let facts = pairs([
            ("key", cell(key.clone())),
            ("user", cell(token.user_id.clone())),
            ("name", cell(token.name.clone())),
            ("prefix", cell(token.prefix.clone())),
            ("expires", expires),
        ]);
        format!("{facts}The key can't be read again.\n")
    }
}

#[derive(Serialize)]
struct Known {
    auth_tokens: Vec<AuthToken>,
    /// Whether there are more than the limit allowed.
    more: bool,
}

impl Show for Known {
    fn text(&self) -> String {
        if self.auth_tokens.is_empty() {
            return "no keys\n".to_owned();
        }
        let rows = self.auth_tokens.iter().map(|token| {
            vec![
                cell(token.prefix.clone()),
                cell(token.name.clone()),
                state(&token.state, None),
                time(token.created.as_deref()),
                time(token.expires.as_deref()),
                time(token.last_used.as_deref()),
            ]
        });
        let mut text = columns(&["prefix", "name", "state", "created", "expires", "last used"], rows);
        if self.more {
            text.push_str(MORE);
        }
        text
    }
}

#[derive(Serialize)]
struct Removed {
    deleted_count: i64,
}

impl Show for Removed {
    fn text(&self) -> String {
        match self.deleted_count {
            0 => "there was no such key\n".to_owned(),
            count => format!("removed: {count}\n"),
        }
    }
}
