//! `WhitelistService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::acts::{Act, sessions};
use super::answer::{command, named, question};
use super::message::{
    client_in, device_in, life_out, outcome_out, parts, reason_in, session_in_state, session_out,
    state_filter_in, state_name, state_out,
};
use super::{Registry, page_token_in, read, status};
#[cfg(feature = "planted-bugs")]
use crate::planted;
use crate::proto::whitelist_service_server::WhitelistService;
use crate::proto::{
    AddRefreshTokenRequest, AddRefreshTokenResponse, BatchCheckSessionsRequest, BatchCheckSessionsResponse,
    CheckRefreshTokenRequest, CheckRefreshTokenResponse, CheckSessionRequest, CheckSessionResponse,
    GetRefreshTokenRequest, GetRefreshTokenResponse, ListRefreshTokensRequest, ListRefreshTokensResponse,
    RevokeSessionRequest, RevokeSessionResponse, RevokeUserSessionsRequest, RevokeUserSessionsResponse,
    RotateRefreshTokenRequest, RotateRefreshTokenResponse, SessionAnswer, SetRefreshTokenEnabledRequest,
    SetRefreshTokenEnabledResponse,
};
use crate::registry::fields::Zero;
use crate::registry::page::AfterSession;
use crate::registry::secrets::mint_jti;
use crate::registry::session::{Opening, Rotation};
use crate::registry::{Counts, Failure, Refusal, RevocationReason, TokenState, Violation};
use crate::store::SessionQuery;

/// Most questions of one batch.
const BATCH_MAX: usize = 500;

#[tonic::async_trait]
impl WhitelistService for Registry {
    async fn add_refresh_token(
        &self,
        request: Request<AddRefreshTokenRequest>,
    ) -> Result<Response<AddRefreshTokenResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let device = device_in(r.client.as_ref(), &self.metrics).await;
        let limits = self.store.limits();
        let opening = read(|f| {
            let capped = |asked: Option<std::time::Duration>, cap| asked.unwrap_or(cap).min(cap);
            let lifetime = f.duration("session_lifetime", parts(r.session_lifetime), Zero::Refused);
            let idle = f.duration("idle_timeout", parts(r.idle_timeout), Zero::Refused);
            let grace = f.duration("rotation_grace", parts(r.rotation_grace), Zero::Allowed);
            Opening {
                user_id: f.user_id("user_id", r.user_id),
                session: f.session("session", r.session),
                jti: f.jti("jti", r.jti),
                enabled: r.enabled.unwrap_or(true),
                client: client_in(f, r.client.unwrap_or_default(), device.as_deref()),
                session_lifetime: capped(lifetime, limits.session_lifetime),
                idle_timeout: capped(idle, limits.idle_timeout),
                rotation_grace: capped(grace, limits.rotation_grace),
                credential_version: f.optional_credential_version("credential_version", r.credential_version),
            }
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.default_deadline, |call| async move {
            let (session, ended) = store.add_session(&call, opening).await?;
            if ended > 0 {
                let act =
                    Act::on("AddRefreshToken", &session.user_id).because(RevocationReason::SessionLimit);
                acts.record(act, Ok(sessions(ended)));
            }
            Ok(AddRefreshTokenResponse { token: Some(session_out(session)) })
        })
        .await
    }

