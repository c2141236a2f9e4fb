//! Carries out a call on a real server, and reads the answer in the contract's words.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use token_registry::proto as p;
use token_registry::proto::auth_token_service_client::AuthTokenServiceClient;
use token_registry::proto::generic_token_service_client::GenericTokenServiceClient;
use token_registry::proto::user_service_client::UserServiceClient;
use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::words::{
    Answer, Call, Counts, ErrorReason, KeyModel, KeyRow, Name, Names, Purpose, RevocationReason, Session,
    SessionRow, TokenRow, TokenState, Value, Wanted, Which,
};

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Answered(Answer),
    /// It certainly had no effect.
    NotApplied,
    /// It may have had its effect, or will have, or never will.
    Unknown,
}

/// One caller's way to a server, to speak about one user.
#[derive(Clone)]
pub struct Caller {
    pub whitelist: WhitelistServiceClient<Channel>,
    pub generic: GenericTokenServiceClient<Channel>,
    pub auth: AuthTokenServiceClient<Channel>,
    pub users: UserServiceClient<Channel>,
    pub user_id: String,
    pub names: Arc<Mutex<Names>>,
    /// Given to every call, which is then answered by the server's end of it or by ours.
    pub deadline: Duration,
}

impl Caller {
    pub fn new(channel: Channel, user_id: &str, names: &Arc<Mutex<Names>>) -> Self {
        Self {
            whitelist: WhitelistServiceClient::new(channel.clone()),
            generic: GenericTokenServiceClient::new(channel.clone()),
            auth: AuthTokenServiceClient::new(channel.clone()),
            users: UserServiceClient::new(channel),
            user_id: user_id.to_owned(),
            names: Arc::clone(names),
            deadline: Duration::from_mins(1),
        }
    }

    /// Carries out a call.
    pub async fn call(&self, call: &Call) -> Outcome {
        match self.send(call).await {
            Ok(answer) => Outcome::Answered(answer),
            Err(status) => outcome_of(&status),
        }
    }

