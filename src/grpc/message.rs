//! The domain's types as messages, and messages as the domain's types.

use std::sync::Arc;
use std::time::SystemTime;

use prost_types::{Duration, Timestamp};

use crate::client_info::{self, ClientInfo, Device, parse_address};
use crate::proto;
use crate::registry::auth_token::{AuthToken, Key, Presented};
use crate::registry::session::{Life, RotationOutcome};
use crate::registry::{Counts, Fields, GenericToken, RevocationReason, Session, TokenState, User};
use crate::telemetry::Metrics;

/// Reads a client's user agent, if there is one, off the runtime's threads.
pub async fn device_in(client: Option<&proto::ClientInfo>, metrics: &Metrics) -> Option<Arc<Device>> {
    let reading = client_info::read(client?.user_agent.as_ref()?).await;
    metrics.user_agent(&reading);
    reading.device()
}

/// Reads a client, of which its user agent told [`device_in`].
pub fn client_in(fields: &mut Fields, client: proto::ClientInfo, device: Option<&Device>) -> ClientInfo {
    let ip = client.ip.and_then(|ip| fields.take("client.ip", parse_address(&ip)));
    let told = ClientInfo {
        ip,
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
    };
    match device {
        Some(device) => told.filled_from(device),
        None => told,
    }
    .normalised()
}

fn client_out(client: ClientInfo) -> proto::ClientInfo {
    proto::ClientInfo {
        ip: client.ip.map(|ip| ip.to_string()),
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
        user_agent: None,
    }
}

/// Reads a state that a list is filtered by; unspecified: none.
pub fn state_filter_in(fields: &mut Fields, field: &str, number: i32) -> Option<TokenState> {
    use proto::TokenState as P;
    let Ok(state) = P::try_from(number) else {
        fields.refuse(field, "is not a state that this server knows");
        return None;
    };
    Some(match state {
        P::Unspecified => return None,
        P::Active => TokenState::Active,
        P::Disabled => TokenState::Disabled,
        P::UserInactive => TokenState::UserInactive,
        P::Expired => TokenState::Expired,
        P::Revoked => TokenState::Revoked,
        P::Superseded => TokenState::Superseded,
        P::Consumed => TokenState::Consumed,
        P::AttemptsExhausted => TokenState::AttemptsExhausted,
        P::Unknown => TokenState::Unknown,
    })
}

/// A state as its number.
pub fn state_out(state: TokenState) -> i32 {
    use proto::TokenState as P;
    let state = match state {
        TokenState::Active => P::Active,
        TokenState::Disabled => P::Disabled,
        TokenState::UserInactive => P::UserInactive,
        TokenState::Expired => P::Expired,
        TokenState::Revoked => P::Revoked,
        TokenState::Superseded => P::Superseded,
        TokenState::Consumed => P::Consumed,
        TokenState::AttemptsExhausted => P::AttemptsExhausted,
        TokenState::Unknown => P::Unknown,
    };
    state.into()
}

/// A state's name, for the log.
pub fn state_name(state: TokenState) -> &'static str {
    match state {
        TokenState::Active => "ACTIVE",
        TokenState::Disabled => "DISABLED",
        TokenState::UserInactive => "USER_INACTIVE",
        TokenState::Expired => "EXPIRED",
        TokenState::Revoked => "REVOKED",
        TokenState::Superseded => "SUPERSEDED",
        TokenState::Consumed => "CONSUMED",
        TokenState::AttemptsExhausted => "ATTEMPTS_EXHAUSTED",
        TokenState::Unknown => "UNKNOWN",
    }
}

/// Reads why a caller revokes.
pub fn reason_in(fields: &mut Fields, field: &str, number: i32) -> RevocationReason {
    match RevocationReason::from_number(number) {
        None => fields.refuse(field, "is not a reason that this server knows"),
        Some(reason) if reason.is_the_registrys_own() => {
            fields.refuse(field, "must not be REPLAY or SESSION_LIMIT: those are the registry's own");
        }
        Some(reason) => return reason,
    }
    RevocationReason::Unspecified
}

