//! `session`: a user's sessions, which are their devices, and their end.

use clap::{ArgGroup, Subcommand, ValueEnum};
use serde::Serialize;

use super::client::{Client, Connection};
use super::confirm::Confirm;
use super::failure::Failure;
use super::output::{Output, Revoked, Show, cell, columns, pairs, state, time, timestamp, word};
use super::pages::{Limit, MORE};
use crate::proto;

#[derive(clap::Args)]
pub(super) struct Session {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List a user's sessions, the newest first
    List {
        /// Whose sessions
        #[arg(value_name = "USER")]
        user_id: String,
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Show everything that is known of a session
    Show {
        /// Whose session
        #[arg(value_name = "USER")]
        user_id: String,
        /// Which session
        session: String,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// End sessions
    #[command(group = ArgGroup::new("which").args(["session", "all"]).required(true))]
    Revoke {
        /// Whose sessions
        #[arg(value_name = "USER")]
        user_id: String,
        /// Which session
        session: Option<String>,
        /// All of the user's sessions
        #[arg(long)]
        all: bool,
        /// With --all: but this one
        #[arg(long, value_name = "SESSION", requires = "all", conflicts_with = "session")]
        except: Option<String>,
        /// Why
        #[arg(long, value_enum, default_value_t = Reason::Administrative)]
        reason: Reason,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

/// The states that a session can be in.
#[derive(Clone, Copy, ValueEnum)]
enum State {
    Active,
    Disabled,
    UserInactive,
    Expired,
    Revoked,
}

impl State {
    fn number(self) -> i32 {
        use proto::TokenState as P;
        let state = match self {
            Self::Active => P::Active,
            Self::Disabled => P::Disabled,
            Self::UserInactive => P::UserInactive,
            Self::Expired => P::Expired,
            Self::Revoked => P::Revoked,
        };
        state.into()
    }
}

/// The reasons that a caller may give.
#[derive(Clone, Copy, ValueEnum)]
enum Reason {
    Administrative,
    Logout,
    CredentialChange,
    UserDeactivated,
}

impl Reason {
    fn number(self) -> i32 {
        use proto::RevocationReason as P;
        let reason = match self {
            Self::Administrative => P::Administrative,
            Self::Logout => P::Logout,
            Self::CredentialChange => P::CredentialChange,
            Self::UserDeactivated => P::UserDeactivated,
        };
        reason.into()
    }
}

pub(super) async fn run(session: Session) -> Result<(), Failure> {
    match session.command {
        Command::List { user_id, state, limit, connection, output } => {
            let client = connection.open().await?;
            output.show(&list(&client, user_id, state, limit).await?);
        }
        Command::Show { user_id, session, connection, output } => {
            let client = connection.open().await?;
            let request = proto::GetRefreshTokenRequest { user_id, session };
            let found = client.whitelist().get_refresh_token(client.request(request)).await?.into_inner();
            output.show(&Device::from(found.token.unwrap_or_default()));
        }
        Command::Revoke { user_id, session, all: _, except, reason, confirm, connection, output } => {
            let client = connection.open().await?;
            let reason = reason.number();
            let revoked_count = if let Some(session) = session {
                confirm.ask(&format!("Revoke the session {session} of {user_id}?"))?;
                let request = proto::RevokeSessionRequest { user_id, session, reason };
                client.whitelist().revoke_session(client.request(request)).await?.into_inner().revoked_count
            } else {
                let but = except.as_ref().map(|session| format!(" but {session}")).unwrap_or_default();
                confirm.ask(&format!("Revoke all sessions of {user_id}{but}?"))?;
                let request = proto::RevokeUserSessionsRequest { user_id, except_session: except, reason };
                let done = client.whitelist().revoke_user_sessions(client.request(request)).await?;
                done.into_inner().revoked_count
            };
            output.show(&Revoked { revoked_count });
        }
    }
    Ok(())
}

async fn list(
    client: &Client,
    user_id: String,
    state: Option<State>,
    limit: Limit,
) -> Result<Devices, Failure> {
    let state = state.map_or(0, State::number);
    let ask = async |page_size, page_token| {
        let user_id = user_id.clone();
        let request = proto::ListRefreshTokensRequest { user_id, page_size, page_token, state };
        let page = client.whitelist().list_refresh_tokens(client.request(request)).await?.into_inner();
        Ok((page.tokens, page.next_page_token))
    };
    let (tokens, more) = limit.pages(ask).await?;
    Ok(Devices { sessions: tokens.into_iter().map(Device::from).collect(), more })
}

#[derive(Serialize)]
struct Devices {
    sessions: Vec<Device>,
    /// Whether there are more than the limit allowed.
    more: bool,
}

impl Show for Devices {
    fn text(&self) -> String {
        if self.sessions.is_empty() {
            return "no sessions\n".to_owned();
        }
        let heading =
            ["session", "state", "device", "browser", "address", "opened", "last rotated", "expires"];
        let rows = self.sessions.iter().map(|device| {
            vec![
                cell(device.session.clone()),
                state(&device.state, device.revocation_reason.as_deref()),
                cell(device.client.device()),
                cell(device.client.browser()),
                cell(device.client.ip.clone()),
                time(device.session_created.as_deref()),
                time(device.last_rotation()),
                time(device.idle_expires.as_deref()),
            ]
        });
        let mut text = columns(&heading, rows);
        if self.more {
            text.push_str(MORE);
        }
        text
    }
}

/// A session, by the names of `RefreshToken`.
#[derive(Serialize)]
struct Device {
    id: i64,
    user_id: String,
    session: String,
    jti: String,
    state: String,
    enabled: bool,
    /// When the current jti was issued.
    created: Option<String>,
    session_created: Option<String>,
    session_expires: Option<String>,
    idle_expires: Option<String>,
    rotations: i64,
    grace_count: i64,
    revoked: Option<String>,
    revocation_reason: Option<String>,
    client: ClientInfo,
}

impl From<proto::RefreshToken> for Device {
    fn from(token: proto::RefreshToken) -> Self {
        let state = word(token.state().as_str_name(), "TOKEN_STATE_");
        let reason = word(token.revocation_reason().as_str_name(), "REVOCATION_REASON_");
        let base = token.base.unwrap_or_default();
        Self {
            id: base.id,
            user_id: token.user_id,
            session: token.session,
            jti: token.jti,
            state,
            enabled: token.enabled,
            created: timestamp(base.created),
            session_created: timestamp(token.session_created),
            session_expires: timestamp(token.session_expires),
            idle_expires: timestamp(token.idle_expires),
            rotations: token.rotations,
            grace_count: token.grace_count,
            revocation_reason: token.revoked.map(|_| reason),
            revoked: timestamp(token.revoked),
            client: base.client.unwrap_or_default().into(),
        }
    }
}

impl Device {
    fn last_rotation(&self) -> Option<&str> {
        self.created.as_deref().filter(|_| self.rotations > 0)
    }
}

impl Show for Device {
    fn text(&self) -> String {
        let Self { client, .. } = self;
        pairs([
            ("user", cell(self.user_id.clone())),
            ("session", cell(self.session.clone())),
            ("state", state(&self.state, self.revocation_reason.as_deref())),
            ("jti", cell(self.jti.clone())),
            ("opened", time(self.session_created.as_deref())),
            ("last rotated", time(self.last_rotation())),
            ("rotations", cell(self.rotations.to_string())),
            ("answered in the grace window", cell(self.grace_count.to_string())),
            ("expires unless rotated", time(self.idle_expires.as_deref())),
            ("expires at last", time(self.session_expires.as_deref())),
            ("revoked", time(self.revoked.as_deref())),
            ("address", cell(client.ip.clone())),
            ("device", cell(client.device())),
            ("browser", cell(client.browser())),
        ])
    }
}

/// A client, by the names of the API's message; what wasn't told is null.
#[derive(Serialize)]
struct ClientInfo {
    ip: Option<String>,
    is_mobile: Option<bool>,
    is_tablet: Option<bool>,
    is_pc: Option<bool>,
    is_bot: Option<bool>,
    browser: Option<String>,
    browser_version: Option<String>,
    os: Option<String>,
    os_version: Option<String>,
    device: Option<String>,
    device_brand: Option<String>,
    device_model: Option<String>,
}

impl From<proto::ClientInfo> for ClientInfo {
    fn from(client: proto::ClientInfo) -> Self {
        Self {
            ip: client.ip,
            is_mobile: client.is_mobile,
            is_tablet: client.is_tablet,
            is_pc: client.is_pc,
            is_bot: client.is_bot,
            browser: client.browser,
            browser_version: client.browser_version,
            os: client.os,
            os_version: client.os_version,
            device: client.device,
            device_brand: client.device_brand,
            device_model: client.device_model,
        }
    }
}

impl ClientInfo {
    /// `Samsung SM-S911B, Android 14`: the maker and model, or the family, and the system.
    fn device(&self) -> String {
        let model = joined([known(self.device_brand.as_ref()), known(self.device_model.as_ref())], " ");
        let family = known(self.device.as_ref()).unwrap_or_default();
        let system = joined([known(self.os.as_ref()), known(self.os_version.as_ref())], " ");
        joined([Some(if model.is_empty() { family } else { &model }), Some(&system)], ", ")
    }

    /// `Chrome Mobile 126.0.0`.
    fn browser(&self) -> String {
        joined([known(self.browser.as_ref()), known(self.browser_version.as_ref())], " ")
    }
}

/// What a column tells a person: `Other` tells nothing.
fn known(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| *text != "Other")
}

fn joined(parts: [Option<&str>; 2], between: &str) -> String {
    let parts: Vec<_> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    parts.join(between)
}