    /// Asks about several sessions at once. Answers the state of each, or what came of the whole.
    pub async fn check_sessions(&self, sessions: &[Session]) -> Vec<Outcome> {
        let questions = sessions
            .iter()
            .map(|session| p::SessionQuestion { user_id: self.user_id.clone(), session: name_of(*session) });
        let request = p::BatchCheckSessionsRequest { sessions: questions.collect() };
        match self.whitelist.clone().batch_check_sessions(self.request(request)).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let states =
                    answer.results.iter().map(|result| Outcome::Answered(Answer::State(result.state())));
                states.collect()
            }
            Err(status) => vec![outcome_of(&status); sessions.len()],
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }

    async fn send(&self, call: &Call) -> Result<Answer, Status> {
        match call {
            Call::Add { .. }
            | Call::Rotate { .. }
            | Call::CheckToken { .. }
            | Call::CheckSession { .. }
            | Call::GetSession { .. }
            | Call::ListSessions
            | Call::SetEnabled { .. }
            | Call::RevokeSession { .. }
            | Call::RevokeSessions { .. } => self.send_to_whitelist(call).await,
            Call::Issue { .. }
            | Call::Consume { .. }
            | Call::CheckSecret { .. }
            | Call::ListTokens { .. }
            | Call::RevokeTokens { .. } => self.send_to_generic(call).await,
            Call::CreateKey { .. }
            | Call::Authenticate { .. }
            | Call::GetKey { .. }
            | Call::ListKeys
            | Call::DeleteKey { .. } => self.send_to_auth(call).await,
            Call::CreateUser
            | Call::GetUser
            | Call::SetActive { .. }
            | Call::RevokeCredentials { .. }
            | Call::DeleteUser => self.send_to_users(call).await,
        }
    }

    async fn send_to_whitelist(&self, call: &Call) -> Result<Answer, Status> {
        let user_id = self.user_id.clone();
        let mut client = self.whitelist.clone();
        Ok(match *call {
            Call::Add { session, jti, enabled, strict, version } => {
                let request = p::AddRefreshTokenRequest {
                    user_id,
                    session: name_of(session),
                    jti: self.text(jti),
                    enabled: (!enabled).then_some(false),
                    rotation_grace: strict.then(prost_types::Duration::default),
                    credential_version: version.map(|version| self.text(version)),
                    ..Default::default()
                };
                Answer::Session(
                    self.session(client.add_refresh_token(self.request(request)).await?.into_inner().token),
                )
            }
            Call::Rotate { session, jti, new_jti } => {
                let request = p::RotateRefreshTokenRequest {
                    user_id,
                    session: name_of(session),
                    jti: self.text(jti),
                    new_jti: new_jti.map(|jti| self.text(jti)),
                    client: None,
                };
                let answer = client.rotate_refresh_token(self.request(request)).await?.into_inner();
                Answer::Rotated(answer.outcome(), self.session(answer.token))
            }
            Call::CheckToken { session, jti } => {
                let request =
                    p::CheckRefreshTokenRequest { user_id, session: name_of(session), jti: self.text(jti) };
                let answer = client.check_refresh_token(self.request(request)).await?.into_inner();
                Answer::Asked(answer.state(), answer.token.map(|token| self.session(Some(token))))
            }
            Call::CheckSession { session } => {
                let request = p::CheckSessionRequest { user_id, session: name_of(session) };
                Answer::State(client.check_session(self.request(request)).await?.into_inner().state())
            }
            Call::GetSession { session } => {
                let request = p::GetRefreshTokenRequest { user_id, session: name_of(session) };
                Answer::Session(
                    self.session(client.get_refresh_token(self.request(request)).await?.into_inner().token),
                )
            }
            Call::SetEnabled { session, enabled } => {
                let request = p::SetRefreshTokenEnabledRequest {
                    user_id,
                    session: name_of(session),
                    enabled: Some(enabled),
                };
                let answer = client.set_refresh_token_enabled(self.request(request)).await?;
                Answer::Session(self.session(answer.into_inner().token))
            }
            Call::RevokeSession { session, reason } => {
                let request =
                    p::RevokeSessionRequest { user_id, session: name_of(session), reason: reason.into() };
                Answer::Count(client.revoke_session(self.request(request)).await?.into_inner().revoked_count)
            }
            Call::RevokeSessions { except, reason } => {
                let request = p::RevokeUserSessionsRequest {
                    user_id,
                    except_session: except.map(name_of),
                    reason: reason.into(),
                };
                let answer = client.revoke_user_sessions(self.request(request)).await?;
                Answer::Count(answer.into_inner().revoked_count)
            }
            _ => {
                let request = p::ListRefreshTokensRequest { user_id, page_size: 500, ..Default::default() };
                let tokens = client.list_refresh_tokens(self.request(request)).await?.into_inner().tokens;
                let mut rows: Vec<_> = tokens
                    .into_iter()
                    .map(|token| (number_of(&token.session), self.session(Some(token))))
                    .collect();
                // Newest first by the clock, which callers at once can't know.
                rows.sort_unstable_by_key(|(number, _)| *number);
                Answer::Sessions(rows)
            }
        })
    }

    async fn send_to_generic(&self, call: &Call) -> Result<Answer, Status> {
        let user_id = self.user_id.clone();
        let mut client = self.generic.clone();
        Ok(match *call {
            Call::Issue { purpose, wanted, max_attempts, keep_existing, request } => {
                let own = if let Wanted::Own(value) = wanted { Some(self.value(value)) } else { None };
                let request = p::IssueGenericTokenRequest {
                    user_id,
                    purpose: purpose_of(purpose),
                    digits: (wanted == Wanted::Digits).then_some(6),
                    value: own,
                    max_attempts: wanted.is_code().then_some(i32::from(max_attempts)),
                    keep_existing,
                    request_id: request.map(|request| format!("request-{request}")),
                    ..Default::default()
                };
                let answer = client.issue_generic_token(self.request(request)).await?.into_inner();
                let which = match wanted {
                    Wanted::Own(value) if answer.value == self.value(value) => value.which,
                    _ => Which::Made(self.name(&answer.value)),
                };
                let value = Value { is_code: wanted.is_code(), which };
                Answer::Issued(self.token(answer.token), value)
            }
            Call::Consume { purpose, value, names_user, challenge, id } => {
                let request = p::ConsumeGenericTokenRequest {
                    purpose: purpose_of(purpose),
                    value: self.value(value),
                    user_id: names_user.then_some(user_id),
                    challenge: challenge.map(|challenge| self.text(challenge)),
                    consumption_id: id.map(|id| format!("consumption-{id}")),
                };
                let answer = client.consume_generic_token(self.request(request)).await?;
                Answer::Claimed(self.token(answer.into_inner().token))
            }
            Call::CheckSecret { purpose, value } => {
                let request = p::CheckGenericTokenRequest {
                    purpose: purpose_of(purpose),
                    value: self.value(value),
                    user_id: Some(user_id),
                };
                Answer::State(client.check_generic_token(self.request(request)).await?.into_inner().state())
            }
            Call::ListTokens { purpose } => {
                let request = p::ListGenericTokensRequest {
                    user_id,
                    purpose: Some(purpose_of(purpose)),
                    page_size: 500,
                    ..Default::default()
                };
                let tokens = client.list_generic_tokens(self.request(request)).await?.into_inner().tokens;
                Answer::Tokens(tokens.into_iter().map(|token| self.token(Some(token))).collect())
            }
            Call::RevokeTokens { purpose } => {
                let purposes = purpose.map(purpose_of).into_iter().collect();
                let request = p::RevokeGenericTokensRequest { user_id, purposes };
                let answer = client.revoke_generic_tokens(self.request(request)).await?;
                Answer::Count(answer.into_inner().revoked_count)
            }
            _ => unreachable!("not of this service"),
        })
    }

    async fn send_to_auth(&self, call: &Call) -> Result<Answer, Status> {
        let user_id = self.user_id.clone();
        let mut client = self.auth.clone();
        Ok(match *call {
            // Of the model that the server has.
            Call::CreateKey { name, replace, request, .. } => {
                let request = p::CreateAuthTokenRequest {
                    user_id,
                    replace,
                    name: format!("key-{name}"),
                    lifetime: None,
                    request_id: request.map(|request| format!("request-{request}")),
                };
                let answer = client.create_auth_token(self.request(request)).await?.into_inner();
                Answer::KeyMade(self.key(answer.auth_token), self.name(&answer.key))
            }
            Call::Authenticate { key } => {
                let request = p::AuthenticateAuthTokenRequest { key: self.text(key) };
                let answer = client.authenticate_auth_token(self.request(request)).await?.into_inner();
                if answer.state() != TokenState::Unknown && answer.user_id != user_id {
                    return Ok(Answer::Wrong(format!("the key is {}'s", answer.user_id)));
                }
                Answer::Authenticated(answer.state(), answer.auth_token.map(|token| self.key(Some(token))))
            }
            Call::GetKey { prefix } => {
                let request =
                    p::GetAuthTokenRequest { user_id, prefix: prefix.map(|prefix| self.text(prefix)) };
                Answer::Key(
                    self.key(client.get_auth_token(self.request(request)).await?.into_inner().auth_token),
                )
            }
            Call::DeleteKey { prefix } => {
                let request =
                    p::DeleteAuthTokenRequest { user_id, prefix: prefix.map(|prefix| self.text(prefix)) };
                let answer = client.delete_auth_token(self.request(request)).await?;
                Answer::Count(answer.into_inner().deleted_count)
            }
            _ => {
                let request = p::ListAuthTokensRequest { user_id, page_size: 500, ..Default::default() };
                let tokens = client.list_auth_tokens(self.request(request)).await?.into_inner().auth_tokens;
                Answer::Keys(tokens.into_iter().map(|token| self.key(Some(token))).collect())
            }
        })
    }

    async fn send_to_users(&self, call: &Call) -> Result<Answer, Status> {
        let user_id = self.user_id.clone();
        let mut client = self.users.clone();
        Ok(match *call {
            Call::CreateUser => {
                let request = p::CreateUserRequest { user_id };
                let (active, version) =
                    self.user(client.create_user(self.request(request)).await?.into_inner().user);
                Answer::User { active, version }
            }
            Call::GetUser => {
                let request = p::GetUserRequest { user_id };
                let answer = client.get_user(self.request(request)).await?.into_inner();
                self.counted(answer.user, answer.live)
            }
            Call::SetActive { active } => {
                let request = p::SetUserActiveRequest { user_id, active: Some(active) };
                let answer = client.set_user_active(self.request(request)).await?.into_inner();
                self.counted(answer.user, answer.revoked)
            }
            Call::RevokeCredentials { except, keep, keep_keys, request } => {
                let request = p::RevokeCredentialsRequest {
                    user_id,
                    except_session: except.map(name_of),
                    keep_purposes: keep.map(purpose_of).into_iter().collect(),
                    keep_auth_tokens: Some(keep_keys),
                    request_id: request.map(|request| format!("request-{request}")),
                };
                let answer = client.revoke_credentials(self.request(request)).await?.into_inner();
                self.counted(answer.user, answer.revoked)
            }
            _ => {
                let request = p::DeleteUserRequest { user_id };
                let answer = client.delete_user(self.request(request)).await?.into_inner();
                Answer::Deleted(counts(answer.deleted))
            }
        })
    }

    fn name(&self, text: &str) -> Name {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).of(text)
    }

    fn text(&self, name: Name) -> String {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).text(name).to_owned()
    }

    fn value(&self, value: Value) -> String {
        match value {
            Value { which: Which::Made(name), .. } => self.text(name),
            Value { is_code: true, which: Which::Own(n) } => format!("code-{n}"),
            // Somebody else's own secret must be another.
            Value { is_code: false, which: Which::Own(n) } => {
                format!("secret-{n}-of-user-{:0>9}", self.user_id)
            }
        }
    }

    fn session(&self, token: Option<p::RefreshToken>) -> SessionRow {
        let token = token.unwrap_or_default();
        SessionRow {
            jti: self.name(&token.jti),
            enabled: token.enabled,
            state: token.state(),
            rotations: token.rotations,
            graces: token.grace_count,
            reason: token.revocation_reason(),
        }
    }

    fn token(&self, token: Option<p::GenericToken>) -> TokenRow {
        let token = token.unwrap_or_default();
        TokenRow {
            challenge: self.name(&token.challenge),
            state: token.state(),
            attempts: token.attempts,
            max_attempts: token.max_attempts,
        }
    }

    fn key(&self, token: Option<p::AuthToken>) -> KeyRow {
        let token = token.unwrap_or_default();
        let name = token.name.strip_prefix("key-").and_then(|name| name.parse().ok());
        let model = if token.prefix.starts_with("trk_") { KeyModel::Prefixed } else { KeyModel::Drf };
        KeyRow {
            prefix: self.name(&token.prefix),
            model,
            name: name.unwrap_or(u8::MAX),
            state: token.state(),
        }
    }

    fn user(&self, user: Option<p::User>) -> (bool, Name) {
        let user = user.unwrap_or_default();
        (user.active, self.name(&user.credential_version))
    }

    fn counted(&self, user: Option<p::User>, told: Option<p::Counts>) -> Answer {
        let (active, version) = self.user(user);
        Answer::Counted { active, version, counts: counts(told) }
    }
}

