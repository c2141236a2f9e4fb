//! `AuthTokenService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::acts::{Act, auth_tokens};
use super::answer::{command, named, question};
use super::message::{auth_token_out, parts, presented_out, state_name, state_out};
use super::{Registry, page_token_in, read, status};
use crate::config::AuthTokenModel;
use crate::proto::auth_token_service_server::AuthTokenService;
use crate::proto::{
    AuthenticateAuthTokenRequest, AuthenticateAuthTokenResponse, CreateAuthTokenRequest,
    CreateAuthTokenResponse, DeleteAuthTokenRequest, DeleteAuthTokenResponse, GetAuthTokenRequest,
    GetAuthTokenResponse, ListAuthTokensRequest, ListAuthTokensResponse,
};
use crate::registry::auth_token::{Creation, Key, LIFETIME_MAX};
use crate::registry::fields::Zero;
use crate::registry::{Counts, Fields, KeyPrefix, RevocationReason, TokenState, UserId, page};

impl Registry {
    /// Reads which key is meant: where a user has several, that must be said.
    fn key_in(&self, f: &mut Fields, user_id: String, prefix: Option<String>) -> (UserId, Option<KeyPrefix>) {
        if prefix.is_none() && self.store.limits().auth_token_model == AuthTokenModel::Prefixed {
            f.refuse("prefix", "must be set: a user may have several keys");
        }
        (f.user_id("user_id", user_id), f.optional_key_prefix("prefix", prefix))
    }
}

#[tonic::async_trait]
impl AuthTokenService for Registry {
    async fn create_auth_token(
        &self,
        request: Request<CreateAuthTokenRequest>,
    ) -> Result<Response<CreateAuthTokenResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let creation = read(|f| Creation {
            user_id: f.user_id("user_id", r.user_id),
            // Empty is how a caller says that it has no name.
            name: f.optional_key_name("name", Some(r.name).filter(|name| !name.is_empty())),
            lifetime: f
                .duration("lifetime", parts(r.lifetime), Zero::Refused)
                .map(|lifetime| lifetime.min(LIFETIME_MAX)),
            replace: r.replace,
            request_id: f.optional_request_id("request_id", r.request_id),
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.default_deadline, |call| async move {
            let created = store.create_auth_token(&call, &creation).await;
            let act = Act::on("CreateAuthToken", creation.user_id.as_str());
            acts.record(act, created.as_ref().map(|_| Counts::default()));
            let (token, key) = created?;
            Ok(CreateAuthTokenResponse { auth_token: Some(auth_token_out(token)), key: key.into_text() })
        })
        .await
    }

    async fn authenticate_auth_token(
        &self,
        request: Request<AuthenticateAuthTokenRequest>,
    ) -> Result<Response<AuthenticateAuthTokenResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let text = read(|f| f.value("key", r.key))?;
        let unknown =
            || AuthenticateAuthTokenResponse { state: state_out(TokenState::Unknown), ..Default::default() };
        // What can't be a key isn't looked for.
        let Some(key) = Key::parse(&text) else {
            return Ok(named(Response::new(unknown()), state_name(TokenState::Unknown)));
        };
        let found = question(&metadata, self.default_deadline, |call| async {
            let call = call;
            self.store.authenticate(&call, &key).await
        })
        .await?;
        let state = found.get_ref().as_ref().map_or(TokenState::Unknown, |found| found.life.state());
        let response = found.map(|found| found.map_or_else(unknown, |found| presented_out(&key, found)));
        Ok(named(response, state_name(state)))
    }

    async fn get_auth_token(
        &self,
        request: Request<GetAuthTokenRequest>,
    ) -> Result<Response<GetAuthTokenResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let (user_id, prefix) = read(|f| self.key_in(f, r.user_id, r.prefix))?;
        question(&metadata, self.default_deadline, |call| async move {
            let token = self.store.auth_token(&call, &user_id, prefix.as_ref()).await?;
            Ok(GetAuthTokenResponse { auth_token: Some(auth_token_out(token)) })
        })
        .await
    }

    async fn list_auth_tokens(
        &self,
        request: Request<ListAuthTokensRequest>,
    ) -> Result<Response<ListAuthTokensResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let sealed_for = r.user_id.clone();
        let query = ["ListAuthTokens", sealed_for.as_str()];
        let keys = self.store.keys().map_err(status::of)?;
        let (user_id, page_size, after) = read(|f| {
            (
                f.user_id("user_id", r.user_id),
                f.page_size("page_size", r.page_size),
                page_token_in(f, &r.page_token, |token| page::open_id(keys, &query, token)),
            )
        })?;
        question(&metadata, self.default_deadline, |call| async move {
            let mut tokens = self.store.list_auth_tokens(&call, &user_id, after, page_size).await?;
            let has_more = tokens.len() > page_size;
            tokens.truncate(page_size);
            let last = tokens.last().filter(|_| has_more).map(|token| token.id);
            Ok(ListAuthTokensResponse {
                auth_tokens: tokens.into_iter().map(auth_token_out).collect(),
                next_page_token: last.map_or_else(String::new, |id| page::seal_id(keys, &query, id)),
            })
        })
        .await
    }

    async fn delete_auth_token(
        &self,
        request: Request<DeleteAuthTokenRequest>,
    ) -> Result<Response<DeleteAuthTokenResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let (user_id, prefix) = read(|f| self.key_in(f, r.user_id, r.prefix))?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.default_deadline, |call| async move {
            let deleted = store.delete_auth_token(&call, &user_id, prefix.as_ref()).await;
            let act = Act::on("DeleteAuthToken", user_id.as_str()).because(RevocationReason::Unspecified);
            acts.record(act, deleted.as_ref().map(|count| auth_tokens(*count)));
            let deleted_count = deleted?;
            Ok(DeleteAuthTokenResponse { deleted_count })
        })
        .await
    }
}
