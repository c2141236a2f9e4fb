//! `UserService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::acts::Act;
use super::answer::{command, question};
use super::message::{counts_out, user_out};
use super::{Registry, read};
use crate::proto::user_service_server::UserService;
use crate::proto::{
    CreateUserRequest, CreateUserResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest,
    GetUserResponse, RevokeCredentialsRequest, RevokeCredentialsResponse, SetUserActiveRequest,
    SetUserActiveResponse,
};
use crate::registry::{Counts, RevocationReason};
use crate::store::CredentialChange;

#[tonic::async_trait]
impl UserService for Registry {
    async fn create_user(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let user_id = read(|f| f.user_id("user_id", r.user_id))?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.default_deadline, |call| async move {
            let created = store.create_user(&call, &user_id).await;
            acts.record(Act::on("CreateUser", user_id.as_str()), created.as_ref().map(|_| Counts::default()));
            Ok(CreateUserResponse { user: Some(user_out(created?)) })
        })
        .await
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let (metadata, _, r) = request.into_parts();
        let user_id = read(|f| f.user_id("user_id", r.user_id))?;
        question(&metadata, self.default_deadline, |call| async move {
            let (user, live) = self.store.user(&call, &user_id).await?;
            Ok(GetUserResponse { user: Some(user_out(user)), live: Some(counts_out(live)) })
        })
        .await
    }

    async fn set_user_active(
        &self,
        request: Request<SetUserActiveRequest>,
    ) -> Result<Response<SetUserActiveResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let (user_id, active) = read(|f| (f.user_id("user_id", r.user_id), f.required("active", r.active)))?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.bulk_deadline, |call| async move {
            let set = store.set_user_active(&call, &user_id, active).await;
            let act = Act::on("SetUserActive", user_id.as_str());
            let act = if active {
                act.to("active")
            } else {
                act.to("inactive").because(RevocationReason::UserDeactivated)
            };
            acts.record(act, set.as_ref().map(|(_, revoked)| *revoked));
            let (user, revoked) = set?;
            Ok(SetUserActiveResponse { user: Some(user_out(user)), revoked: Some(counts_out(revoked)) })
        })
        .await
    }

    async fn revoke_credentials(
        &self,
        request: Request<RevokeCredentialsRequest>,
    ) -> Result<Response<RevokeCredentialsResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let change = read(|f| CredentialChange {
            user_id: f.user_id("user_id", r.user_id),
            except_session: f.optional_session("except_session", r.except_session),
            keep_purposes: f.purposes("keep_purposes", r.keep_purposes),
            keep_auth_tokens: f.required("keep_auth_tokens", r.keep_auth_tokens),
            request_id: f.optional_request_id("request_id", r.request_id),
        })?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.bulk_deadline, |call| async move {
            let changed = store.revoke_credentials(&call, &change).await;
            let act = Act::on("RevokeCredentials", change.user_id.as_str())
                .because(RevocationReason::CredentialChange);
            acts.record(act, changed.as_ref().map(|(_, revoked)| *revoked));
            let (user, revoked) = changed?;
            Ok(RevokeCredentialsResponse { user: Some(user_out(user)), revoked: Some(counts_out(revoked)) })
        })
        .await
    }

    async fn delete_user(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        let (metadata, extensions, r) = request.into_parts();
        let user_id = read(|f| f.user_id("user_id", r.user_id))?;
        let (store, acts) = (Arc::clone(&self.store), self.acts(&extensions));
        command(&metadata, self.bulk_deadline, |call| async move {
            let deleted = store.delete_user(&call, &user_id).await;
            acts.record(Act::on("DeleteUser", user_id.as_str()), deleted.as_ref().copied());
            let deleted = deleted?;
            Ok(DeleteUserResponse { deleted: Some(counts_out(deleted)) })
        })
        .await
    }
}
