//! `generic`: a user's one-time tokens.

use clap::{ArgGroup, Subcommand};
use serde::Serialize;

use super::client::{Client, Connection};
use super::confirm::Confirm;
use super::failure::Failure;
use super::output::{Output, Revoked, Show, cell, columns, state, time, timestamp, word};
use super::pages::{Limit, MORE};
use crate::proto;

#[derive(clap::Args)]
pub(super) struct Generic {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List a user's one-time tokens, the newest first; their values can't be read
    List {
        /// Whose tokens
        #[arg(value_name = "USER")]
        user_id: String,
        /// Only of this purpose
        #[arg(long)]
        purpose: Option<String>,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a user's one-time tokens
    #[command(group = ArgGroup::new("which").args(["purpose", "all"]).required(true))]
    Revoke {
        /// Whose tokens
        #[arg(value_name = "USER")]
        user_id: String,
        /// Of this purpose; may be repeated
        #[arg(long)]
        purpose: Vec<String>,
        /// Of all purposes
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

pub(super) async fn run(generic: Generic) -> Result<(), Failure> {
    match generic.command {
        Command::List { user_id, purpose, limit, connection, output } => {
            let client = connection.open().await?;
            output.show(&list(&client, user_id, purpose, limit).await?);
        }
        Command::Revoke { user_id, purpose: purposes, all: _, confirm, connection, output } => {
            let client = connection.open().await?;
            let which = if purposes.is_empty() { "all purposes".to_owned() } else { purposes.join(", ") };
            confirm.ask(&format!("Revoke the one-time tokens of {user_id} for {which}?"))?;
            let request = proto::RevokeGenericTokensRequest { user_id, purposes };
            let done = client.generic_tokens().revoke_generic_tokens(client.request(request)).await?;
            output.show(&Revoked { revoked_count: done.into_inner().revoked_count });
        }
    }
    Ok(())
}

async fn list(
    client: &Client,
    user_id: String,
    purpose: Option<String>,
    limit: Limit,
) -> Result<Tokens, Failure> {
    let ask = async |page_size, page_token| {
        let (user_id, purpose) = (user_id.clone(), purpose.clone());
        let request = proto::ListGenericTokensRequest { user_id, purpose, page_size, page_token };
        let page = client.generic_tokens().list_generic_tokens(client.request(request)).await?.into_inner();
        Ok((page.tokens, page.next_page_token))
    };
    let (tokens, more) = limit.pages(ask).await?;
    Ok(Tokens { generic_tokens: tokens.into_iter().map(Token::from).collect(), more })
}

#[derive(Serialize)]
struct Tokens {
    generic_tokens: Vec<Token>,
    /// Whether there are more than the limit allowed.
    more: bool,
}

impl Show for Tokens {
    fn text(&self) -> String {
        if self.generic_tokens.is_empty() {
            return "no one-time tokens\n".to_owned();
        }
        let heading = ["challenge", "purpose", "state", "issued", "expires", "consumed", "guesses"];
        let rows = self.generic_tokens.iter().map(|token| {
            let guesses =
                (token.max_attempts > 0).then(|| format!("{} of {}", token.attempts, token.max_attempts));
            vec![
                cell(token.challenge.clone()),
                cell(token.purpose.clone()),
                state(&token.state, None),
                time(token.created.as_deref()),
                time(token.expires.as_deref()),
                time(token.consumed.as_deref()),
                cell(guesses),
            ]
        });
        let mut text = columns(&heading, rows);
        if self.more {
            text.push_str(MORE);
        }
        text
    }
}

/// A one-time token, by the names of `GenericToken`.
#[derive(Serialize)]
struct Token {
    id: i64,
    user_id: String,
    purpose: String,
    state: String,
    created: Option<String>,
    expires: Option<String>,
    attempts: i32,
    max_attempts: i32,
    consumed: Option<String>,
    challenge: String,
}

impl From<proto::GenericToken> for Token {
    fn from(token: proto::GenericToken) -> Self {
        let state = word(token.state().as_str_name(), "TOKEN_STATE_");
        let base = token.base.unwrap_or_default();
        Self {
            id: base.id,
            user_id: token.user_id,
            purpose: token.purpose,
            state,
            created: timestamp(base.created),
            expires: timestamp(token.expires),
            attempts: token.attempts,
            max_attempts: token.max_attempts,
            consumed: timestamp(token.consumed),
            challenge: token.challenge,
        }
    }
}