fn counts(counts: Option<p::Counts>) -> Counts {
    let counts = counts.unwrap_or_default();
    Counts { sessions: counts.sessions, tokens: counts.generic_tokens, keys: counts.auth_tokens }
}

fn name_of(session: Session) -> String {
    format!("session-{session}")
}

fn number_of(session: &str) -> Session {
    session.trim_start_matches("session-").parse().unwrap_or(Session::MAX)
}

fn purpose_of(purpose: Purpose) -> String {
    format!("purpose-{purpose}")
}

/// What an error says of the call's effect.
fn outcome_of(status: &Status) -> Outcome {
    let Some(info) = status.get_details_error_info() else {
        return match status.code() {
            // A link that never was can't have carried the request.
            Code::Unavailable if status.message().contains("tcp connect error") => Outcome::NotApplied,
            // Said by the client's own library: the link broke, or the time was over.
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal | Code::DeadlineExceeded => {
                Outcome::Unknown
            }
            _ => Outcome::Answered(Answer::Wrong(format!("{:?}: {}", status.code(), status.message()))),
        };
    };
    let reason = ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason));
    match reason {
        Some(ErrorReason::DatabaseUnavailable | ErrorReason::Overloaded) => Outcome::NotApplied,
        Some(ErrorReason::OutcomeUnknown) => Outcome::Unknown,
        None | Some(ErrorReason::Internal | ErrorReason::Unspecified) => {
            Outcome::Answered(Answer::Wrong(format!("{}: {}", info.reason, status.message())))
        }
        Some(reason) => {
            let why = info.metadata.get("revocation_reason").map_or("UNSPECIFIED", String::as_str);
            let why = RevocationReason::from_str_name(&format!("REVOCATION_REASON_{why}"));
            Outcome::Answered(Answer::Refused(reason, why.unwrap_or_default()))
        }
    }
}
