//! Logins against what ends sessions: credential changes, suspensions, log-outs, the session limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use token_registry::proto::{
    AddRefreshTokenRequest, CreateUserRequest, RefreshToken, RevocationReason, RevokeCredentialsRequest,
    RevokeUserSessionsRequest, SetUserActiveRequest, TokenState,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Code::FailedPrecondition;
use tonic::Status;

use super::{Arena, at_once, rounds, tally, verdict};
use crate::support::{Registry, assert_refused};

const LOGINS: usize = 16;

const LIVE: &str = "select count(*) from sessions where user_id = $1 and revoked_at is null";

fn login(user_id: &str, n: usize, credential_version: Option<String>) -> AddRefreshTokenRequest {
    AddRefreshTokenRequest {
        user_id: user_id.into(),
        session: format!("session-{n}"),
        jti: "jti".into(),
        credential_version,
        ..Default::default()
    }
}

async fn known_user(registry: &Registry, user_id: &str) -> String {
    let request = CreateUserRequest { user_id: user_id.into() };
    registry.users.clone().create_user(request).await.unwrap().into_inner().user.unwrap().credential_version
}

/// Logins under way, each in a task of its own, that tell of their answers by the channel.
fn log_in(
    arena: &Arena,
    user_id: &str,
    credential_version: Option<&String>,
    ended: &Arc<AtomicBool>,
) -> (Vec<JoinHandle<Login>>, mpsc::UnboundedReceiver<()>) {
    let (answered, answers) = mpsc::unbounded_channel();
    let tasks = (0..LOGINS).map(|n| {
        let (client, request) = (arena.client(n), login(user_id, n, credential_version.cloned()));
        let (answered, ended) = (answered.clone(), Arc::clone(ended));
        tokio::spawn(async move {
            let answer = client.add_as(request).await;
            let before_the_end = !ended.load(SeqCst);
            let _ = answered.send(());
            Login { n, answer, before_the_end }
        })
    });
    (tasks.collect(), answers)
}

/// A login that was answered.
struct Login {
    n: usize,
    answer: Result<RefreshToken, Status>,
    /// Whether the answer was there before the revocation was sent.
    before_the_end: bool,
}

/// Waits for a random number of logins, so that what ends them meets them at every stage.
async fn some(answers: &mut mpsc::UnboundedReceiver<()>) {
    for _ in 0..rand::random_range(0..LOGINS) {
        answers.recv().await.unwrap();
    }
}

