//! Questions: every state in the contract's order, answered without changing anything. The order on sessions that are
//! dead in several ways at once is in `rotation_order`, beside the rules that it comes from.

use prost_types::Timestamp;
use token_registry::proto::{
    BatchCheckSessionsRequest, CheckRefreshTokenRequest, CheckRefreshTokenResponse, CheckSessionRequest,
    CheckSessionResponse, SessionAnswer, SessionQuestion, TokenState,
};
use tonic::Status;

use crate::support::sessions::{Rows, enable, set_active};
use crate::support::{Registry, assert_invalid};

async fn ask(registry: &Registry, user_id: &str, session: &str) -> CheckSessionResponse {
    let request = CheckSessionRequest { user_id: user_id.into(), session: session.into() };
    registry.whitelist.clone().check_session(request).await.expect("an answer").into_inner()
}

async fn ask_of(registry: &Registry, user_id: &str, session: &str, jti: &str) -> CheckRefreshTokenResponse {
    let request =
        CheckRefreshTokenRequest { user_id: user_id.into(), session: session.into(), jti: jti.into() };
    registry.whitelist.clone().check_refresh_token(request).await.expect("an answer").into_inner()
}

async fn ask_many(registry: &Registry, sessions: Vec<SessionQuestion>) -> Result<Vec<SessionAnswer>, Status> {
    let request = BatchCheckSessionsRequest { sessions };
    Ok(registry.whitelist.clone().batch_check_sessions(request).await?.into_inner().results)
}

fn question(user_id: &str, session: &str) -> SessionQuestion {
    SessionQuestion { user_id: user_id.into(), session: session.into() }
}

/// Sessions in every state: who, which, the session's state, and that of a jti that isn't the current one.
const EVERY_STATE: [(&str, &str, TokenState, TokenState); 8] = [
    ("ada", "active", TokenState::Active, TokenState::Superseded),
    ("ada", "disabled", TokenState::Disabled, TokenState::Superseded),
    ("ada", "expired", TokenState::Expired, TokenState::Expired),
    ("ada", "idle", TokenState::Expired, TokenState::Expired),
    ("ada", "revoked", TokenState::Revoked, TokenState::Revoked),
    ("bob", "revoked", TokenState::UserInactive, TokenState::UserInactive),
    ("bob", "expired", TokenState::UserInactive, TokenState::UserInactive),
    ("bob", "active", TokenState::UserInactive, TokenState::UserInactive),
];

/// Opens them. Each rotated once, from `old` to `current`.
async fn open_every_state(registry: &Registry) {
    let rows = Rows::of(registry).await;
    for (user, session, ..) in EVERY_STATE {
        registry.add(user, session, "old").await.unwrap();
        registry.rotate(user, session, "old", "current").await.unwrap();
    }
    enable(registry, "ada", "disabled", false).await.unwrap();
    rows.expire("ada", "expired").await;
    rows.expire("bob", "expired").await;
    rows.idle_out("ada", "idle").await;
    registry.log_out("ada", "revoked").await;
    registry.log_out("bob", "revoked").await;
    set_active(registry, "bob", false).await;
}

#[tokio::test]
async fn every_state_of_a_session_is_told_with_its_end() {
    let registry = Registry::start().await;
    open_every_state(&registry).await;
    for (user, session, state, _) in EVERY_STATE {
        let answer = ask(&registry, user, session).await;
        assert_eq!(answer.state(), state, "{user} {session}");
        let row = registry.get(user, session).await.unwrap();
        assert_eq!((row.state(), row.session_expires), (state, answer.session_expires), "{user} {session}");
    }
}

