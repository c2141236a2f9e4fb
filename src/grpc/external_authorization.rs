//! `envoy.service.auth.v3.Authorization`: a mesh asks for every request whether its session is live, and refuses those
//! whose session is not, without a line in the application.
//!
//! Envoy's `jwt_authn` filter verifies the access token and puts its claims into the request's metadata; its `ext_authz`
//! filter asks here. Nothing of what the caller itself sent is believed.
//!
//! Settings come from the route, as `context_extensions` of `ext_authz`:
//!
//! | name | default | what |
//! |---|---|---|
//! | `jwt_payload` | the only one there is | the name that `jwt_authn` gives the claims, its `payload_in_metadata` |
//! | `user_claim` | `sub` | the claim that holds the `user_id` |
//! | `session_claim` | `session` | the claim that holds the session |

use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse, HeaderAppendAction, HttpStatusCode};
use envoy_types::ext_authz::v3::{CheckResponseExt as _, DeniedHttpResponseBuilder, OkHttpResponseBuilder};
use envoy_types::pb::envoy::service::auth::v3::authorization_server::Authorization;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tonic::{Request, Response, Status};

use super::answer::{named, question};
use super::message::state_name;
use super::{Registry, status};
use crate::registry::session::Life;
use crate::registry::{Fields, Refusal, SessionName, TokenState, UserId};

/// Where Envoy's filter keeps the claims that it verified.
const VERIFIED: &str = "envoy.filters.http.jwt_authn";

/// What a header can't hold as it is, and the sign that says so.
const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b'%');

#[tonic::async_trait]
impl Authorization for Registry {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let Some(asked) = session_of(request) else {
            return Ok(named(
                Response::new(denied(HttpStatusCode::Unauthorized, "NO_VERIFIED_SESSION")),
                "NO_SESSION",
            ));
        };
        let (user_id, name) = asked.clone();
        let found = question(&metadata, self.default_deadline, |call| async move {
            self.store.check_session(&call, asked).await
        })
        .await?;
        let state = found.get_ref().as_ref().map_or(TokenState::Unknown, Life::state);
        let response = found.map(|life| match (state, life) {
            (TokenState::Active, Some(life)) => allowed(user_id.as_str(), name.as_str(), &life),
            (state, _) => refused(Refusal::of_session(state, None).unwrap_or(Refusal::SessionNotFound)),
        });
        Ok(named(response, state_name(state)))
    }
}

/// The session that the verified claims name; `None` if there are no such claims.
fn session_of(request: CheckRequest) -> Option<(UserId, SessionName)> {
    let attributes = request.attributes?;
    let settings = attributes.context_extensions;
    let setting =
        |name: &str, default: &'static str| settings.get(name).cloned().unwrap_or(default.to_owned());
    let mut payloads = attributes.metadata_context?.filter_metadata.remove(VERIFIED)?.fields;
    let mut claims = match settings.get("jwt_payload") {
        Some(name) => structure(payloads.remove(name)?)?,
        None if payloads.len() == 1 => structure(payloads.into_values().next()?)?,
        None => return None,
    };
    let user_id = text(claims.remove(&setting("user_claim", "sub"))?)?;
    let session = text(claims.remove(&setting("session_claim", "session"))?)?;
    Fields::read(|f| (f.user_id("user_claim", user_id), f.session("session_claim", session))).ok()
}

fn structure(value: Value) -> Option<HashMap<String, Value>> {
    match value.kind? {
        Kind::StructValue(Struct { fields }) => Some(fields),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    match value.kind? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Lets the request through, and tells the application whose it is, in headers that the caller can't have set.
fn allowed(user_id: &str, session: &str, life: &Life) -> CheckResponse {
    let expires = life.session_expires.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut headers = OkHttpResponseBuilder::new();
    for (name, value) in [
        ("x-token-registry-user", utf8_percent_encode(user_id, NOT_IN_HEADERS).to_string()),
        ("x-token-registry-session", utf8_percent_encode(session, NOT_IN_HEADERS).to_string()),
        ("x-token-registry-session-expires", expires.to_string()),
    ] {
        headers.add_header(name, value, Some(HeaderAppendAction::OverwriteIfExistsOrAdd), false);
    }
    let mut response = CheckResponse::with_status(Status::ok(""));
    response.set_http_response(headers);
    response
}

/// Refuses the request: 401 to log in again (RFC 6750, section 3.1), 403 where that would not help.
fn refused(refusal: Refusal) -> CheckResponse {
    let status = match refusal {
        // Logging in again would not help.
        Refusal::TokenDisabled | Refusal::UserInactive => HttpStatusCode::Forbidden,
        _ => HttpStatusCode::Unauthorized,
    };
    denied(status, &status::reason(&status::of(refusal.into())).unwrap_or_default())
}

fn denied(status: HttpStatusCode, reason: &str) -> CheckResponse {
    let mut answer = DeniedHttpResponseBuilder::new();
    answer.set_http_status(status).set_body(format!("{{\"reason\":\"{reason}\"}}\n"));
    answer.add_header("content-type", "application/json", None, false);
    if status == HttpStatusCode::Unauthorized {
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"");
        answer.add_header("www-authenticate", challenge, None, false);
    }
    let mut response = CheckResponse::with_status(Status::permission_denied(reason));
    response.set_http_response(answer);
    response
}
