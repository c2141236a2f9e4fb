//! Requests that go together in one statement are each answered as if they were alone.
//!
//! Each test takes both places of a lane with requests whose rows somebody holds. What comes then can only go in a set,
//! and must not wait for them.

use std::time::Duration;

use futures_util::future::join_all;
use token_registry::config::Config;
use token_registry::proto::{ClientInfo, RotateRefreshTokenRequest, RotationOutcome, TokenState};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tonic::Status;

use crate::support::keys;
use crate::support::one_time::{consume, issue, presented, secret, state};
use crate::support::people::{change, login, revoke_credentials, version};
use crate::support::sessions::{enable, rotation, set_active};
use crate::support::{Registry, reason, until_waiting_for_locks};

/// A registry whose statements would wait for a lock for longer than its calls do: who has to wait for somebody else's
/// row in these tests is not answered at all.
fn patient(config: &mut Config) {
    config.lock_timeout = Duration::from_mins(5);
    config.statement_timeout = Duration::from_mins(5);
    config.default_deadline = Duration::from_secs(20);
}

/// Rows that are held until [`Held::release`].
struct Held(Client);

impl Held {
    async fn hold(registry: &Registry, query: &str) -> Self {
        let client = registry.sql().await;
        client.batch_execute(&format!("begin; {query}")).await.expect("the locks");
        Self(client)
    }

    /// Waits until so many of the registry's statements wait for the rows.
    async fn met_by(&self, registry: &Registry, count: i64) {
        until_waiting_for_locks(&registry.sql().await, count).await;
    }

    async fn release(self) {
        self.0.batch_execute("rollback").await.expect("the end");
    }
}

/// What became of a call, in one word.
fn word<T>(result: &Result<T, Status>, fine: impl FnOnce(&T) -> String) -> String {
    match result {
        Ok(answer) => fine(answer),
        Err(status) => reason(status),
    }
}

async fn rotated(registry: &Registry, request: RotateRefreshTokenRequest) -> String {
    word(&registry.rotate_as(request).await, |answer| {
        let jti = &answer.token.as_ref().expect("a token").jti;
        match answer.outcome() {
            RotationOutcome::Rotated => format!("rotated {jti}"),
            RotationOutcome::Retried => format!("retried {jti}"),
            RotationOutcome::Grace => format!("grace {jti}"),
            RotationOutcome::Unspecified => "nothing".to_owned(),
        }
    })
}

fn to(session: &str, jti: &str, new_jti: &str) -> RotateRefreshTokenRequest {
    RotateRefreshTokenRequest { new_jti: Some(new_jti.into()), ..rotation("ada", session, jti) }
}

fn started<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

