//! Words for API keys.

use token_registry::config::{AuthTokenModel, Config};
use token_registry::proto::{
    AuthToken, AuthenticateAuthTokenRequest, AuthenticateAuthTokenResponse, CreateAuthTokenRequest,
    DeleteAuthTokenRequest, GetAuthTokenRequest, ListAuthTokensRequest, TokenState,
};
use tonic::Status;

use super::Registry;

/// Has the registry make keys of the model `prefixed`.
pub fn prefixed(config: &mut Config) {
    config.auth_tokens.model = AuthTokenModel::Prefixed;
}

/// A request for a key without anything special.
pub fn wanted(user_id: &str) -> CreateAuthTokenRequest {
    CreateAuthTokenRequest { user_id: user_id.into(), ..Default::default() }
}

/// A request for a key with this name.
pub fn named(user_id: &str, name: &str) -> CreateAuthTokenRequest {
    CreateAuthTokenRequest { name: name.into(), ..wanted(user_id) }
}

/// Makes a key; answers what is known of it, and the key.
pub async fn create(
    registry: &Registry,
    request: CreateAuthTokenRequest,
) -> Result<(AuthToken, String), Status> {
    let created = registry.auth.clone().create_auth_token(request).await?.into_inner();
    Ok((created.auth_token.expect("what is known of it"), created.key))
}

/// Asks about a key.
pub async fn authenticate(registry: &Registry, key: &str) -> AuthenticateAuthTokenResponse {
    let request = AuthenticateAuthTokenRequest { key: key.into() };
    registry.auth.clone().authenticate_auth_token(request).await.expect("a question is answered").into_inner()
}

/// A key's state.
pub async fn state(registry: &Registry, key: &str) -> TokenState {
    authenticate(registry, key).await.state()
}

/// Reads what is known of a key.
pub async fn get(registry: &Registry, user_id: &str, prefix: Option<&str>) -> Result<AuthToken, Status> {
    let request = GetAuthTokenRequest { user_id: user_id.into(), prefix: prefix.map(str::to_owned) };
    let got = registry.auth.clone().get_auth_token(request).await?;
    Ok(got.into_inner().auth_token.expect("what is known of it"))
}

/// All keys of a user, in pages of this size.
pub async fn list(registry: &Registry, user_id: &str, page_size: i32) -> Vec<AuthToken> {
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListAuthTokensRequest { user_id: user_id.into(), page_size, page_token };
        let page = registry.auth.clone().list_auth_tokens(request).await.expect("a page").into_inner();
        listed.extend(page.auth_tokens);
        if page.next_page_token.is_empty() {
            return listed;
        }
        page_token = page.next_page_token;
    }
}

/// Removes a key; answers how many were.
pub async fn delete(registry: &Registry, user_id: &str, prefix: Option<&str>) -> Result<i64, Status> {
    let request = DeleteAuthTokenRequest { user_id: user_id.into(), prefix: prefix.map(str::to_owned) };
    Ok(registry.auth.clone().delete_auth_token(request).await?.into_inner().deleted_count)
}
