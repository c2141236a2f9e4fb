//! Words for one-time tokens, shared by the tests of secrets, of codes and of users.

use prost_types::Duration;
use token_registry::proto::{
    CheckGenericTokenRequest, CheckGenericTokenResponse, ConsumeGenericTokenRequest, GenericToken,
    IssueGenericTokenRequest, ListGenericTokensRequest, ListGenericTokensResponse,
    RevokeGenericTokensRequest, TokenState,
};
use tonic::{Response, Status};

use super::Registry;

/// A request for a random secret.
pub fn secret(user_id: &str, purpose: &str) -> IssueGenericTokenRequest {
    IssueGenericTokenRequest { user_id: user_id.into(), purpose: purpose.into(), ..Default::default() }
}

/// A request for a random code.
pub fn digits(user_id: &str, purpose: &str, digits: i32) -> IssueGenericTokenRequest {
    IssueGenericTokenRequest { digits: Some(digits), ..secret(user_id, purpose) }
}

/// A request for the caller's own value. Under 22 characters it is a code, and one that a test knows the wrong
/// guesses of.
pub fn own(user_id: &str, purpose: &str, value: &str) -> IssueGenericTokenRequest {
    IssueGenericTokenRequest { value: Some(value.into()), ..secret(user_id, purpose) }
}

/// Carries out an issue; answers the token and its value.
pub async fn issue(
    registry: &Registry,
    request: IssueGenericTokenRequest,
) -> Result<(GenericToken, String), Status> {
    let issued = registry.generic.clone().issue_generic_token(request).await?.into_inner();
    Ok((issued.token.expect("a token"), issued.value))
}

/// A request that presents a value without saying whose it is.
pub fn presented(purpose: &str, value: &str) -> ConsumeGenericTokenRequest {
    ConsumeGenericTokenRequest { purpose: purpose.into(), value: value.into(), ..Default::default() }
}

/// A request that presents a user's value.
pub fn of_user(user_id: &str, purpose: &str, value: &str) -> ConsumeGenericTokenRequest {
    ConsumeGenericTokenRequest { user_id: Some(user_id.into()), ..presented(purpose, value) }
}

/// A guess at one code among several.
pub fn at(token: &GenericToken, value: &str) -> ConsumeGenericTokenRequest {
    ConsumeGenericTokenRequest {
        challenge: Some(token.challenge.clone()),
        ..of_user(&token.user_id, &token.purpose, value)
    }
}

/// The same request, safe to retry.
pub fn with_id(consumption_id: &str, request: ConsumeGenericTokenRequest) -> ConsumeGenericTokenRequest {
    ConsumeGenericTokenRequest { consumption_id: Some(consumption_id.into()), ..request }
}

/// Carries out a claim.
pub async fn consume(
    registry: &Registry,
    request: ConsumeGenericTokenRequest,
) -> Result<GenericToken, Status> {
    let consumed = registry.generic.clone().consume_generic_token(request).await?.into_inner();
    Ok(consumed.token.expect("a token"))
}

/// Asks about a secret.
pub async fn check(
    registry: &Registry,
    purpose: &str,
    value: &str,
    user_id: Option<&str>,
) -> Result<CheckGenericTokenResponse, Status> {
    let request = CheckGenericTokenRequest {
        purpose: purpose.into(),
        value: value.into(),
        user_id: user_id.map(Into::into),
    };
    registry.generic.clone().check_generic_token(request).await.map(Response::into_inner)
}

/// The state of a secret.
pub async fn state(registry: &Registry, purpose: &str, value: &str) -> TokenState {
    check(registry, purpose, value, None).await.expect("a question is answered").state()
}

/// A page of a user's one-time tokens.
pub async fn list_page(
    registry: &Registry,
    request: ListGenericTokensRequest,
) -> Result<ListGenericTokensResponse, Status> {
    registry.generic.clone().list_generic_tokens(request).await.map(Response::into_inner)
}

/// A user's one-time tokens, newest first.
pub async fn list(registry: &Registry, user_id: &str) -> Vec<GenericToken> {
    let request = ListGenericTokensRequest { user_id: user_id.into(), ..Default::default() };
    list_page(registry, request).await.expect("a list").tokens
}

/// Ends a user's one-time tokens; answers how many.
pub async fn revoke(registry: &Registry, user_id: &str, purposes: &[&str]) -> Result<i64, Status> {
    let request = RevokeGenericTokensRequest {
        user_id: user_id.into(),
        purposes: purposes.iter().map(|&purpose| purpose.into()).collect(),
    };
    let revoked = registry.generic.clone().revoke_generic_tokens(request).await?;
    Ok(revoked.into_inner().revoked_count)
}

/// Wrong guesses charged to the window of a user and purpose; `None` without a row.
pub async fn window_attempts(registry: &Registry, user_id: &str, purpose: &str) -> Option<i32> {
    registry
        .sql()
        .await
        .query_opt(
            "select attempts from generic_state where user_id = $1 and purpose = $2",
            &[&user_id, &purpose],
        )
        .await
        .expect("the table is there")
        .map(|row| row.get(0))
}

/// Lets all one-time tokens that there are now expire.
pub async fn let_expire(registry: &Registry) {
    let sql =
        "update generic_tokens set created = created - interval '1 year', expires = now() - interval '1 ms'";
    registry.sql().await.execute(sql, &[]).await.expect("an update");
}

/// A duration of whole seconds, as protobuf has it.
#[expect(clippy::unnecessary_wraps, reason = "the messages' fields are optional")]
pub fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

/// How many seconds a token is good, as issued.
pub fn lifetime(token: &GenericToken) -> i64 {
    let created = token.base.as_ref().and_then(|base| base.created).expect("a time of issue");
    let expires = token.expires.expect("an expiry");
    let nanos = i64::from(expires.nanos) - i64::from(created.nanos);
    assert_eq!(nanos % 1_000_000_000, 0, "whole seconds were asked for");
    expires.seconds - created.seconds + nanos / 1_000_000_000
}