async fn all(logins: Vec<JoinHandle<Login>>) -> Vec<Login> {
    let mut done = Vec::new();
    for login in logins {
        done.push(login.await.unwrap());
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_login_judged_by_old_credentials_lives_once_they_are_revoked() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let old = known_user(&arena.client(0), &user).await;
        let ended = Arc::new(AtomicBool::new(false));
        let (logins, mut answers) = log_in(&arena, &user, Some(&old), &ended);
        some(&mut answers).await;
        ended.store(true, SeqCst);
        let change = RevokeCredentialsRequest {
            user_id: user.clone(),
            keep_auth_tokens: Some(false),
            ..Default::default()
        };
        let changed = arena.client(round).users.clone().revoke_credentials(change).await.unwrap();
        let new = changed.into_inner().user.unwrap().credential_version;
        assert_ne!(new, old);
        let logins = all(logins).await;
        for login in &logins {
            match verdict(&login.answer).as_str() {
                "OK" => {}
                "CREDENTIALS_CHANGED" => assert!(!login.before_the_end),
                other => panic!("a login was answered {other}"),
            }
        }
        assert_eq!(arena.count(LIVE, &user).await, 0);
        let late = arena.client(1).add_as(login(&user, LOGINS, Some(old))).await;
        assert_refused(late, FailedPrecondition, "CREDENTIALS_CHANGED");
        arena.client(1).add_as(login(&user, LOGINS, Some(new))).await.unwrap();
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_inactive_user_never_has_a_live_session() {
    const ALIVE_OF_INACTIVE: &str = "select count(*) from sessions s join users u using (user_id)
        where user_id = $1 and not u.active and s.revoked_at is null";
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        known_user(&arena.client(0), &user).await;
        let ended = Arc::new(AtomicBool::new(false));
        let (logins, mut answers) = log_in(&arena, &user, None, &ended);
        some(&mut answers).await;
        ended.store(true, SeqCst);
        let suspend = SetUserActiveRequest { user_id: user.clone(), active: Some(false) };
        let client = arena.client(round);
        let mut suspension = tokio::spawn(async move { client.users.clone().set_user_active(suspend).await });
        // Looked at all the time, in one snapshot each: it never holds, not even for a moment.
        let suspended = loop {
            tokio::select! {
                done = &mut suspension => break done,
                alive = arena.count(ALIVE_OF_INACTIVE, &user) => assert_eq!(alive, 0),
            }
        };
        suspended.unwrap().unwrap();
        for _ in 0..4 {
            assert_eq!(arena.count(ALIVE_OF_INACTIVE, &user).await, 0);
        }
        for login in all(logins).await {
            let state = arena.client(login.n + 1).check_session(&user, &format!("session-{}", login.n)).await;
            match verdict(&login.answer).as_str() {
                "OK" => assert_eq!(state, TokenState::UserInactive),
                "USER_INACTIVE" => {
                    assert!(!login.before_the_end);
                    assert_eq!(state, TokenState::Unknown);
                }
                other => panic!("a login was answered {other}"),
            }
        }
        assert_eq!(arena.count(LIVE, &user).await, 0);
        let reinstate = SetUserActiveRequest { user_id: user.clone(), active: Some(true) };
        arena.client(0).users.clone().set_user_active(reinstate).await.unwrap();
        assert_eq!(arena.count(LIVE, &user).await, 0);
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_whose_login_was_answered_before_a_revoke_all_started_is_revoked() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let ended = Arc::new(AtomicBool::new(false));
        // In odd rounds the first login makes the user known, in the midst of the others.
        if round % 2 == 0 {
            known_user(&arena.client(0), &user).await;
        }
        let (logins, mut answers) = log_in(&arena, &user, None, &ended);
        some(&mut answers).await;
        ended.store(true, SeqCst);
        let request = RevokeUserSessionsRequest {
            user_id: user.clone(),
            except_session: None,
            reason: RevocationReason::Logout.into(),
        };
        let revoked = arena.client(round).whitelist.clone().revoke_user_sessions(request).await.unwrap();
        let mut gone = 0;
        for login in all(logins).await {
            login.answer.unwrap();
            let state = arena.client(login.n + 1).check_session(&user, &format!("session-{}", login.n)).await;
            gone += i64::from(state == TokenState::Revoked);
            if login.before_the_end {
                assert_eq!(state, TokenState::Revoked);
            }
        }
        assert_eq!(
            gone,
            revoked.into_inner().revoked_count,
            "what was revoked was counted, and the rest lives"
        );
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_many_logins_come_at_once_the_newest_sessions_live_up_to_the_limit() {
    const LIMIT: usize = 5;
    let arena = Arena::open_with(|config| config.max_sessions_per_user = 5).await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        known_user(&arena.client(0), &user).await;
        let answers = at_once((0..30).map(|n| {
            let (client, request) = (arena.client(n), login(&user, n, None));
            async move { client.add_as(request).await }
        }))
        .await;
        assert_eq!(tally(answers.iter().map(verdict)).get("OK"), Some(&30));
        let rows = arena
            .sql
            .query(
                "select revocation_reason from sessions where user_id = $1 order by session_created desc, session",
                &[&user],
            )
            .await
            .unwrap();
        let reasons: Vec<Option<i16>> = rows.iter().map(|row| row.get(0)).collect();
        let (newest, others) = reasons.split_at(LIMIT);
        assert!(newest.iter().all(Option::is_none), "{reasons:?}");
        let limit = RevocationReason::SessionLimit as i16;
        assert!(others.iter().all(|reason| *reason == Some(limit)), "{reasons:?}");
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_one_login_open_one_session_and_another_jti_is_refused() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let answers = at_once((0..LOGINS).map(|n| {
            let (client, request) = (arena.client(n), login(&user, 0, None));
            let jti = if n % 2 == 0 { "even" } else { "odd" };
            async move { client.add_as(AddRefreshTokenRequest { jti: jti.into(), ..request }).await }
        }))
        .await;
        let row = arena.client(0).get(&user, "session-0").await.unwrap();
        for (n, answer) in answers.into_iter().enumerate() {
            if row.jti == (if n % 2 == 0 { "even" } else { "odd" }) {
                assert_eq!(answer.unwrap().base.unwrap().id, row.base.as_ref().unwrap().id);
            } else {
                assert_refused(answer, tonic::Code::AlreadyExists, "SESSION_EXISTS");
            }
        }
    }
    arena.close().await;
}
