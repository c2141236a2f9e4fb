//! Rotations against each other, against replays and against callers who leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use token_registry::proto::{
    AddRefreshTokenRequest, RefreshToken, RevocationReason, RevokeUserSessionsRequest,
    RotateRefreshTokenRequest, RotateRefreshTokenResponse, TokenState,
};
use tokio::sync::mpsc;
use tonic::Code::FailedPrecondition;
use tonic::Status;

use super::{Arena, at_once, expected, rounds, tally, word};
use crate::support::{Registry, assert_refused};

const RIVALS: usize = 64;

fn rotation(user_id: &str, jti: &str, new_jti: Option<String>) -> RotateRefreshTokenRequest {
    RotateRefreshTokenRequest {
        user_id: user_id.into(),
        session: "session".into(),
        jti: jti.into(),
        new_jti,
        client: None,
    }
}

fn token(answer: &Result<RotateRefreshTokenResponse, Status>) -> Option<&RefreshToken> {
    answer.as_ref().ok().and_then(|answer| answer.token.as_ref())
}

/// 64 rotations of jti `first` at once, of which those that have connections all wait for the row before the first one
/// gets it. Whatever they were answered, they were never told of two live jtis.
async fn rivals(
    arena: &Arena,
    user_id: &str,
    new_jti: impl Fn(usize) -> Option<String>,
) -> Vec<Result<RotateRefreshTokenResponse, Status>> {
    // Written, not just locked: so that every rival judges the row anew when its wait is over.
    let held = arena.hold("update sessions set enabled = enabled where user_id = $1", user_id).await;
    let calls = at_once((0..RIVALS).map(|n| {
        let (client, request) = (arena.client(n), rotation(user_id, "first", new_jti(n)));
        async move { client.rotate_as(request).await }
    }));
    let (answers, ()) = tokio::join!(calls, held.release_when_waited_for_by(8));
    let row = arena.client(0).get(user_id, "session").await.unwrap();
    for token in answers.iter().filter_map(token) {
        assert_eq!(token.jti, row.jti, "there is one live jti");
    }
    assert_eq!(row.rotations, 1);
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_rotations_with_one_jti_one_wins_and_all_others_are_told_its_jti() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        arena.client(0).add(&user, "session", "first").await.unwrap();
        let mints = round % 2 == 1;
        let answers = rivals(&arena, &user, |n| (!mints).then(|| format!("next-{n}"))).await;
        assert_eq!(tally(answers.iter().map(word)), expected([("ROTATED", 1), ("GRACE", RIVALS - 1)]));
        let winner = answers.iter().position(|answer| word(answer) == "ROTATED").unwrap();
        let row = arena.client(1).get(&user, "session").await.unwrap();
        assert!(mints || row.jti == format!("next-{winner}"), "{} isn't the winner's", row.jti);
        assert_eq!(row.grace_count, i64::try_from(RIVALS).unwrap() - 1);
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_grace_one_of_many_rotations_wins_and_the_next_one_ends_the_session() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let strict = AddRefreshTokenRequest {
            user_id: user.clone(),
            session: "session".into(),
            jti: "first".into(),
            rotation_grace: Some(prost_types::Duration::default()),
            ..Default::default()
        };
        arena.client(0).add_as(strict).await.unwrap();
        let answers = rivals(&arena, &user, |n| Some(format!("next-{n}"))).await;
        let counts = [("ROTATED", 1), ("TOKEN_REPLAYED", 1), ("SESSION_REVOKED", RIVALS - 2)];
        assert_eq!(tally(answers.iter().map(word)), expected(counts));
        assert_eq!(arena.client(1).check_session(&user, "session").await, TokenState::Revoked);
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_copies_of_one_rotation_one_rotates_and_the_others_are_its_retries() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        arena.client(0).add(&user, "session", "first").await.unwrap();
        let answers = rivals(&arena, &user, |_| Some("next".to_owned())).await;
        assert_eq!(tally(answers.iter().map(word)), expected([("ROTATED", 1), ("RETRIED", RIVALS - 1)]));
    }
    arena.close().await;
}

