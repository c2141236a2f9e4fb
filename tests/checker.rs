//! The checker of histories (`contract/check.rs`) itself: what it allows, and what it doesn't.

use crate::contract::check::{Verdict, check_beside_purge};
use crate::contract::history::{Event, NEVER};
use crate::contract::shrink::shrink;
use crate::contract::words::{
    Answer, Call, Counts, ErrorReason, KeyModel, KeyRow, Name, RevocationReason, RotationOutcome, SessionRow,
    TokenRow, TokenState, Value, Wanted, Which,
};

const VERSION: Name = Name(0);

fn event(began: u64, ended: u64, call: Call, answer: Answer) -> Event {
    Event { who: 0, call, answer: Some(answer), began, ended }
}

fn unknown(began: u64, call: Call) -> Event {
    Event { who: 0, call, answer: None, began, ended: NEVER }
}

fn created() -> Event {
    event(0, 1, Call::CreateUser, Answer::User { active: true, version: VERSION })
}

fn row(jti: u32, rotations: i64) -> SessionRow {
    SessionRow {
        jti: Name(jti),
        enabled: true,
        state: TokenState::Active,
        rotations,
        graces: 0,
        reason: RevocationReason::Unspecified,
    }
}

fn add(began: u64, ended: u64) -> Event {
    let call = Call::Add { session: 0, jti: Name(1), enabled: true, strict: true, version: None };
    event(began, ended, call, Answer::Session(row(1, 0)))
}

fn rotation(jti: u32, new_jti: u32) -> Call {
    Call::Rotate { session: 0, jti: Name(jti), new_jti: Some(Name(new_jti)) }
}

fn rotated(began: u64, ended: u64, jti: u32, new_jti: u32, rotations: i64) -> Event {
    let answer = Answer::Rotated(RotationOutcome::Rotated, row(new_jti, rotations));
    event(began, ended, rotation(jti, new_jti), answer)
}

fn checked(began: u64, ended: u64, state: TokenState) -> Event {
    event(began, ended, Call::CheckSession { session: 0 }, Answer::State(state))
}

fn revocation() -> Call {
    Call::RevokeSessions { except: None, reason: RevocationReason::Logout }
}

fn revoked(began: u64, ended: u64, count: i64) -> Event {
    event(began, ended, revocation(), Answer::Count(count))
}

fn is_violation(history: &[Event]) -> bool {
    is_violation_beside_purge(history, NEVER)
}

/// With a purge that began at this time.
fn is_violation_beside_purge(history: &[Event], purged_from: u64) -> bool {
    match check_beside_purge(history, purged_from) {
        Verdict::Allowed => false,
        Verdict::Violation(_) => true,
        Verdict::Undecided => panic!("it is easy to decide"),
    }
}

#[test]
fn who_asks_beside_a_revocation_may_see_either_and_who_asks_later_only_its_end() {
    let before = [created(), add(2, 3), revoked(10, 20, 1)];
    for (began, state, is_wrong) in [
        (15, TokenState::Active, false),
        (15, TokenState::Revoked, false),
        (21, TokenState::Revoked, false),
        (21, TokenState::Active, true),
    ] {
        let history = [&before[..], &[checked(began, 30, state)]].concat();
        assert_eq!(is_violation(&history), is_wrong, "{began} {state:?}");
    }
    // Nor may it be seen, and then not.
    let seen = [checked(11, 12, TokenState::Revoked), checked(13, 14, TokenState::Active)];
    assert!(is_violation(&[&before[..], &seen].concat()));
}

#[test]
fn a_jti_is_swapped_once() {
    let first = rotated(10, 20, 1, 2, 1);
    assert!(is_violation(&[created(), add(2, 3), first.clone(), rotated(10, 20, 1, 3, 1)]));
    assert!(!is_violation(&[created(), add(2, 3), first.clone(), rotated(10, 20, 2, 3, 2)]));
    // A line of rotations has the order of their times.
    assert!(is_violation(&[created(), add(2, 3), first, rotated(5, 9, 2, 3, 2)]));
}

#[test]
fn a_replay_that_is_refused_has_revoked() {
    let refusal = Answer::refused(ErrorReason::TokenReplayed);
    let replay = event(30, 40, rotation(1, 9), refusal);
    let history = [created(), add(2, 3), rotated(10, 20, 1, 2, 1), replay];
    let then = |state| [&history[..], &[checked(50, 60, state)]].concat();
    assert!(!is_violation(&then(TokenState::Revoked)));
    assert!(is_violation(&then(TokenState::Active)));
}