    async fn rotate_refresh_token(
        &self,
        request: Request<RotateRefreshTokenRequest>,
    ) -> Result<Response<RotateRefreshTokenResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let device = device_in(r.client.as_ref(), &self.metrics).await;
        let rotation = read(|f| {
            if r.new_jti.as_ref() == Some(&r.jti) {
                f.refuse("new_jti", "must not be the jti itself");
            }
            Rotation {
                user_id: f.user_id("user_id", r.user_id),
                session: f.session("session", r.session),
                jti: f.jti("jti", r.jti),
                new_jti: f.optional_jti("new_jti", r.new_jti).unwrap_or_else(|| mint_jti(&mut rand::rng())),
                client: r.client.map(|client| client_in(f, client, device.as_deref())),
            }
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        let metrics = Arc::clone(&self.metrics);
        let rotated = command(&metadata, self.default_deadline, |call| async move {
            let (user_id, name) = (rotation.user_id.clone(), rotation.session.clone());
            let rotated = store.rotate(&call, rotation).await;
            metrics.rotated(&rotated);
            if let Err(Failure::Refused(Refusal::TokenReplayed)) = rotated {
                let act = Act::on("RotateRefreshToken", user_id.as_str()).session(&name);
                acts.record(act.because(RevocationReason::Replay), Ok(sessions(1)));
            }
            rotated
        });
        let mut name = "ROTATED";
        let response = rotated.await?.map(|(session, outcome)| {
            let (outcome, word) = outcome_out(outcome);
            name = word;
            RotateRefreshTokenResponse { token: Some(session_out(session)), outcome }
        });
        Ok(named(response, name))
    }

    async fn check_refresh_token(
        &self,
        request: Request<CheckRefreshTokenRequest>,
    ) -> Result<Response<CheckRefreshTokenResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let (user_id, name, jti) = read(|f| {
            (f.user_id("user_id", r.user_id), f.session("session", r.session), f.jti("jti", r.jti))
        })?;
        let found = question(&metadata, self.default_deadline, |call| async move {
            self.store.session(&call, (user_id, name)).await
        })
        .await?;
        let mut state = TokenState::Unknown;
        let response = found.map(|session| {
            let token = session.map(|session| {
                state = session.state_of(&jti);
                session_in_state(session, state)
            });
            CheckRefreshTokenResponse { state: state_out(state), token }
        });
        Ok(named(response, state_name(state)))
    }

