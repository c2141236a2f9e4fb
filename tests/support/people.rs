//! Words for users.

use token_registry::proto::{
    AddRefreshTokenRequest, Counts, CreateUserRequest, DeleteUserRequest, GetUserRequest,
    RevokeCredentialsRequest, RevokeCredentialsResponse, SetUserActiveRequest, SetUserActiveResponse, User,
};
use tonic::{Response, Status};

use super::Registry;

/// Makes a user known.
pub async fn create(registry: &Registry, user_id: &str) -> Result<User, Status> {
    let request = CreateUserRequest { user_id: user_id.into() };
    let created = registry.users.clone().create_user(request).await?;
    Ok(created.into_inner().user.expect("a user"))
}

/// Reads a user and what is live of theirs.
pub async fn get(registry: &Registry, user_id: &str) -> Result<(User, Counts), Status> {
    let got = registry.users.clone().get_user(GetUserRequest { user_id: user_id.into() }).await?.into_inner();
    Ok((got.user.expect("a user"), got.live.expect("counts")))
}

/// A user's credential version.
pub async fn version(registry: &Registry, user_id: &str) -> String {
    get(registry, user_id).await.expect("the user is known").0.credential_version
}

/// Suspends or reinstates a user, or says neither.
pub async fn set_active(
    registry: &Registry,
    user_id: &str,
    active: Option<bool>,
) -> Result<(User, Counts), Status> {
    let request = SetUserActiveRequest { user_id: user_id.into(), active };
    let set: SetUserActiveResponse = registry.users.clone().set_user_active(request).await?.into_inner();
    Ok((set.user.expect("a user"), set.revoked.expect("counts")))
}

/// A password change that keeps nothing.
pub fn change(user_id: &str) -> RevokeCredentialsRequest {
    RevokeCredentialsRequest { user_id: user_id.into(), keep_auth_tokens: Some(false), ..Default::default() }
}

/// Carries out a password change.
pub async fn revoke_credentials(
    registry: &Registry,
    request: RevokeCredentialsRequest,
) -> Result<(User, Counts), Status> {
    let revoked: RevokeCredentialsResponse =
        registry.users.clone().revoke_credentials(request).await.map(Response::into_inner)?;
    Ok((revoked.user.expect("a user"), revoked.revoked.expect("counts")))
}

/// Removes a user.
pub async fn delete(registry: &Registry, user_id: &str) -> Result<Counts, Status> {
    let request = DeleteUserRequest { user_id: user_id.into() };
    Ok(registry.users.clone().delete_user(request).await?.into_inner().deleted.expect("counts"))
}

/// A login that was judged by this version of the user's credentials.
pub fn login(user_id: &str, session: &str, credential_version: &str) -> AddRefreshTokenRequest {
    AddRefreshTokenRequest {
        user_id: user_id.into(),
        session: session.into(),
        jti: "one".into(),
        credential_version: Some(credential_version.into()),
        ..Default::default()
    }
}

/// Counts of sessions and one-time tokens.
pub fn counts(sessions: i64, generic_tokens: i64) -> Counts {
    Counts { sessions, generic_tokens, auth_tokens: 0 }
}