#[test]
fn what_has_an_unknown_outcome_may_be_done_later_or_never_but_once() {
    let history = [created(), add(2, 3), unknown(10, revocation())];
    let seen = |first, second| {
        is_violation(&[&history[..], &[checked(20, 21, first), checked(30, 31, second)]].concat())
    };
    assert!(!seen(TokenState::Active, TokenState::Active));
    assert!(!seen(TokenState::Active, TokenState::Revoked));
    assert!(!seen(TokenState::Revoked, TokenState::Revoked));
    assert!(seen(TokenState::Revoked, TokenState::Active));
    // Not before it was sent.
    assert!(is_violation(&[&history[..], &[checked(5, 6, TokenState::Revoked)]].concat()));
    // And it isn't done a second time to a session that was opened after its effect was seen.
    let call = Call::Add { session: 1, jti: Name(5), enabled: true, strict: true, version: None };
    let again = [
        checked(20, 21, TokenState::Revoked),
        event(30, 31, call, Answer::Session(row(5, 0))),
        event(40, 41, Call::CheckSession { session: 1 }, Answer::State(TokenState::Revoked)),
    ];
    assert!(is_violation(&[&history[..], &again].concat()));
}

#[test]
fn a_jti_that_the_server_made_without_an_answer_is_known_when_it_turns_up() {
    let mint = unknown(10, Call::Rotate { session: 0, jti: Name(1), new_jti: None });
    let read = |jti| event(20, 21, Call::GetSession { session: 0 }, Answer::Session(row(jti, 1)));
    assert!(!is_violation(&[created(), add(2, 3), mint.clone(), read(7)]));
    // It presents what it was told, which makes that no other's.
    assert!(!is_violation(&[created(), add(2, 3), mint.clone(), read(7), rotated(30, 31, 7, 8, 2)]));
    assert!(is_violation(&[created(), add(2, 3), mint.clone(), read(7), rotated(30, 31, 6, 8, 2)]));
    // Nor does another's rotation to it make it that caller's.
    let retried = Answer::Rotated(RotationOutcome::Retried, row(7, 1));
    let again = event(30, 31, rotation(1, 7), retried);
    assert!(!is_violation(&[created(), add(2, 3), mint, read(7), again.clone()]));
    assert!(is_violation(&[created(), add(2, 3), read(7), again]));
}

#[test]
fn a_secret_is_claimed_once_and_one_of_several_issues_is_alive() {
    let token =
        |challenge, state| TokenRow { challenge: Name(challenge), state, attempts: 0, max_attempts: 0 };
    let value = |n| Value { is_code: false, which: Which::Made(Name(n)) };
    let issued = |began, ended, n: u32| {
        let call = Call::Issue {
            purpose: 0,
            wanted: Wanted::Secret,
            max_attempts: 0,
            keep_existing: false,
            request: None,
        };
        event(began, ended, call, Answer::Issued(token(n, TokenState::Active), value(n + 100)))
    };
    let claimed = |began, ended, n: u32, id| {
        let call = Call::Consume { purpose: 0, value: value(n + 100), names_user: true, challenge: None, id };
        event(began, ended, call, Answer::Claimed(token(n, TokenState::Consumed)))
    };
    let alone = [created(), issued(2, 3, 1), claimed(10, 20, 1, None)];
    assert!(!is_violation(&alone));
    assert!(is_violation(&[&alone[..], &[claimed(10, 20, 1, None)]].concat()));
    let with_id = [created(), issued(2, 3, 1), claimed(10, 20, 1, Some(1)), claimed(10, 20, 1, Some(1))];
    assert!(!is_violation(&with_id));
    assert!(is_violation(&[
        created(),
        issued(2, 5, 1),
        issued(2, 5, 2),
        claimed(10, 20, 1, None),
        claimed(10, 20, 2, None)
    ]));
    assert!(!is_violation(&[created(), issued(2, 5, 1), issued(2, 5, 2), claimed(10, 20, 2, None)]));
}

