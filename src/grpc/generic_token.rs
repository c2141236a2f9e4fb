//! `GenericTokenService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::acts::{Act, generic_tokens};
use super::answer::{command, named, question};
use super::message::{client_in, device_in, generic_token_out, parts, state_name, state_out};
use super::{Registry, page_token_in, read, status};
use crate::proto::generic_token_service_server::GenericTokenService;
use crate::proto::{
    CheckGenericTokenRequest, CheckGenericTokenResponse, ConsumeGenericTokenRequest,
    ConsumeGenericTokenResponse, IssueGenericTokenRequest, IssueGenericTokenResponse,
    ListGenericTokensRequest, ListGenericTokensResponse, RevokeGenericTokensRequest,
    RevokeGenericTokensResponse,
};
use crate::registry::fields::Zero;
use crate::registry::generic_token::{Consumption, GenericToken, Issue, Wanted};
use crate::registry::secrets::{CODE_DIGITS, is_code};
use crate::registry::{Fields, RevocationReason, TokenState, page};

/// Reads what the value shall be.
fn wanted_in(f: &mut Fields, digits: Option<i32>, value: Option<String>) -> Wanted {
    let digits = digits.map(|digits| {
        if let Ok(digits) = u32::try_from(digits)
            && CODE_DIGITS.contains(&digits)
        {
            digits
        } else {
            f.refuse("digits", "must be 6 to 10");
            *CODE_DIGITS.start()
        }
    });
    match (digits, value) {
        (Some(_), Some(_)) => {
            f.refuse("digits", "must not be set together with value");
            f.refuse("value", "must not be set together with digits");
            Wanted::Secret
        }
        (Some(digits), None) => Wanted::Digits(digits),
        (None, Some(value)) => Wanted::Own(f.value("value", value)),
        (None, None) => Wanted::Secret,
    }
}

#[tonic::async_trait]
impl GenericTokenService for Registry {
    async fn issue_generic_token(
        &self,
        request: Request<IssueGenericTokenRequest>,
    ) -> Result<Response<IssueGenericTokenResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let device = device_in(r.client.as_ref(), &self.metrics).await;
        let issue = read(|f| {
            let wanted = wanted_in(f, r.digits, r.value);
            let is_code = wanted.kind().is_code();
            let purpose = f.purpose("purpose", r.purpose);
            let policy = self.store.limits().policy(&purpose);
            let lifetime = f.duration("lifetime", parts(r.lifetime), Zero::Refused);
            let max_attempts = r.max_attempts.map(|asked| match u32::try_from(asked) {
                Ok(asked) if asked > 0 => asked,
                _ => {
                    f.refuse("max_attempts", "must be at least 1");
                    1
                }
            });
            if max_attempts.is_some() && !is_code {
                f.refuse("max_attempts", "is for codes only: a long value has no attempts");
            }
            let attempts = max_attempts.unwrap_or(policy.max_attempts).min(policy.max_attempts_cap);
            Issue {
                user_id: f.user_id("user_id", r.user_id),
                lifetime: lifetime.unwrap_or(policy.lifetime).min(policy.max_lifetime),
                purpose,
                wanted,
                max_attempts: if is_code { attempts } else { 0 },
                keep_existing: r.keep_existing,
                client: client_in(f, r.client.unwrap_or_default(), device.as_deref()),
                request_id: f.optional_request_id("request_id", r.request_id),
            }
        })?;
        let store = Arc::clone(&self.store);
        command(&metadata, self.default_deadline, |call| async move {
            let (token, value) = store.issue_generic_token(&call, issue).await?;
            Ok(IssueGenericTokenResponse { token: Some(generic_token_out(token)), value })
        })
        .await
    }

    async fn consume_generic_token(
        &self,
        request: Request<ConsumeGenericTokenRequest>,
    ) -> Result<Response<ConsumeGenericTokenResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let consumption = read(|f| {
            if !r.value.is_empty() && r.user_id.is_none() && is_code(&r.value) {
                f.refuse("user_id", "must be set: a value under 22 characters is a code");
            }
            Consumption {
                purpose: f.purpose("purpose", r.purpose),
                value: f.value("value", r.value),
                user_id: f.optional_user_id("user_id", r.user_id),
                challenge: f.optional_challenge("challenge", r.challenge),
                consumption_id: f.optional_consumption_id("consumption_id", r.consumption_id),
            }
        })?;
        let store = Arc::clone(&self.store);
        command(&metadata, self.default_deadline, |call| async move {
            let token = store.consume_generic_token(&call, consumption).await?;
            Ok(ConsumeGenericTokenResponse { token: Some(generic_token_out(token)) })
        })
        .await
    }

    async fn check_generic_token(
        &self,
        request: Request<CheckGenericTokenRequest>,
    ) -> Result<Response<CheckGenericTokenResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let (purpose, value, user_id) = read(|f| {
            if !r.value.is_empty() && is_code(&r.value) {
                f.refuse("value", "is a code (under 22 characters): codes can't be checked, only consumed");
            }
            (
                f.purpose("purpose", r.purpose),
                f.value("value", r.value),
                f.optional_user_id("user_id", r.user_id),
            )
        })?;
        let found = question(&metadata, self.default_deadline, |call| async move {
            self.store.find_secret(&call, &purpose, &value, user_id.as_ref()).await
        })
        .await?;
        let state = found.get_ref().as_ref().map_or(TokenState::Unknown, GenericToken::state);
        let response = found.map(|token| CheckGenericTokenResponse {
            state: state_out(state),
            token: token.map(generic_token_out),
        });
        Ok(named(response, state_name(state)))
    }

    async fn list_generic_tokens(
        &self,
        request: Request<ListGenericTokensRequest>,
    ) -> Result<Response<ListGenericTokensResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let (sealed_for, filter) = (r.user_id.clone(), r.purpose.clone().unwrap_or_default());
        let query = ["ListGenericTokens", sealed_for.as_str(), filter.as_str()];
        let keys = self.store.keys().map_err(status::of)?;
        let (user_id, purpose, page_size, after) = read(|f| {
            (
                f.user_id("user_id", r.user_id),
                f.optional_purpose("purpose", r.purpose),
                f.page_size("page_size", r.page_size),
                page_token_in(f, &r.page_token, |token| page::open_id(keys, &query, token)),
            )
        })?;
        question(&metadata, self.default_deadline, |call| async move {
            let mut tokens =
                self.store.list_generic_tokens(&call, &user_id, purpose.as_ref(), after, page_size).await?;
            let has_more = tokens.len() > page_size;
            tokens.truncate(page_size);
            let last = tokens.last().filter(|_| has_more).map(|token| token.id);
            Ok(ListGenericTokensResponse {
                tokens: tokens.into_iter().map(generic_token_out).collect(),
                next_page_token: last.map_or_else(String::new, |id| page::seal_id(keys, &query, id)),
            })
        })
        .await
    }

    async fn revoke_generic_tokens(
        &self,
        request: Request<RevokeGenericTokensRequest>,
    ) -> Result<Response<RevokeGenericTokensResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let (user_id, purposes) =
            read(|f| (f.user_id("user_id", r.user_id), f.purposes("purposes", r.purposes)))?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.bulk_deadline, |call| async move {
            let revoked = store.revoke_generic_tokens(&call, &user_id, &purposes).await;
            let act = Act::on("RevokeGenericTokens", user_id.as_str()).because(RevocationReason::Unspecified);
            acts.record(act, revoked.as_ref().map(|count| generic_tokens(*count)));
            let revoked_count = revoked?;
            Ok(RevokeGenericTokensResponse { revoked_count })
        })
        .await
    }
}