#[tokio::test]
async fn every_state_of_a_jti_is_told_with_its_row() {
    let registry = Registry::start().await;
    open_every_state(&registry).await;
    for (user, session, state, superseded) in EVERY_STATE {
        let row = registry.get(user, session).await.unwrap();
        for (jti, expected) in [("current", state), ("old", superseded), ("foreign", superseded)] {
            let answer = ask_of(&registry, user, session, jti).await;
            assert_eq!(answer.state(), expected, "{user} {session} {jti}");
            let mut token = answer.token.expect("the row");
            // `token.state` repeats the answer's; the rest is the row, whose jti is the current one.
            assert_eq!(token.state(), expected, "{user} {session} {jti}");
            token.state = row.state;
            assert_eq!(token, row);
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_unknown_and_has_neither_row_nor_end() {
    let registry = Registry::start().await;
    open_every_state(&registry).await;
    for (user, session) in [("nobody", "active"), ("ada", "none"), ("bob", "none")] {
        let answer = ask(&registry, user, session).await;
        assert_eq!((answer.state(), answer.session_expires), (TokenState::Unknown, None));
        let answer = ask_of(&registry, user, session, "current").await;
        assert_eq!((answer.state(), answer.token), (TokenState::Unknown, None));
    }
}

#[tokio::test]
async fn a_reinstated_user_does_not_revive_what_was_revoked() {
    let registry = Registry::start().await;
    open_every_state(&registry).await;
    set_active(&registry, "bob", true).await;
    for (session, state) in
        [("active", TokenState::Revoked), ("revoked", TokenState::Revoked), ("expired", TokenState::Expired)]
    {
        assert_eq!(ask(&registry, "bob", session).await.state(), state, "{session}");
        assert_eq!(ask_of(&registry, "bob", session, "current").await.state(), state, "{session}");
    }
}

#[tokio::test]
async fn a_predecessor_is_superseded_also_where_a_rotation_would_permit_it() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(ask_of(&registry, "ada", "laptop", "one").await.state(), TokenState::Superseded);
    let answer = registry.rotate("ada", "laptop", "one", "three").await;
    assert_eq!(answer.unwrap().token.unwrap().jti, "two");
}

#[tokio::test]
async fn questions_change_nothing() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    open_every_state(&registry).await;
    let (users, sessions) = (rows.count("users").await, rows.count("sessions").await);
    for (user, session, ..) in EVERY_STATE {
        let before = rows.row(user, session).await;
        for jti in ["current", "old", "foreign"] {
            ask_of(&registry, user, session, jti).await;
        }
        ask(&registry, user, session).await;
        ask_many(&registry, vec![question(user, session)]).await.unwrap();
        registry.get(user, session).await.unwrap();
        assert_eq!(rows.row(user, session).await, before, "{user} {session}");
    }
    ask(&registry, "nobody", "none").await;
    ask_of(&registry, "nobody", "none", "one").await;
    ask_many(&registry, vec![question("nobody", "none")]).await.unwrap();
    assert_eq!((rows.count("users").await, rows.count("sessions").await), (users, sessions));
}

#[tokio::test]
async fn a_batch_answers_every_question_in_its_place_as_the_single_question_would() {
    let registry = Registry::start().await;
    open_every_state(&registry).await;
    let mut questions = vec![question("nobody", "active"), question("ada", "none")];
    for (user, session, ..) in EVERY_STATE {
        questions.push(question(user, session));
        // And once more, and one that isn't there, so that no answer can slip into another's place.
        questions.insert(0, question(user, session));
        questions.push(question("nobody", session));
    }
    let answers = ask_many(&registry, questions.clone()).await.unwrap();
    assert_eq!(answers.len(), questions.len());
    for (asked, answer) in questions.iter().zip(&answers) {
        let alone = ask(&registry, &asked.user_id, &asked.session).await;
        assert_eq!((answer.state, answer.session_expires), (alone.state, alone.session_expires), "{asked:?}");
    }
}

#[tokio::test]
async fn a_batch_may_ask_the_same_500_times() {
    let registry = Registry::start().await;
    let end: Option<Timestamp> = registry.add("ada", "laptop", "one").await.unwrap().session_expires;
    let answers = ask_many(&registry, vec![question("ada", "laptop"); 500]).await.unwrap();
    let expected = SessionAnswer { state: TokenState::Active.into(), session_expires: end };
    assert_eq!(answers, vec![expected; 500]);
}

#[tokio::test]
async fn a_batch_of_500_of_the_longest_identifiers_is_answered() {
    let registry = Registry::start().await;
    let (user, session) = ("😀".repeat(255), "漢".repeat(255));
    registry.add(&user, &session, "one").await.unwrap();
    let answers = ask_many(&registry, vec![question(&user, &session); 500]).await.unwrap();
    assert!(answers.len() == 500 && answers.iter().all(|answer| answer.state() == TokenState::Active));
}

#[tokio::test]
async fn a_batch_of_none_or_of_more_than_500_is_invalid() {
    let registry = Registry::start().await;
    assert_invalid(ask_many(&registry, vec![]).await, &["sessions"]);
    assert_invalid(ask_many(&registry, vec![question("ada", "laptop"); 501]).await, &["sessions"]);
}

#[tokio::test]
async fn every_bad_field_of_a_batch_is_named_by_its_place() {
    let registry = Registry::start().await;
    let questions =
        vec![question("", "laptop"), question("ada", "laptop"), question("a\0", &"s".repeat(256))];
    let fields = ["sessions[0].user_id", "sessions[2].user_id", "sessions[2].session"];
    assert_invalid(ask_many(&registry, questions).await, &fields);
}

#[tokio::test]
async fn a_question_without_identifiers_is_invalid() {
    let registry = Registry::start().await;
    let client = &registry.whitelist;
    let asked = client.clone().check_session(CheckSessionRequest::default()).await;
    assert_invalid(asked, &["user_id", "session"]);
    let asked = client.clone().check_refresh_token(CheckRefreshTokenRequest::default()).await;
    assert_invalid(asked, &["user_id", "session", "jti"]);
}
