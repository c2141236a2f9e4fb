//! One-time tokens issued at once, and secrets claimed at once.

use token_registry::proto::{
    CheckGenericTokenRequest, ConsumeGenericTokenRequest, GenericToken, IssueGenericTokenRequest, TokenState,
};
use tonic::Status;

use super::{Arena, at_once, expected, rounds, tally, verdict};
use crate::support::Registry;

pub(super) const PURPOSE: &str = "reset";

pub(super) fn issue_of(user_id: &str) -> IssueGenericTokenRequest {
    IssueGenericTokenRequest { user_id: user_id.into(), purpose: PURPOSE.into(), ..Default::default() }
}

pub(super) async fn issue(
    registry: &Registry,
    request: IssueGenericTokenRequest,
) -> Result<(GenericToken, String), Status> {
    let issued = registry.generic.clone().issue_generic_token(request).await?.into_inner();
    Ok((issued.token.unwrap(), issued.value))
}

pub(super) fn claim_of(user_id: &str, value: &str) -> ConsumeGenericTokenRequest {
    ConsumeGenericTokenRequest {
        purpose: PURPOSE.into(),
        value: value.into(),
        user_id: Some(user_id.into()),
        ..Default::default()
    }
}

pub(super) async fn claim(
    registry: &Registry,
    request: ConsumeGenericTokenRequest,
) -> Result<GenericToken, Status> {
    let consumed = registry.generic.clone().consume_generic_token(request).await?;
    Ok(consumed.into_inner().token.unwrap())
}

async fn state_of(registry: &Registry, value: &str) -> TokenState {
    let request =
        CheckGenericTokenRequest { purpose: PURPOSE.into(), value: value.into(), ..Default::default() };
    registry.generic.clone().check_generic_token(request).await.unwrap().into_inner().state()
}

/// Sends calls that are let go together, when so many of them wait for the user's row.
async fn together<T>(arena: &Arena, user_id: &str, waiting: i64, calls: impl Future<Output = T>) -> T {
    let held = arena.hold("select from users where user_id = $1 for update", user_id).await;
    tokio::join!(calls, held.release_when_waited_for_by(waiting)).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_any_number_of_concurrent_issues_exactly_the_last_one_is_alive() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        // The first wave makes the user known as well, and the row that orders the issues; the others are let go all
        // at once, by the user's row.
        for wave in 0..3 {
            let calls = at_once((0..8).map(|n| {
                let (client, request) = (arena.client(n), issue_of(&user));
                async move { issue(&client, request).await }
            }));
            let answers = together(&arena, &user, if wave == 0 { 0 } else { 8 }, calls).await;
            let issued: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
            let newest = issued.iter().map(|(token, _)| token.base.as_ref().unwrap().id).max().unwrap();
            for (n, (token, value)) in issued.iter().enumerate() {
                let alive = token.base.as_ref().unwrap().id == newest;
                let state = if alive { TokenState::Active } else { TokenState::Revoked };
                assert_eq!(state_of(&arena.client(n + 1), value).await, state);
            }
            let live = "select count(*) from generic_tokens where user_id = $1 and revoked_at is null";
            assert_eq!(arena.count(live, &user).await, 1);
        }
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_one_issue_are_answered_with_one_token_and_one_value() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let digits = (round % 2 == 1).then_some(6);
        let copies = [2, 8][round % 2];
        issue(&arena.client(0), issue_of(&user)).await.unwrap();
        let calls = at_once((0..copies).map(|n| {
            let client = arena.client(n);
            let request =
                IssueGenericTokenRequest { request_id: Some("issue".into()), digits, ..issue_of(&user) };
            async move { issue(&client, request).await }
        }));
        let answers = together(&arena, &user, i64::try_from(copies).unwrap(), calls).await;
        let issued: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let (token, value) = &issued[0];
        for (other, its_value) in &issued {
            assert_eq!(other.base.as_ref().unwrap().id, token.base.as_ref().unwrap().id);
            assert_eq!((&other.challenge, other.state()), (&token.challenge, TokenState::Active));
            assert!(its_value == value, "the values differ");
        }
        assert_eq!(arena.count("select count(*) from generic_tokens where user_id = $1", &user).await, 2);
        claim(&arena.client(1), claim_of(&user, value)).await.unwrap();
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_claims_of_a_secret_exactly_one_wins() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let (_, value) = issue(&arena.client(0), issue_of(&user)).await.unwrap();
        one_claim_wins(&arena, claim_of(&user, &value)).await;
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_the_winning_claim_of_a_secret_win_with_it_and_nobody_else() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let (_, value) = issue(&arena.client(0), issue_of(&user)).await.unwrap();
        one_claim_or_its_copies_win(&arena, claim_of(&user, &value)).await;
    }
    arena.close().await;
}

/// 16 claims at once, none with a name of its own.
pub(super) async fn one_claim_wins(arena: &Arena, request: ConsumeGenericTokenRequest) {
    let answers = at_once((0..16).map(|n| {
        let (client, request) = (arena.client(n), request.clone());
        async move { claim(&client, request).await }
    }))
    .await;
    assert_eq!(tally(answers.iter().map(verdict)), expected([("OK", 1), ("TOKEN_CONSUMED", 15)]));
}

/// 24 claims at once, four of which are copies of one.
pub(super) async fn one_claim_or_its_copies_win(arena: &Arena, request: ConsumeGenericTokenRequest) {
    let answers = at_once((0..24).map(|n| {
        let consumption_id = match n % 6 {
            0 => Some("copies".to_owned()),
            1 | 2 => None,
            _ => Some(format!("claim-{n}")),
        };
        let (client, request) =
            (arena.client(n / 6 + n), ConsumeGenericTokenRequest { consumption_id, ..request.clone() });
        async move { claim(&client, request).await }
    }))
    .await;
    let copies = answers.iter().step_by(6).filter(|answer| answer.is_ok()).count();
    let winners = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((copies, winners) == (0, 1) || (copies, winners) == (4, 4), "{copies} of {winners} are copies");
    let refused = tally(answers.iter().map(verdict));
    assert_eq!(refused, expected([("OK", winners), ("TOKEN_CONSUMED", 24 - winners)]));
}