    async fn check_session(
        &self,
        request: Request<CheckSessionRequest>,
    ) -> Result<Response<CheckSessionResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let (user_id, name) = read(|f| (f.user_id("user_id", r.user_id), f.session("session", r.session)))?;
        let found = question(&metadata, self.default_deadline, |call| async move {
            self.store.check_session(&call, (user_id, name)).await
        })
        .await?;
        let (state, session_expires) = life_out(found.get_ref().as_ref());
        let response = found.map(|_| CheckSessionResponse { state: state_out(state), session_expires });
        Ok(named(response, state_name(state)))
    }

    async fn batch_check_sessions(
        &self,
        request: Request<BatchCheckSessionsRequest>,
    ) -> Result<Response<BatchCheckSessionsResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        if r.sessions.is_empty() || r.sessions.len() > BATCH_MAX {
            let violation = Violation::new("sessions", format!("must have 1 to {BATCH_MAX} entries"));
            return Err(status::invalid(&[violation]));
        }
        let questions = read(|f| {
            let mut questions = Vec::with_capacity(r.sessions.len());
            for (i, asked) in r.sessions.into_iter().enumerate() {
                questions.push((
                    f.user_id(&format!("sessions[{i}].user_id"), asked.user_id),
                    f.session(&format!("sessions[{i}].session"), asked.session),
                ));
            }
            questions
        })?;
        let found = question(&metadata, self.default_deadline, |call| async move {
            self.store.check_sessions(&call, &questions).await
        })
        .await?;
        Ok(found.map(|answers| BatchCheckSessionsResponse {
            results: answers
                .iter()
                .map(|life| {
                    let (state, session_expires) = life_out(life.as_ref());
                    SessionAnswer { state: state_out(state), session_expires }
                })
                .collect(),
        }))
    }

    async fn get_refresh_token(
        &self,
        request: Request<GetRefreshTokenRequest>,
    ) -> Result<Response<GetRefreshTokenResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let (user_id, name) = read(|f| (f.user_id("user_id", r.user_id), f.session("session", r.session)))?;
        question(&metadata, self.default_deadline, |call| async move {
            let session = self.store.session(&call, (user_id, name)).await?;
            let session = session.ok_or(Refusal::SessionNotFound)?;
            Ok(GetRefreshTokenResponse { token: Some(session_out(session)) })
        })
        .await
    }

    async fn list_refresh_tokens(
        &self,
        request: Request<ListRefreshTokensRequest>,
    ) -> Result<Response<ListRefreshTokensResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let filter = r.state.to_string();
        let sealed_for = r.user_id.clone();
        let query = ["ListRefreshTokens", sealed_for.as_str(), filter.as_str()];
        let keys = self.store.keys().map_err(status::of)?;
        let wanted = read(|f| SessionQuery {
            user_id: f.user_id("user_id", r.user_id),
            state: state_filter_in(f, "state", r.state),
            page_size: f.page_size("page_size", r.page_size),
            after: page_token_in(f, &r.page_token, |token| AfterSession::open(keys, &query, token)),
        })?;
        question(&metadata, self.default_deadline, |call| async move {
            let listed = self.store.list_sessions(&call, &wanted).await?;
            Ok(ListRefreshTokensResponse {
                tokens: listed.sessions.into_iter().map(session_out).collect(),
                next_page_token: listed.next.map_or_else(String::new, |next| next.seal(keys, &query)),
            })
        })
        .await
    }

    async fn set_refresh_token_enabled(
        &self,
        request: Request<SetRefreshTokenEnabledRequest>,
    ) -> Result<Response<SetRefreshTokenEnabledResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let (user_id, name, enabled) = read(|f| {
            (
                f.user_id("user_id", r.user_id),
                f.session("session", r.session),
                f.required("enabled", r.enabled),
            )
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.default_deadline, |call| async move {
            let set = store.set_session_enabled(&call, &user_id, &name, enabled).await;
            let act = Act::on("SetRefreshTokenEnabled", user_id.as_str()).session(&name);
            let act = act.to(if enabled { "enabled" } else { "disabled" });
            acts.record(act, set.as_ref().map(|_| Counts::default()));
            Ok(SetRefreshTokenEnabledResponse { token: Some(session_out(set?)) })
        })
        .await
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let (user_id, name, reason) = read(|f| {
            (
                f.user_id("user_id", r.user_id),
                f.session("session", r.session),
                reason_in(f, "reason", r.reason),
            )
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.default_deadline, |call| async move {
            #[cfg(feature = "planted-bugs")]
            if planted::is(planted::Bug::RevocationAfterAnswer) {
                let life = store.check_session(&call, (user_id.clone(), name.clone())).await?;
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    store.revoke_session(&call, (user_id, name), reason).await
                });
                return Ok(RevokeSessionResponse { revoked_count: life.is_some_and(|l| l.is_live()).into() });
            }
            let named = (user_id.clone(), name.clone());
            let revoked = store.revoke_session(&call, named, reason).await;
            let act = Act::on("RevokeSession", user_id.as_str()).session(&name).because(reason);
            acts.record(act, revoked.as_ref().map(|count| sessions(*count)));
            let revoked_count = revoked?;
            Ok(RevokeSessionResponse { revoked_count })
        })
        .await
    }

    async fn revoke_user_sessions(
        &self,
        request: Request<RevokeUserSessionsRequest>,
    ) -> Result<Response<RevokeUserSessionsResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let (user_id, except, reason) = read(|f| {
            (
                f.user_id("user_id", r.user_id),
                f.optional_session("except_session", r.except_session),
                reason_in(f, "reason", r.reason),
            )
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.bulk_deadline, |call| async move {
            let revoked = store.revoke_user_sessions(&call, &user_id, except.as_ref(), reason).await;
            let act = Act::on("RevokeUserSessions", user_id.as_str()).because(reason);
            acts.record(act, revoked.as_ref().map(|count| sessions(*count)));
            let revoked_count = revoked?;
            Ok::<_, Failure>(RevokeUserSessionsResponse { revoked_count })
        })
        .await
    }
}
