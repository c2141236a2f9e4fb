//! Guesses at codes: charged before they are compared, however many come at once.

use token_registry::proto::{ConsumeGenericTokenRequest, IssueGenericTokenRequest};
use tonic::Code::ResourceExhausted;

use super::issues::{PURPOSE, claim, claim_of, issue, issue_of, one_claim_or_its_copies_win, one_claim_wins};
use super::{Arena, at_once, expected, rounds, tally, verdict};
use crate::support::assert_refused;

const GUESSES: usize = 24;

/// A code of the caller's own, so that wrong guesses are known to be wrong.
fn code(user_id: &str, value: &str) -> IssueGenericTokenRequest {
    IssueGenericTokenRequest { value: Some(value.into()), ..issue_of(user_id) }
}

fn wrong(n: usize) -> String {
    format!("wrong-{n}")
}

/// What was charged: to the newest code, and to the window.
async fn charged(arena: &Arena, user_id: &str) -> (i64, i64) {
    let newest = "select attempts::bigint from generic_tokens where user_id = $1 order by id desc limit 1";
    let window = "select attempts::bigint from generic_state where user_id = $1";
    (arena.count(newest, user_id).await, arena.count(window, user_id).await)
}

/// Guesses all of these at once; answers each one's verdict.
async fn guess(arena: &Arena, requests: Vec<ConsumeGenericTokenRequest>) -> Vec<String> {
    let calls = requests.into_iter().enumerate().map(|(n, request)| {
        let client = arena.client(n);
        async move { verdict(&claim(&client, request).await) }
    });
    at_once(calls).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_claims_of_a_code_exactly_one_wins() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        issue(&arena.client(0), code(&user, "111111")).await.unwrap();
        one_claim_wins(&arena, claim_of(&user, "111111")).await;
        assert_eq!(charged(&arena, &user).await, (0, 0));
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_the_winning_claim_of_a_code_win_with_it_and_nobody_else() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        issue(&arena.client(0), code(&user, "111111")).await.unwrap();
        one_claim_or_its_copies_win(&arena, claim_of(&user, "111111")).await;
        assert_eq!(charged(&arena, &user).await, (0, 0));
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_wrong_guesses_exactly_as_many_as_the_limit_are_heard() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        issue(&arena.client(0), code(&user, "111111")).await.unwrap();
        let answers = guess(&arena, (0..GUESSES).map(|n| claim_of(&user, &wrong(n))).collect()).await;
        let counts = [("TOKEN_NOT_FOUND", 5), ("ATTEMPTS_EXHAUSTED", GUESSES - 5)];
        assert_eq!(tally(answers), expected(counts));
        assert_eq!(charged(&arena, &user).await, (5, 5));
        let right = claim(&arena.client(1), claim_of(&user, "111111")).await;
        assert_refused(right, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_right_guess_among_many_wins_only_while_the_code_has_attempts_left() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        issue(&arena.client(0), code(&user, "111111")).await.unwrap();
        let mut requests: Vec<_> = (0..GUESSES).map(|n| claim_of(&user, &wrong(n))).collect();
        let place = rand::random_range(0..8);
        requests[place].value = "111111".into();
        let mut answers = guess(&arena, requests).await;
        let right = answers.remove(place);
        let wrongs = tally(answers);
        let heard = wrongs.get("TOKEN_NOT_FOUND").copied().unwrap_or_default();
        let (of_code, of_window) = charged(&arena, &user).await;
        match right.as_str() {
            "OK" => {
                // Compared were the charged ones and the right one, which was not the sixth. Those who came after it
                // found no code to guess at, and were charged nothing.
                assert!(of_code < 5, "{of_code} guesses were heard before the right one");
                assert_eq!(of_window, 0, "a success ends the window");
                assert_eq!(heard, GUESSES - 1);
            }
            "ATTEMPTS_EXHAUSTED" => {
                assert_eq!((of_code, of_window), (5, 5));
                assert_eq!(wrongs, expected([("TOKEN_NOT_FOUND", 5), ("ATTEMPTS_EXHAUSTED", GUESSES - 6)]));
            }
            other => panic!("the right guess was answered {other}"),
        }
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_re_issues_exactly_as_many_guesses_as_the_window_holds_are_heard() {
    let arena = Arena::open_with(|config| config.generic_tokens.window_attempts = 12).await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let mut heard = Vec::new();
        for n in 0..3 {
            issue(&arena.client(n), code(&user, &format!("code-{n}"))).await.unwrap();
            let answers = guess(&arena, (0..GUESSES).map(|n| claim_of(&user, &wrong(n))).collect()).await;
            heard.push(answers.iter().filter(|answer| *answer == "TOKEN_NOT_FOUND").count());
        }
        assert_eq!(heard, [5, 5, 2]);
        assert_eq!(charged(&arena, &user).await, (2, 12));
        let right = claim(&arena.client(1), claim_of(&user, "code-2")).await;
        assert_refused(right, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
        let another = issue(&arena.client(1), code(&user, "code-3")).await;
        assert_refused(another, ResourceExhausted, "ATTEMPTS_EXHAUSTED");
        // A secret has no attempts that anybody could use up.
        issue(&arena.client(1), issue_of(&user)).await.unwrap();
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_late_copy_of_a_replaced_code_is_told_so_and_charged_to_nobody_beside_guesses() {
    const WRONG: usize = 3;
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let (old, _) = issue(&arena.client(0), code(&user, "111111")).await.unwrap();
        let (new, _) = issue(&arena.client(1), code(&user, "222222")).await.unwrap();
        let requests: Vec<_> = (0..GUESSES + WRONG)
            .map(|n| match n % 9 {
                0 => claim_of(&user, &wrong(n)),
                1..=3 => claim_of(&user, "111111"),
                m => {
                    let meant = if m < 6 { &old } else { &new };
                    let challenge = Some(meant.challenge.clone());
                    ConsumeGenericTokenRequest { challenge, ..claim_of(&user, "111111") }
                }
            })
            .collect();
        let answers = guess(&arena, requests).await;
        assert_eq!(tally(answers), expected([("TOKEN_REVOKED", GUESSES), ("TOKEN_NOT_FOUND", WRONG)]));
        assert_eq!(charged(&arena, &user).await, (3, 3));
        claim(&arena.client(0), claim_of(&user, "222222")).await.unwrap();
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_beside_the_issue_that_replaces_its_code_wins_or_is_told_so() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        issue(&arena.client(0), code(&user, "111111")).await.unwrap();
        let calls = (0..8).map(|n| {
            let (client, user) = (arena.client(n), user.clone());
            async move {
                if n == 3 {
                    issue(&client, code(&user, "222222")).await.unwrap();
                    return "ISSUED".to_owned();
                }
                verdict(&claim(&client, claim_of(&user, "111111")).await)
            }
        });
        let answers = tally(at_once(calls).await);
        let of = |word: &str| answers.get(word).copied().unwrap_or_default();
        assert!(of("OK") <= 1, "{answers:?}");
        assert_eq!(of("OK") + of("TOKEN_REVOKED") + of("TOKEN_CONSUMED"), 7, "{answers:?}");
        assert!(of("TOKEN_CONSUMED") == 0 || of("OK") == 1, "{answers:?}");
        assert!(
            of("TOKEN_REVOKED") == 0 || of("OK") == 0,
            "a code is claimed or replaced, never both: {answers:?}"
        );
        assert_eq!(charged(&arena, &user).await, (0, 0));
        claim(&arena.client(1), claim_of(&user, "222222")).await.unwrap();
        let live = format!(
            "select count(*) from generic_tokens where user_id = $1 and purpose = '{PURPOSE}'
             and revoked_at is null and consumed_at is null"
        );
        assert_eq!(arena.count(&live, &user).await, 0);
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_guess_that_loses_to_a_revocation_is_told_so_and_leaves_the_count_as_it_is() {
    let arena = Arena::open().await;
    for value in ["111111", "wrong-3"] {
        let user = format!("user-{value}");
        issue(&arena.client(0), code(&user, "111111")).await.unwrap();
        for n in 0..3 {
            claim(&arena.client(n), claim_of(&user, &wrong(n))).await.unwrap_err();
        }
        let revocation = "update generic_tokens set revoked_at = clock_timestamp() where user_id = $1";
        let held = arena.hold(revocation, &user).await;
        let (answers, ()) =
            tokio::join!(guess(&arena, vec![claim_of(&user, value)]), held.release_when_waited_for_by(1));
        let told = if value == "111111" { "TOKEN_REVOKED" } else { "TOKEN_NOT_FOUND" };
        assert_eq!(answers, [told]);
        assert_eq!(charged(&arena, &user).await, (3, 3));
    }
    arena.close().await;
}