#[test]
fn what_many_made_at_once_has_the_order_of_the_list_that_shows_it() {
    let row =
        |n: u32| KeyRow { prefix: Name(n), model: KeyModel::Prefixed, name: 0, state: TokenState::Active };
    let made = |began, ended, n| {
        let call = Call::CreateKey { model: KeyModel::Prefixed, name: 0, replace: false, request: None };
        event(began, ended, call, Answer::KeyMade(row(n), Name(n + 100)))
    };
    let with_list = |newest_first: &[u32]| {
        // Far more orders than can be looked at.
        let mut history = vec![created()];
        history.extend((10..22).map(|n| made(10, 20, n)));
        history.push(made(30, 40, 30));
        let rows = newest_first.iter().map(|n| row(*n)).collect();
        history.push(event(50, 60, Call::ListKeys, Answer::Keys(rows)));
        is_violation(&history)
    };
    let some_order: Vec<_> = (0..12).map(|n| 10 + n * 7 % 12).collect();
    assert!(!with_list(&[&[30], &some_order[..]].concat()));
    assert!(with_list(&[&some_order[..], &[30]].concat()), "the last one made isn't the oldest");
    assert!(with_list(&[&[30], &some_order[1..]].concat()), "one is missing");
}

#[test]
fn a_key_that_was_made_without_an_answer_is_known_when_it_is_presented() {
    let call = |request| Call::CreateKey { model: KeyModel::Drf, name: 0, replace: false, request };
    let row = KeyRow { prefix: Name(5), model: KeyModel::Drf, name: 0, state: TokenState::Active };
    let known = event(
        20,
        30,
        Call::Authenticate { key: Name(6) },
        Answer::Authenticated(TokenState::Active, Some(row)),
    );
    assert!(!is_violation(&[created(), unknown(2, call(Some(1))), known.clone()]));
    assert!(is_violation(&[created(), known]));
}

#[test]
fn an_inactive_user_has_no_live_session() {
    let counts = Counts::default();
    let suspended = event(
        10,
        20,
        Call::SetActive { active: false },
        Answer::Counted { active: false, version: Name(1), counts },
    );
    // It was opened beside the suspension, before it or after: then it was ended, or refused.
    assert!(is_violation(&[created(), suspended, add(10, 20), checked(30, 40, TokenState::Active)]));
}

#[test]
fn a_purge_takes_what_is_over_and_what_is_gone_stays_gone() {
    let over = [created(), add(2, 3), revoked(10, 20, 1)];
    let gone = checked(30, 31, TokenState::Unknown);
    let left = |began| checked(began, began + 1, TokenState::Revoked);
    let with = |events: &[Event]| [&over[..], events].concat();
    for (events, purged_from, is_wrong) in [
        (vec![gone.clone()], NEVER, true),
        (vec![gone.clone()], 25, false),
        (vec![gone.clone()], 0, false),
        // It hadn't begun yet.
        (vec![gone.clone()], 32, true),
        // Nobody says when it went, but it doesn't come back.
        (vec![left(25), gone.clone()], 0, false),
        (vec![gone.clone(), left(40)], 0, true),
        // Its name is free, for another session.
        (vec![gone.clone(), add(40, 41), checked(50, 51, TokenState::Active)], 0, false),
        (vec![left(25), add(40, 41), checked(50, 51, TokenState::Active)], 0, false),
        (vec![add(40, 41)], NEVER, true),
    ] {
        assert_eq!(
            is_violation_beside_purge(&with(&events), purged_from),
            is_wrong,
            "{events:?} {purged_from}"
        );
    }
    // What lives is never taken.
    assert!(is_violation_beside_purge(&[created(), add(2, 3), gone], 0));
}

#[test]
fn a_violation_is_cut_down_to_what_shows_it() {
    let mut history = vec![created(), add(2, 3)];
    for n in 0..20_u32 {
        let at = 100 + u64::from(n) * 10;
        history.push(checked(at, at + 1, TokenState::Active));
        history.push(rotated(at + 2, at + 3, n + 1, n + 2, i64::from(n) + 1));
    }
    history.push(revoked(1000, 1001, 1));
    history.push(checked(1010, 1011, TokenState::Active));
    history.push(checked(1020, 1021, TokenState::Revoked));
    let shrunk = shrink(&history, NEVER);
    let left: Vec<_> = shrunk.essence.iter().map(|event| event.began).collect();
    assert_eq!(left, [1000, 1010]);
    assert_eq!(shrunk.others, history.len() - 2);
}
