//! Sessions as their rows: read whole, and made older, since tests don't wait for clocks.

use serde_json::Value;
use token_registry::proto::{
    AddRefreshTokenRequest, RefreshToken, RevocationReason, RotateRefreshTokenRequest,
};
use tokio_postgres::Client;
use tonic::Status;
use tonic_types::StatusExt as _;

use super::Registry;

/// A look past the server, at the rows themselves.
pub struct Rows(Client);

impl Rows {
    /// The rows of a registry.
    pub async fn of(registry: &Registry) -> Self {
        Self(registry.sql().await)
    }

    /// Every column of a session's row, and `xmin` and `ctid`, which change with every write even of equal values.
    pub async fn row(&self, user_id: &str, session: &str) -> Value {
        let sql = "select (to_jsonb(s) || jsonb_build_object('xmin', s.xmin::text, 'ctid', s.ctid::text))::text \
                   from sessions s where user_id = $1 and session = $2";
        let row = self.0.query_one(sql, &[&user_id, &session]).await.expect("the session's row");
        serde_json::from_str(row.get(0)).expect("JSON")
    }

    /// A column or expression of a session's row, as text.
    pub async fn value(&self, user_id: &str, session: &str, expression: &str) -> String {
        let sql = format!("select ({expression})::text from sessions where user_id = $1 and session = $2");
        self.0.query_one(&sql, &[&user_id, &session]).await.expect("the session's row").get(0)
    }

    /// Writes to a session's row what only time would: `assignment` is SQL.
    pub async fn set(&self, user_id: &str, session: &str, assignment: &str) {
        let sql = format!("update sessions set {assignment} where user_id = $1 and session = $2");
        assert_eq!(self.0.execute(&sql, &[&user_id, &session]).await.expect("a write"), 1);
    }

    /// Makes the last rotation one of so long ago.
    pub async fn rotated_ago(&self, user_id: &str, session: &str, ago: &str) {
        self.set(user_id, session, &format!("created = clock_timestamp() - interval '{ago}'")).await;
    }

    /// Ends a session's absolute lifetime just now.
    pub async fn expire(&self, user_id: &str, session: &str) {
        self.set(user_id, session, "session_expires = clock_timestamp(), idle_expires = clock_timestamp()")
            .await;
    }

    /// Ends the time that a session may live without a rotation just now, and not its absolute lifetime.
    pub async fn idle_out(&self, user_id: &str, session: &str) {
        self.set(user_id, session, "idle_expires = clock_timestamp()").await;
    }

    /// How many rows a table has.
    pub async fn count(&self, table: &str) -> i64 {
        self.0.query_one(&format!("select count(*) from {table}"), &[]).await.expect("a count").get(0)
    }
}

/// A request to open a session, everything else default.
pub fn opening(user_id: &str, session: &str, jti: &str) -> AddRefreshTokenRequest {
    AddRefreshTokenRequest {
        user_id: user_id.into(),
        session: session.into(),
        jti: jti.into(),
        ..Default::default()
    }
}

/// A request to rotate without a successor of the caller's own.
pub fn rotation(user_id: &str, session: &str, jti: &str) -> RotateRefreshTokenRequest {
    RotateRefreshTokenRequest {
        user_id: user_id.into(),
        session: session.into(),
        jti: jti.into(),
        ..Default::default()
    }
}

/// A duration of whole seconds, as a field.
#[expect(clippy::unnecessary_wraps, reason = "a message's field is optional")]
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// The reason of a revocation that a refusal carries.
pub fn revocation_reason(status: &Status) -> String {
    let info = status.get_details_error_info().expect("ErrorInfo");
    info.metadata.get("revocation_reason").expect("a revocation_reason").clone()
}

/// Asserts that a session is revoked for this reason.
#[track_caller]
pub fn assert_revoked(token: &RefreshToken, reason: RevocationReason) {
    assert_eq!(token.revocation_reason(), reason, "{token:?}");
    assert!(token.revoked.is_some(), "{token:?}");
}

/// Switches a session.
pub async fn enable(
    registry: &Registry,
    user_id: &str,
    session: &str,
    enabled: bool,
) -> Result<RefreshToken, Status> {
    let request = token_registry::proto::SetRefreshTokenEnabledRequest {
        user_id: user_id.into(),
        session: session.into(),
        enabled: Some(enabled),
    };
    let answer = registry.whitelist.clone().set_refresh_token_enabled(request).await?;
    Ok(answer.into_inner().token.expect("a token"))
}

/// Suspends or reinstates a user.
pub async fn set_active(registry: &Registry, user_id: &str, active: bool) {
    let request =
        token_registry::proto::SetUserActiveRequest { user_id: user_id.into(), active: Some(active) };
    registry.users.clone().set_user_active(request).await.expect("a user");
}
