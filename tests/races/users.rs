//! Deletions and credential changes against everything that makes something of a user.

use std::time::Duration;

use futures_util::FutureExt as _;
use token_registry::proto::{
    AddRefreshTokenRequest, DeleteUserRequest, GetUserRequest, IssueGenericTokenRequest, RevocationReason,
    RevokeCredentialsRequest, RevokeUserSessionsRequest, TokenState, User,
};
use tonic::{Code, Status};

use super::{Arena, at_once, rounds, verdict};
use crate::support::proxy::Proxy;
use crate::support::{Registry, assert_refused, fresh_database};

async fn user(registry: &Registry, user_id: &str) -> Result<User, Status> {
    let request = GetUserRequest { user_id: user_id.into() };
    Ok(registry.users.clone().get_user(request).await?.into_inner().user.unwrap())
}

/// One of the calls that a deletion meets: `n` picks which.
async fn meet(registry: &Registry, user_id: String, n: usize) -> Result<(), Status> {
    let session = format!("session-{}", n % 7);
    match n % 6 {
        0 => {
            let request = DeleteUserRequest { user_id };
            registry.users.clone().delete_user(request).await.map(drop)
        }
        1 | 2 => registry.add(&user_id, &session, "jti").await.map(drop),
        3 | 4 => {
            let digits = (n % 6 == 3).then_some(6);
            let request =
                IssueGenericTokenRequest { user_id, purpose: "login".into(), digits, ..Default::default() };
            registry.generic.clone().issue_generic_token(request).await.map(drop)
        }
        _ => {
            let reason = RevocationReason::Logout.into();
            let request = RevokeUserSessionsRequest { user_id, except_session: None, reason };
            registry.whitelist.clone().revoke_user_sessions(request).await.map(drop)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn beside_logins_and_issues_a_deletion_leaves_nothing_or_a_clean_new_user() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let name = format!("user-{round}");
        arena.client(0).add(&name, "from-before", "jti").await.unwrap();
        let before = user(&arena.client(0), &name).await.unwrap();
        let answers = at_once((0..24).map(|n| {
            let (client, name) = (arena.client(n + n / 6), name.clone());
            async move { (n % 6, meet(&client, name, n).await) }
        }))
        .await;
        for (kind, answer) in &answers {
            match (kind, verdict(answer).as_str()) {
                // The same session and jti twice, and a revocation between the two.
                (_, "OK") | (1 | 2, "SESSION_REVOKED") => {}
                (kind, other) => panic!("call {kind} was answered {other}: {answer:?}"),
            }
        }
        assert_eq!(arena.client(1).check_session(&name, "from-before").await, TokenState::Unknown);
        if let Ok(after) = user(&arena.client(1), &name).await {
            assert!(after.active);
            assert_ne!(after.credential_version, before.credential_version, "a version never repeats");
            let live = "select count(*) from generic_tokens where user_id = $1 and revoked_at is null";
            assert!(arena.count(live, &name).await <= 1);
        }
        let request = DeleteUserRequest { user_id: name.clone() };
        arena.client(0).users.clone().delete_user(request).await.unwrap();
        assert_refused(user(&arena.client(1), &name).await, Code::NotFound, "USER_NOT_FOUND");
        for table in ["users", "sessions", "generic_tokens", "generic_state", "credential_changes"] {
            let rows = format!("select count(*) from {table} where user_id = $1");
            assert_eq!(arena.count(&rows, &name).await, 0, "{table}");
        }
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_one_credential_change_move_the_version_once() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let name = format!("user-{round}");
        // In odd rounds the user was never seen.
        if round % 2 == 0 {
            for n in 0..3 {
                arena.client(n).add(&name, &format!("session-{n}"), "jti").await.unwrap();
            }
        }
        let answers = at_once((0..8).map(|n| {
            let client = arena.client(n);
            let request = RevokeCredentialsRequest {
                user_id: name.clone(),
                keep_auth_tokens: Some(true),
                request_id: Some("change".into()),
                ..Default::default()
            };
            async move { client.users.clone().revoke_credentials(request).await }.boxed()
        }))
        .await;
        let now = user(&arena.client(0), &name).await.unwrap();
        for answer in answers {
            let answer = answer.unwrap().into_inner();
            assert_eq!(answer.user.unwrap().credential_version, now.credential_version);
            assert_eq!(answer.revoked.unwrap().sessions, if round % 2 == 0 { 3 } else { 0 });
        }
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_sent_again_beside_a_credential_change_is_told_of_all_of_it() {
    let database = fresh_database().await;
    let registry = Registry::on(&database.url, |_| {}).await;
    let port = database.url.parse::<tokio_postgres::Config>().unwrap().get_ports()[0];
    let links = [Proxy::start(([127, 0, 0, 1], port).into()), Proxy::start(([127, 0, 0, 1], port).into())];
    let [adds, changes] = [&links[0], &links[1]].map(|link| {
        let url = database.url_at(link.address());
        async move { Registry::on(&url, |_| {}).await }
    });
    let (adds, changes) = (adds.await, changes.await);
    for round in 0..8 * rounds() {
        let name = format!("user-{round}");
        registry.add(&name, "laptop", "jti").await.unwrap();
        let version = user(&registry, &name).await.unwrap().credential_version;
        // The change comes at another moment of the login each round: mostly between two of its statements.
        links[0].slow_down(Duration::from_millis(10));
        links[1].slow_down(Duration::from_millis(10 + 2 * (round as u64 % 12)));
        let request = AddRefreshTokenRequest {
            user_id: name.clone(),
            session: "laptop".into(),
            jti: "jti".into(),
            credential_version: Some(version),
            ..Default::default()
        };
        let change = RevokeCredentialsRequest {
            user_id: name.clone(),
            keep_auth_tokens: Some(true),
            ..Default::default()
        };
        let (mut logins, mut users) = (adds.whitelist.clone(), changes.users.clone());
        let (added, changed) =
            tokio::join!(logins.add_refresh_token(request), users.revoke_credentials(change));
        assert_eq!(changed.unwrap().into_inner().revoked.unwrap().sessions, 1);
        for link in &links {
            link.slow_down(Duration::ZERO);
        }
        // From before the change or from after it, and then the version is judged first.
        match verdict(&added).as_str() {
            "OK" | "CREDENTIALS_CHANGED" => {}
            other => panic!("answered {other} in round {round}"),
        }
    }
}