/// How a rotation was answered, as its number and its name.
pub fn outcome_out(outcome: RotationOutcome) -> (i32, &'static str) {
    use proto::RotationOutcome as P;
    let (outcome, name) = match outcome {
        RotationOutcome::Rotated => (P::Rotated, "ROTATED"),
        RotationOutcome::Retried => (P::Retried, "RETRIED"),
        RotationOutcome::Grace => (P::Grace, "GRACE"),
    };
    (outcome.into(), name)
}

/// A protobuf duration's parts.
pub fn parts(duration: Option<Duration>) -> Option<(i64, i32)> {
    duration.map(|duration| (duration.seconds, duration.nanos))
}

#[expect(clippy::unnecessary_wraps, reason = "fields that are messages are optional in protobuf")]
fn time(time: SystemTime) -> Option<Timestamp> {
    Some(Timestamp::from(time))
}

/// A session.
pub fn session_out(session: Session) -> proto::RefreshToken {
    let state = session.life.state();
    session_in_state(session, state)
}

/// A session, with the state of the jti that was asked about.
pub fn session_in_state(session: Session, state: TokenState) -> proto::RefreshToken {
    let (revoked, reason) = session.revocation.unzip();
    proto::RefreshToken {
        base: Some(proto::BaseToken {
            id: session.id,
            created: time(session.created),
            client: Some(client_out(session.client)),
        }),
        user_id: session.user_id,
        jti: session.jti,
        enabled: session.life.enabled,
        session: session.session,
        state: state_out(state),
        session_created: time(session.session_created),
        session_expires: time(session.life.session_expires),
        idle_expires: time(session.life.idle_expires),
        rotations: session.rotations,
        grace_count: session.grace_count,
        revoked: revoked.and_then(time),
        revocation_reason: i32::from(reason.unwrap_or_default().number()),
    }
}

/// What a check answers: the state, and when the session ends.
pub fn life_out(life: Option<&Life>) -> (TokenState, Option<Timestamp>) {
    match life {
        None => (TokenState::Unknown, None),
        Some(life) => (life.state(), time(life.session_expires)),
    }
}

/// A one-time token.
pub fn generic_token_out(token: GenericToken) -> proto::GenericToken {
    let state = state_out(token.state());
    proto::GenericToken {
        base: Some(proto::BaseToken {
            id: token.id,
            created: time(token.created),
            client: Some(client_out(token.client)),
        }),
        user_id: token.user_id,
        purpose: token.purpose,
        state,
        expires: time(token.expires),
        attempts: token.attempts,
        max_attempts: token.max_attempts,
        consumed: token.consumption.and_then(|(at, _)| time(at)),
        challenge: token.challenge,
    }
}

/// A user.
pub fn user_out(user: User) -> proto::User {
    proto::User {
        user_id: user.user_id,
        active: user.active,
        credential_version: user.credential_version.to_string(),
        created: time(user.created),
    }
}

/// An API key.
pub fn auth_token_out(token: AuthToken) -> proto::AuthToken {
    proto::AuthToken {
        user_id: token.user_id,
        created: time(token.created),
        name: token.name,
        prefix: token.prefix,
        expires: token.life.expires.and_then(time),
        last_used: token.last_used.and_then(time),
        state: state_out(token.life.state()),
    }
}

/// A key that was presented, with what is known of it.
pub fn presented_out(key: &Key, presented: Presented) -> proto::AuthenticateAuthTokenResponse {
    let state = state_out(presented.life.state());
    let auth_token = proto::AuthToken {
        user_id: presented.user_id.clone(),
        created: time(presented.created),
        name: presented.name,
        prefix: key.prefix().to_owned(),
        expires: presented.life.expires.and_then(time),
        last_used: presented.last_used.and_then(time),
        state,
    };
    proto::AuthenticateAuthTokenResponse { state, user_id: presented.user_id, auth_token: Some(auth_token) }
}

/// Counts.
pub fn counts_out(counts: Counts) -> proto::Counts {
    proto::Counts {
        sessions: counts.sessions,
        generic_tokens: counts.generic_tokens,
        auth_tokens: counts.auth_tokens,
    }
}
