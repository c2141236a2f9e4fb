//! A password change: the version moves, and what the old credentials opened ends, but for what is spared.

use std::collections::BTreeSet;

use token_registry::proto::{RevocationReason, RevokeCredentialsRequest, TokenState};
use tonic::Code::FailedPrecondition;

use crate::support::one_time::{consume, digits, issue, of_user, own, presented, secret, state};
use crate::support::people::{change, counts, create, delete, get, login, revoke_credentials, version};
use crate::support::{Registry, assert_invalid, assert_refused};

fn with_request_id(id: &str, request: RevokeCredentialsRequest) -> RevokeCredentialsRequest {
    RevokeCredentialsRequest { request_id: Some(id.into()), ..request }
}

#[tokio::test]
async fn it_revokes_sessions_and_one_time_tokens_and_says_how_many() {
    let registry = Registry::start().await;
    for session in ["laptop", "phone", "logged out"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.log_out("ada", "logged out").await;
    let (_, reset) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let (_, code) = issue(&registry, digits("ada", "mfa", 6)).await.unwrap();
    registry.add("bob", "laptop", "one").await.unwrap();
    let before = get(&registry, "ada").await.unwrap().0;

    let (user, revoked) = revoke_credentials(&registry, change("ada")).await.unwrap();
    assert_eq!(revoked, counts(2, 2));
    assert!(user.active);
    assert_ne!(user.credential_version, before.credential_version);
    assert_eq!(get(&registry, "ada").await.unwrap(), (user, counts(0, 0)));
    assert_eq!(get(&registry, "bob").await.unwrap().1, counts(1, 0));
    let ended = registry.get("ada", "laptop").await.unwrap();
    assert_eq!(ended.revocation_reason(), RevocationReason::CredentialChange);
    let before = registry.get("ada", "logged out").await.unwrap();
    assert_eq!(before.revocation_reason(), RevocationReason::Logout, "the first revocation's reason stays");
    for claim in [presented("reset", &reset), of_user("ada", "mfa", &code)] {
        assert_refused(consume(&registry, claim).await, FailedPrecondition, "TOKEN_REVOKED");
    }
}

#[tokio::test]
async fn the_session_of_the_password_change_itself_is_spared() {
    let registry = Registry::start().await;
    for session in ["this", "other"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.add("bob", "this", "one").await.unwrap();
    let this = RevokeCredentialsRequest { except_session: Some("this".into()), ..change("ada") };
    let (_, revoked) = revoke_credentials(&registry, this).await.unwrap();
    assert_eq!(revoked, counts(1, 0));
    registry.rotate("ada", "this", "one", "two").await.unwrap();
    assert_eq!(registry.check_session("ada", "other").await, TokenState::Revoked);

    // A session to spare that isn't there spares none.
    let unknown = RevokeCredentialsRequest { except_session: Some("unknown".into()), ..change("ada") };
    assert_eq!(revoke_credentials(&registry, unknown).await.unwrap().1, counts(1, 0));
    assert_eq!(registry.check_session("bob", "this").await, TokenState::Active);
}

#[tokio::test]
async fn purposes_to_keep_are_kept_and_no_others() {
    let registry = Registry::start().await;
    let mut values = Vec::new();
    for purpose in ["confirm", "invite", "reset"] {
        values.push((purpose, issue(&registry, secret("ada", purpose)).await.unwrap().1));
    }
    let keep_purposes = vec!["confirm".into(), "invite".into(), "never-used".into()];
    let keep = RevokeCredentialsRequest { keep_purposes, ..change("ada") };
    assert_eq!(revoke_credentials(&registry, keep).await.unwrap().1, counts(0, 1));
    for ((purpose, value), expected) in
        values.iter().zip([TokenState::Active, TokenState::Active, TokenState::Revoked])
    {
        assert_eq!(state(&registry, purpose, value).await, expected, "{purpose}");
    }
}

#[tokio::test]
async fn whether_api_keys_stay_must_be_said_and_all_bad_fields_are_named_at_once() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let before = version(&registry, "ada").await;
    let unsaid = RevokeCredentialsRequest { keep_auth_tokens: None, ..change("ada") };
    assert_invalid(revoke_credentials(&registry, unsaid).await, &["keep_auth_tokens"]);
    let bad = RevokeCredentialsRequest {
        user_id: String::new(),
        // Present but empty: whose script lost a variable would log everyone out of everything.
        except_session: Some(String::new()),
        keep_purposes: vec!["fine".into(), String::new()],
        keep_auth_tokens: None,
        request_id: Some(String::new()),
    };
    let fields = ["user_id", "except_session", "keep_purposes[1]", "keep_auth_tokens", "request_id"];
    assert_invalid(revoke_credentials(&registry, bad).await, &fields);
    let many = RevokeCredentialsRequest { keep_purposes: vec!["p".into(); 101], ..change("ada") };
    assert_invalid(revoke_credentials(&registry, many).await, &["keep_purposes"]);
    assert_eq!(version(&registry, "ada").await, before);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn said_either_way_it_is_carried_out() {
    let registry = Registry::start().await;
    for keep_auth_tokens in [true, false] {
        registry.add("ada", &keep_auth_tokens.to_string(), "one").await.unwrap();
        let request = RevokeCredentialsRequest { keep_auth_tokens: Some(keep_auth_tokens), ..change("ada") };
        assert_eq!(revoke_credentials(&registry, request).await.unwrap().1, counts(1, 0));
    }
}

#[tokio::test]
async fn a_version_never_comes_back_not_after_a_deletion_either() {
    let registry = Registry::start().await;
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        assert!(seen.insert(create(&registry, "ada").await.unwrap().credential_version));
        for _ in 0..8 {
            let (user, _) = revoke_credentials(&registry, change("ada")).await.unwrap();
            assert!(seen.insert(user.credential_version), "a version came back");
        }
        delete(&registry, "ada").await.unwrap();
    }
}

#[tokio::test]
async fn a_login_with_the_old_version_is_refused_and_one_with_the_new_is_not() {
    let registry = Registry::start().await;
    let read = create(&registry, "ada").await.unwrap().credential_version;
    registry.add_as(login("ada", "before", &read)).await.unwrap();
    let (changed, _) = revoke_credentials(&registry, change("ada")).await.unwrap();
    let late = registry.add_as(login("ada", "laptop", &read)).await;
    assert_refused(late, FailedPrecondition, "CREDENTIALS_CHANGED");
    for nonsense in ["0", "not a version", &format!("{} ", changed.credential_version)] {
        let nonsense = registry.add_as(login("ada", "laptop", nonsense)).await;
        assert_refused(nonsense, FailedPrecondition, "CREDENTIALS_CHANGED");
    }
    // The version is judged before the session: also where the session is there already.
    let retried = registry.add_as(login("ada", "before", &read)).await;
    assert_refused(retried, FailedPrecondition, "CREDENTIALS_CHANGED");
    registry.add_as(login("ada", "laptop", &changed.credential_version)).await.unwrap();
}

#[tokio::test]
async fn a_user_never_seen_is_created() {
    let registry = Registry::start().await;
    for request in [change("ada"), with_request_id("request", change("bob"))] {
        let user_id = request.user_id.clone();
        let (user, revoked) = revoke_credentials(&registry, request).await.unwrap();
        assert!(user.active);
        assert_eq!(revoked, counts(0, 0));
        assert_eq!(get(&registry, &user_id).await.unwrap().0, user);
    }
}

#[tokio::test]
async fn the_same_request_id_answers_the_same_and_revokes_nothing_more() {
    let registry = Registry::start().await;
    registry.add("ada", "old", "one").await.unwrap();
    issue(&registry, own("ada", "invite", "right")).await.unwrap();
    let request = with_request_id("request", change("ada"));
    let first = revoke_credentials(&registry, request.clone()).await.unwrap();
    assert_eq!(first.1, counts(1, 1));

    // The person logs in with the new password; then the first answer's late retry arrives.
    registry.add_as(login("ada", "new", &first.0.credential_version)).await.unwrap();
    issue(&registry, own("ada", "invite", "other")).await.unwrap();
    assert_eq!(revoke_credentials(&registry, request.clone()).await.unwrap(), first);
    assert_eq!(get(&registry, "ada").await.unwrap(), (first.0.clone(), counts(1, 1)));

    // Also after another change: the answer is the one to this request.
    let next = revoke_credentials(&registry, with_request_id("next", change("ada"))).await.unwrap();
    assert_ne!(next.0.credential_version, first.0.credential_version);
    assert_eq!(next.1, counts(1, 1));
    assert_eq!(revoke_credentials(&registry, request).await.unwrap(), first);
    assert_eq!(version(&registry, "ada").await, next.0.credential_version);
}

#[tokio::test]
async fn without_a_request_id_every_change_is_a_new_one() {
    let registry = Registry::start().await;
    let (first, _) = revoke_credentials(&registry, change("ada")).await.unwrap();
    let (second, _) = revoke_credentials(&registry, change("ada")).await.unwrap();
    assert_ne!(first.credential_version, second.credential_version);
}

#[tokio::test]
async fn a_request_id_belongs_to_its_user() {
    let registry = Registry::start().await;
    for user in ["ada", "bob"] {
        registry.add(user, "laptop", "one").await.unwrap();
        let (_, revoked) =
            revoke_credentials(&registry, with_request_id("request", change(user))).await.unwrap();
        assert_eq!(revoked, counts(1, 0));
    }
}

#[tokio::test]
async fn a_request_id_is_remembered_for_24_hours_and_then_forgotten() {
    let registry = Registry::start().await;
    let request = with_request_id("request", change("ada"));
    let first = revoke_credentials(&registry, request.clone()).await.unwrap();
    let sql = registry.sql().await;
    let pass = "update credential_changes set changed = changed - make_interval(hours => $1)";
    sql.execute(pass, &[&23]).await.unwrap();
    assert_eq!(revoke_credentials(&registry, request.clone()).await.unwrap(), first);
    sql.execute(pass, &[&1]).await.unwrap();
    registry.add("ada", "laptop", "one").await.unwrap();
    let anew = revoke_credentials(&registry, request.clone()).await.unwrap();
    assert_ne!(anew.0.credential_version, first.0.credential_version);
    assert_eq!(anew.1, counts(1, 0));
    assert_eq!(revoke_credentials(&registry, request).await.unwrap(), anew, "and remembered again");

    // Those that no retry can mean any more don't gather.
    sql.execute(pass, &[&24]).await.unwrap();
    revoke_credentials(&registry, with_request_id("next", change("ada"))).await.unwrap();
    let kept = sql.query("select request_id from credential_changes", &[]).await.unwrap();
    assert_eq!(kept.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["next"]);
}