#[tokio::test]
async fn rotations_of_a_set_are_judged_one_by_one_and_wait_for_nobody() {
    let registry = Registry::start_with(patient).await;
    for session in ["held-1", "held-2", "current", "retry", "grace", "replay", "disabled", "over"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    for session in ["retry", "grace"] {
        registry.rotate("ada", session, "one", "two").await.unwrap();
    }
    enable(&registry, "ada", "disabled", false).await.unwrap();
    registry.log_out("ada", "over").await;

    let held = Held::hold(&registry, "select from sessions where session like 'held-%' for update").await;
    let direct: Vec<_> = ["held-1", "held-2"]
        .map(|session| {
            let registry = registry.another_client();
            started(async move { rotated(&registry, to(session, "one", "two")).await })
        })
        .into();
    held.met_by(&registry, 2).await;

    // A member of the set whose row is held is left out of it.
    let late = registry.another_client();
    let late = started(async move { rotated(&late, to("held-1", "one", "three")).await });
    tokio::task::yield_now().await;
    let client = ClientInfo { ip: Some("192.0.2.7".into()), os: Some("Plan 9".into()), ..Default::default() };
    let set = [
        RotateRefreshTokenRequest { client: Some(client), ..to("current", "one", "two") },
        to("retry", "one", "two"),
        to("grace", "one", "three"),
        to("replay", "zero", "two"),
        to("disabled", "one", "two"),
        to("over", "one", "two"),
        to("unknown", "one", "two"),
    ];
    let answers = join_all(set.map(|request| rotated(&registry, request))).await;
    assert_eq!(
        answers,
        [
            "rotated two",
            "retried two",
            "grace two",
            "TOKEN_REPLAYED",
            "TOKEN_DISABLED",
            "SESSION_REVOKED",
            "SESSION_NOT_FOUND"
        ]
    );
    let told = registry.get("ada", "current").await.unwrap().base.unwrap().client.unwrap();
    assert_eq!((told.ip.as_deref(), told.os.as_deref()), (Some("192.0.2.7"), Some("Plan 9")));
    assert_eq!(registry.get("ada", "grace").await.unwrap().grace_count, 1);
    assert_eq!(registry.check_session("ada", "replay").await, TokenState::Revoked);

    assert!(direct.iter().all(|direct| !direct.is_finished()), "the held ones still wait");
    assert!(!late.is_finished());
    held.release().await;
    let mut answers = vec![late.await.unwrap()];
    for direct in direct {
        answers.push(direct.await.unwrap());
    }
    answers.sort();
    // Of the two of one session one rotates and the other is told its jti.
    let outcomes =
        [["grace three", "rotated three", "rotated two"], ["grace two", "rotated two", "rotated two"]];
    assert!(outcomes.iter().any(|outcome| answers == outcome), "{answers:?}");
}

#[tokio::test]
async fn logins_of_a_set_are_judged_one_by_one_and_wait_for_nobody() {
    let registry = Registry::start_with(|config| {
        patient(config);
        config.max_sessions_per_user = 2;
    })
    .await;
    for user in ["held-1", "held-2", "ada", "ben", "cleo", "dora"] {
        registry.add(user, "first", "one").await.unwrap();
    }
    registry.add("dora", "second", "one").await.unwrap();
    let old = version(&registry, "ben").await;
    set_active(&registry, "ben", false).await;
    set_active(&registry, "ben", true).await;
    set_active(&registry, "cleo", false).await;
    let current = version(&registry, "ada").await;

    let held = Held::hold(&registry, "select from users where user_id like 'held-%' for update").await;
    let direct: Vec<_> = ["held-1", "held-2"]
        .map(|user| {
            let registry = registry.another_client();
            started(async move { registry.add(user, "second", "one").await.map(|token| token.session) })
        })
        .into();
    held.met_by(&registry, 2).await;

    let late = registry.another_client();
    let late = started(async move { late.add("held-1", "late", "one").await.map(|token| token.session) });
    tokio::task::yield_now().await;
    let set = [login("ada", "second", &current), login("ben", "second", &old), login("nobody", "first", "1")];
    let mut answers = join_all(set.map(|request| registry.add_as(request))).await;
    let others = [("cleo", "second"), ("newcomer", "first"), ("ada", "first"), ("dora", "third")];
    answers.extend(join_all(others.map(|(user, session)| registry.add(user, session, "one"))).await);
    answers.push(registry.add("ada", "first", "another").await);
    let words: Vec<_> = answers
        .iter()
        .map(|added| word(added, |token| format!("{} {}", token.user_id, token.session)))
        .collect();
    assert_eq!(
        words,
        [
            "ada second",
            "CREDENTIALS_CHANGED",
            "USER_NOT_FOUND",
            "USER_INACTIVE",
            "newcomer first",
            "ada first",
            "dora third",
            "SESSION_EXISTS"
        ]
    );
    assert_eq!(registry.check_session("dora", "first").await, TokenState::Revoked, "beyond the limit");

    assert!(!late.is_finished());
    held.release().await;
    assert_eq!(late.await.unwrap().unwrap(), "late");
    for direct in direct {
        assert_eq!(direct.await.unwrap().unwrap(), "second");
    }
}

#[tokio::test]
async fn revocations_of_a_set_are_counted_one_by_one_and_wait_for_nobody() {
    let registry = Registry::start_with(patient).await;
    for session in ["held-1", "held-2", "live", "over"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.log_out("ada", "over").await;
    let held = Held::hold(&registry, "select from sessions where session like 'held-%' for update").await;
    let direct: Vec<_> = ["held-1", "held-2"]
        .map(|session| {
            let registry = registry.another_client();
            started(async move { registry.log_out("ada", session).await })
        })
        .into();
    held.met_by(&registry, 2).await;
    let counts = join_all(["live", "over", "unknown"].map(|session| registry.log_out("ada", session))).await;
    assert_eq!(counts, [1, 0, 0]);
    assert_eq!(registry.check_session("ada", "live").await, TokenState::Revoked);
    held.release().await;
    for direct in direct {
        assert_eq!(direct.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn one_time_tokens_of_a_set_are_issued_and_claimed_one_by_one_and_wait_for_nobody() {
    let registry = Registry::start_with(patient).await;
    set_active(&registry, "cleo", false).await;
    let (_, before) = issue(&registry, secret("ada", "reset")).await.unwrap();
    let mut values = Vec::new();
    for user in ["held-1", "held-2"] {
        values.push(issue(&registry, secret(user, "reset")).await.unwrap().1);
    }

    let held = Held::hold(&registry, "select from users where user_id like 'held-%' for update").await;
    let direct: Vec<_> = ["held-1", "held-2"]
        .map(|user| {
            let registry = registry.another_client();
            started(async move { issue(&registry, secret(user, "confirm")).await.is_ok() })
        })
        .into();
    held.met_by(&registry, 2).await;
    let set = [("ada", "reset"), ("ada", "confirm"), ("newcomer", "reset"), ("cleo", "reset")];
    let issued = join_all(set.map(|(user, purpose)| issue(&registry, secret(user, purpose)))).await;
    let words: Vec<_> = issued
        .iter()
        .map(|issued| word(issued, |(token, _)| format!("{} {}", token.user_id, token.purpose)))
        .collect();
    assert_eq!(words, ["ada reset", "ada confirm", "newcomer reset", "USER_INACTIVE"]);
    assert_eq!(state(&registry, "reset", &before).await, TokenState::Revoked, "replaced");
    held.release().await;
    for direct in direct {
        assert!(direct.await.unwrap());
    }

    let held =
        Held::hold(&registry, "select from generic_tokens where user_id like 'held-%' for update").await;
    let direct: Vec<_> = values
        .into_iter()
        .map(|value| {
            let registry = registry.another_client();
            started(async move { consume(&registry, presented("reset", &value)).await.is_ok() })
        })
        .collect();
    held.met_by(&registry, 2).await;
    let value = &issued[0].as_ref().unwrap().1;
    let foreign = "a value that was never issued";
    let presented_ones = [value.as_str(), &before, foreign, &issued[2].as_ref().unwrap().1];
    let claims = join_all(presented_ones.map(|value| consume(&registry, presented("reset", value)))).await;
    let words: Vec<_> = claims.iter().map(|claim| word(claim, |token| token.user_id.clone())).collect();
    assert_eq!(words, ["ada", "TOKEN_REVOKED", "TOKEN_NOT_FOUND", "newcomer"]);
    held.release().await;
    for direct in direct {
        assert!(direct.await.unwrap());
    }
}

#[tokio::test]
async fn questions_of_a_set_are_answered_one_by_one() {
    let registry = Registry::start_with(patient).await;
    for session in ["live", "disabled", "over"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    enable(&registry, "ada", "disabled", false).await.unwrap();
    registry.log_out("ada", "over").await;
    registry.add("cleo", "first", "one").await.unwrap();
    set_active(&registry, "cleo", false).await;

    // Nothing but the whole table holds up a question.
    let held = Held::hold(&registry, "lock table sessions in access exclusive mode").await;
    let asked = |user: &'static str, session: &'static str| {
        let registry = registry.another_client();
        started(async move {
            (registry.check_session(user, session).await, registry.check_token(user, session, "one").await)
        })
    };
    let direct = [asked("ada", "live"), asked("ada", "live")];
    held.met_by(&registry, 2).await;
    let set = [
        asked("ada", "live"),
        asked("ada", "disabled"),
        asked("ada", "over"),
        asked("cleo", "first"),
        asked("ada", "unknown"),
    ];
    // A third place is opened for the line that doesn't move.
    held.met_by(&registry, 3).await;
    held.release().await;
    for direct in direct {
        assert_eq!(direct.await.unwrap().0, TokenState::Active);
    }
    let mut states = Vec::new();
    for answer in set {
        let (session, token) = answer.await.unwrap();
        assert_eq!(session, token);
        states.push(session);
    }
    assert_eq!(
        states,
        [
            TokenState::Active,
            TokenState::Disabled,
            TokenState::Revoked,
            TokenState::UserInactive,
            TokenState::Unknown
        ]
    );
}

#[tokio::test]
async fn keys_of_a_set_are_answered_one_by_one() {
    let registry = Registry::start_with(patient).await;
    let mut keys = Vec::new();
    for user in ["ada", "ben", "cleo", "dora"] {
        keys.push(keys::create(&registry, keys::wanted(user)).await.unwrap().1);
    }
    set_active(&registry, "ben", false).await;
    revoke_credentials(&registry, change("cleo")).await.unwrap();
    let sql = registry.sql().await;
    sql.execute("update auth_tokens set expires = clock_timestamp() where user_id = 'dora'", &[])
        .await
        .unwrap();
    keys.push("0".repeat(40));

    let held = Held::hold(&registry, "lock table auth_tokens in access exclusive mode").await;
    let asked = |key: &str| {
        let (registry, key) = (registry.another_client(), key.to_owned());
        started(async move { keys::authenticate(&registry, &key).await })
    };
    let direct = [asked(&keys[0]), asked(&keys[0])];
    held.met_by(&registry, 2).await;
    let set: Vec<_> = keys.iter().chain([&keys[0]]).map(|key| asked(key)).collect();
    held.met_by(&registry, 3).await;
    held.release().await;
    for direct in direct {
        assert_eq!(direct.await.unwrap().state(), TokenState::Active);
    }
    let mut answers = Vec::new();
    for answer in set {
        let answer = answer.await.unwrap();
        answers.push((answer.state(), answer.user_id));
    }
    let expected = [
        (TokenState::Active, "ada"),
        (TokenState::UserInactive, "ben"),
        (TokenState::Revoked, "cleo"),
        (TokenState::Expired, "dora"),
        (TokenState::Unknown, ""),
        (TokenState::Active, "ada"),
    ];
    assert_eq!(answers, expected.map(|(state, user)| (state, user.to_owned())));
}

#[tokio::test]
async fn switched_off_everybody_goes_singly_and_is_answered_the_same() {
    let registry = Registry::start_with(|config| config.gathering = false).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let copies = join_all((0..8).map(|_| rotated(&registry, to("laptop", "one", "two")))).await;
    assert_eq!(copies.iter().filter(|answer| *answer == "rotated two").count(), 1);
    assert_eq!(copies.iter().filter(|answer| *answer == "retried two").count(), 7);
}
