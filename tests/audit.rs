//! The audit log: who did what to whom and when, of every revocation and administrative act, and of nothing else.

use serde_json::Value;
use token_registry::proto::{
    CreateUserRequest, DeleteUserRequest, IssueGenericTokenRequest, PurgeExpiredRequest, RevocationReason,
    RevokeCredentialsRequest, RevokeGenericTokensRequest, RevokeSessionRequest, RevokeUserSessionsRequest,
    SetRefreshTokenEnabledRequest, SetUserActiveRequest, TokenState,
};

use tonic::Code;

use crate::support::process::Process;
use crate::support::proxy::Proxy;
use crate::support::{Registry, assert_refused, fresh_database, keys};

/// Acts of every kind, and much that is none.
async fn act(registry: &Registry) {
    for session in ["laptop", "phone", "tablet"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.rotate("ada", "phone", "one", "two").await.unwrap();
    assert_eq!(registry.check_session("ada", "phone").await, TokenState::Active);
    registry.rotate("ada", "phone", "zero", "three").await.unwrap_err();
    registry.rotate("ada", "phone", "two", "three").await.unwrap_err();
    registry.log_out("ada", "tablet").await;
    registry.log_out("ada", "tablet").await;
    let enable = |session: &str| SetRefreshTokenEnabledRequest {
        user_id: "bert".into(),
        session: session.into(),
        enabled: Some(false),
    };
    registry.add("bert", "laptop", "one").await.unwrap();
    registry.whitelist.clone().set_refresh_token_enabled(enable("laptop")).await.unwrap();
    registry.whitelist.clone().set_refresh_token_enabled(enable("nowhere")).await.unwrap_err();
    let everywhere = RevokeUserSessionsRequest {
        user_id: "bert".into(),
        except_session: None,
        reason: RevocationReason::Administrative.into(),
    };
    registry.whitelist.clone().revoke_user_sessions(everywhere).await.unwrap();
    let issue =
        IssueGenericTokenRequest { user_id: "cleo".into(), purpose: "reset".into(), ..Default::default() };
    registry.generic.clone().issue_generic_token(issue).await.unwrap();
    let revoke = RevokeGenericTokensRequest { user_id: "cleo".into(), purposes: Vec::new() };
    registry.generic.clone().revoke_generic_tokens(revoke).await.unwrap();
    keys::create(registry, keys::wanted("cleo")).await.unwrap();
    keys::delete(registry, "cleo", None).await.unwrap();
    let mut users = registry.users.clone();
    users.create_user(CreateUserRequest { user_id: "dora".into() }).await.unwrap();
    registry.add("dora", "laptop", "one").await.unwrap();
    let change = RevokeCredentialsRequest {
        user_id: "dora".into(),
        keep_auth_tokens: Some(false),
        ..Default::default()
    };
    users.revoke_credentials(change).await.unwrap();
    for active in [false, true] {
        let set = SetUserActiveRequest { user_id: "dora".into(), active: Some(active) };
        users.set_user_active(set).await.unwrap();
    }
    users.delete_user(DeleteUserRequest { user_id: "dora".into() }).await.unwrap();
    let mut purge = PurgeExpiredRequest {
        older_than: Some(prost_types::Duration { seconds: 0, nanos: 0 }),
        ..Default::default()
    };
    registry.maintenance.clone().purge_expired(purge.clone()).await.unwrap();
    purge.apply = true;
    registry.maintenance.clone().purge_expired(purge).await.unwrap();
}

/// What [`act`] leaves in the log: act, user, session, detail, reason, sessions, one-time tokens, API keys.
fn expected() -> Vec<String> {
    [
        "AddRefreshToken ada - - SESSION_LIMIT 1 0 0",
        "RotateRefreshToken ada phone - REPLAY 1 0 0",
        "RevokeSession ada tablet - LOGOUT 1 0 0",
        "RevokeSession ada tablet - LOGOUT 0 0 0",
        "SetRefreshTokenEnabled bert laptop disabled - 0 0 0",
        "RevokeUserSessions bert - - ADMINISTRATIVE 1 0 0",
        "RevokeGenericTokens cleo - - UNSPECIFIED 0 1 0",
        "CreateAuthToken cleo - - - 0 0 0",
        "DeleteAuthToken cleo - - UNSPECIFIED 0 0 1",
        "CreateUser dora - - - 0 0 0",
        "RevokeCredentials dora - - CREDENTIAL_CHANGE 1 0 0",
        "SetUserActive dora - inactive USER_DEACTIVATED 0 0 0",
        "SetUserActive dora - active - 0 0 0",
        "DeleteUser dora - - - 1 0 0",
        // Of ada the replayed session, the one that was one too many and the closed one; of bert one.
        "PurgeExpired - - older than 0s - 4 1 0",
    ]
    .map(str::to_owned)
    .into()
}

fn shown(line: &Value) -> String {
    for field in ["timestamp", "peer", "outcome"] {
        assert!(line[field].is_string(), "{field} in {line}");
    }
    assert_eq!(line["outcome"], "OK");
    let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
    let count = |field: &str| line[field].as_i64().unwrap().to_string();
    [
        text("act"),
        text("user_id"),
        text("session"),
        text("detail"),
        text("reason"),
        count("sessions"),
        count("generic_tokens"),
        count("auth_tokens"),
    ]
    .join(" ")
}

#[tokio::test]
async fn every_act_is_a_line_of_the_file_and_nothing_else_is() {
    let database = fresh_database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    std::fs::write(&file, "{\"earlier\":true}\n").unwrap();
    let mut server = Process::serve(
        &database.url,
        &[
            ("TOKEN_REGISTRY_AUDIT_LOG", file.to_str().unwrap()),
            ("TOKEN_REGISTRY_MAX_SESSIONS_PER_USER", "2"),
        ],
    );
    let registry = Registry::reached_at(server.serving().await, &database.url);
    act(&registry).await;
    // Each line was there before its call was answered: nothing is lost with the process.
    let text = std::fs::read_to_string(&file).unwrap();
    let (earlier, text) = text.split_once('\n').unwrap();
    assert_eq!(earlier, "{\"earlier\":true}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(shown).collect::<Vec<_>>(), expected());
    server.terminate();
    let (_, said) = server.ended();
    assert!(!said.contains("\"target\":\"audit\""), "{said}");
}

#[tokio::test]
async fn without_a_file_acts_are_lines_of_the_log() {
    let database = fresh_database().await;
    let mut server = Process::serve(&database.url, &[("TOKEN_REGISTRY_MAX_SESSIONS_PER_USER", "2")]);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    act(&registry).await;
    server.terminate();
    let (_, said) = server.ended();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let acts: Vec<_> = lines.filter(|line| line["target"] == "audit").collect();
    assert_eq!(acts.iter().map(shown).collect::<Vec<_>>(), expected());
    assert!(acts.iter().all(|line| line["span"]["request_id"].is_string()), "{acts:?}");
}

#[tokio::test]
async fn an_act_of_which_nobody_knows_whether_it_was_carried_out_is_recorded_as_that() {
    let database = fresh_database().await;
    let port = database.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let proxy = Proxy::start(([127, 0, 0, 1], port).into());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    let url = database.url_at(proxy.address());
    let server = Process::serve(&url, &[("TOKEN_REGISTRY_AUDIT_LOG", file.to_str().unwrap())]);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    registry.add("ada", "laptop", "one").await.unwrap();
    proxy.cut_after_request_containing("laptop");
    let revoke =
        RevokeSessionRequest { user_id: "ada".into(), session: "laptop".into(), ..Default::default() };
    let revoked = registry.whitelist.clone().revoke_session(revoke).await;
    assert_refused(revoked, Code::DeadlineExceeded, "OUTCOME_UNKNOWN");
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let of = ["act", "user_id", "session", "outcome"].map(|field| line[field].as_str().unwrap());
    assert_eq!(of, ["RevokeSession", "ada", "laptop", "OUTCOME_UNKNOWN"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_ends_the_start() {
    let mut server = Process::serve(
        "postgres://nobody@127.0.0.1:1/nothing",
        &[("TOKEN_REGISTRY_AUDIT_LOG", "/nowhere/audit.jsonl")],
    );
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("can't open the audit log /nowhere/audit.jsonl: No such file"), "{said}");
}