/// Rotates a session from `jti-0` on until that is refused; answers how often it did.
///
/// Tells of every rotation by `rotated`. Once `over` is set, no rotation that starts may succeed.
async fn rotate_on(
    clients: [Arc<Registry>; 2],
    (user_id, session): (String, String),
    over: Arc<AtomicBool>,
    rotated: mpsc::UnboundedSender<()>,
) -> usize {
    for n in 0.. {
        let was_over = over.load(SeqCst);
        let (jti, next) = (format!("jti-{n}"), format!("jti-{}", n + 1));
        match clients[n % 2].rotate(&user_id, &session, &jti, &next).await {
            Ok(_) => assert!(!was_over, "a rotation that started after the end succeeded"),
            Err(status) => {
                assert_refused::<()>(Err(status), FailedPrecondition, "SESSION_REVOKED");
                return n;
            }
        }
        let _ = rotated.send(());
    }
    unreachable!("a chain ends with a refusal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_rotation_that_starts_after_a_revoke_all_was_answered_succeeds() {
    const SESSIONS: usize = 4;
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let over = Arc::new(AtomicBool::new(false));
        let (rotated, mut rotations) = mpsc::unbounded_channel();
        let mut chains = Vec::new();
        for n in 0..SESSIONS {
            let session = format!("session-{n}");
            arena.client(n).add(&user, &session, "jti-0").await.unwrap();
            let clients = [arena.client(n), arena.client(n + 1)];
            let (over, rotated) = (Arc::clone(&over), rotated.clone());
            chains.push(tokio::spawn(rotate_on(clients, (user.clone(), session), over, rotated)));
        }
        for _ in 0..rand::random_range(1..30) {
            rotations.recv().await.unwrap();
        }
        let request = RevokeUserSessionsRequest {
            user_id: user.clone(),
            except_session: None,
            reason: RevocationReason::Administrative.into(),
        };
        let revoked =
            arena.client(round).whitelist.clone().revoke_user_sessions(request).await.unwrap().into_inner();
        over.store(true, SeqCst);
        assert_eq!(revoked.revoked_count, 4);
        for (n, chain) in chains.into_iter().enumerate() {
            let length = chain.await.unwrap();
            let row = arena.client(n).get(&user, &format!("session-{n}")).await.unwrap();
            assert_eq!(row.state(), TokenState::Revoked);
            assert_eq!(row.revocation_reason(), RevocationReason::Administrative);
            assert_eq!(
                row.jti,
                format!("jti-{length}"),
                "the row is where the last answered rotation left it"
            );
        }
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_replay_was_answered_the_session_never_rotates_again() {
    const THIEVES: usize = 4;
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let over = Arc::new(AtomicBool::new(false));
        let (rotated, mut rotations) = mpsc::unbounded_channel();
        arena.client(0).add(&user, "session", "jti-0").await.unwrap();
        let clients = [arena.client(0), arena.client(1)];
        let chain = tokio::spawn(rotate_on(
            clients,
            (user.clone(), "session".to_owned()),
            Arc::clone(&over),
            rotated,
        ));
        // After two rotations the first jti is no longer the immediate predecessor, and so a replay.
        for _ in 0..rand::random_range(2..8) {
            rotations.recv().await.unwrap();
        }
        let answers = at_once((0..THIEVES).map(|n| {
            let (client, user, over) = (arena.client(n), user.clone(), Arc::clone(&over));
            async move {
                let jti = if n % 2 == 0 { "jti-0" } else { "never-seen" };
                let answer = client.rotate(&user, "session", jti, &format!("stolen-{n}")).await;
                over.store(true, SeqCst);
                answer
            }
        }))
        .await;
        let counts = [("TOKEN_REPLAYED", 1), ("SESSION_REVOKED", THIEVES - 1)];
        assert_eq!(tally(answers.iter().map(word)), expected(counts));
        let length = chain.await.unwrap();
        let row = arena.client(0).get(&user, "session").await.unwrap();
        assert_eq!(row.revocation_reason(), RevocationReason::Replay);
        assert_eq!(row.jti, format!("jti-{length}"));
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thief_inside_the_window_never_forks_the_session_and_ends_it_after_the_window() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let (thief, owner) = (arena.client(0), arena.client(1));
        owner.add(&user, "session", "stolen").await.unwrap();
        let answer = thief.rotate(&user, "session", "stolen", "of-thief").await;
        assert_eq!(word(&answer), "ROTATED");
        let answer = owner.rotate(&user, "session", "stolen", "of-owner").await;
        assert_eq!(word(&answer), "GRACE");
        assert_eq!(token(&answer).unwrap().jti, "of-thief");
        assert_eq!(owner.check_token(&user, "session", "of-owner").await, TokenState::Superseded);

        // Both follow each other inside the window: every time both are told the same jti.
        let mut jti = "of-thief".to_owned();
        for step in 0..6 {
            let answers = at_once(["thief", "owner"].into_iter().enumerate().map(|(n, who)| {
                let (client, user, jti) = (arena.client(n), user.clone(), jti.clone());
                async move { client.rotate(&user, "session", &jti, &format!("of-{who}-{step}")).await }
            }))
            .await;
            assert_eq!(tally(answers.iter().map(word)), expected([("GRACE", 1), ("ROTATED", 1)]));
            let told: Vec<_> = answers.iter().filter_map(token).map(|token| token.jti.clone()).collect();
            assert_eq!(told[0], told[1]);
            let before = std::mem::replace(&mut jti, told[0].clone());
            assert_eq!(owner.check_token(&user, "session", &before).await, TokenState::Superseded);
            assert_eq!(owner.check_token(&user, "session", &jti).await, TokenState::Active);
        }

        // One of the two goes on alone; after the window the other's next presentation is a replay.
        let answer = thief.rotate(&user, "session", &jti, "last").await;
        assert_eq!(word(&answer), "ROTATED");
        arena.age_rotation(&user, 31).await;
        let replayed = owner.rotate(&user, "session", &jti, "too-late").await;
        assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
        let after = thief.rotate(&user, "session", "last", "more").await;
        assert_refused(after, FailedPrecondition, "SESSION_REVOKED");
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_that_leaves_in_the_midst_of_a_rotation_can_send_it_again() {
    const CALLERS: usize = 16;
    let arena = Arena::open().await;
    let (left, retried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let calls = (0..CALLERS).map(|n| {
            let (client, other, user) = (arena.client(n), arena.client(n + 1), user.clone());
            let (left, retried) = (Arc::clone(&left), Arc::clone(&retried));
            async move {
                let session = format!("session-{n}");
                client.add(&user, &session, "old").await.unwrap();
                let patience = Duration::from_micros(rand::random_range(0..4_000));
                let answered = if n % 2 == 0 {
                    // Drops the call, which resets the stream.
                    let call = client.rotate(&user, &session, "old", "new");
                    tokio::time::timeout(patience, call).await.is_ok_and(|answer| answer.is_ok())
                } else {
                    let mut request = tonic::Request::new(RotateRefreshTokenRequest {
                        session: session.clone(),
                        ..rotation(&user, "old", Some("new".into()))
                    });
                    request.set_timeout(patience);
                    client.whitelist.clone().rotate_refresh_token(request).await.is_ok()
                };
                let row = other.get(&user, &session).await.unwrap();
                assert!(
                    (row.jti == "old" && row.rotations == 0) || (row.jti == "new" && row.rotations == 1),
                    "{} after {} rotations",
                    row.jti,
                    row.rotations
                );
                let again = other.rotate(&user, &session, "old", "new").await;
                match word(&again).as_str() {
                    "RETRIED" => drop(retried.fetch_add(usize::from(!answered), SeqCst)),
                    "ROTATED" => assert!(!answered && row.rotations == 0),
                    other => panic!("the pair sent again was answered {other}"),
                }
                left.fetch_add(usize::from(!answered), SeqCst);
                assert_eq!(token(&again).unwrap().jti, "new");
                // And the session goes on from there, one rotation further than the pair.
                let answer = client.rotate(&user, &session, "new", "newer").await;
                assert_eq!(word(&answer), "ROTATED");
                assert_eq!(token(&answer).unwrap().rotations, 2);
            }
        });
        at_once(calls).await;
    }
    println!("{} of those who left had rotated, of {}", retried.load(SeqCst), left.load(SeqCst));
    arena.close().await;
}
