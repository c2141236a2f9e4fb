//! The rules of guesses and windows, tried with made-up rows.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::config::Config;

const WINDOW: Duration = Duration::from_hours(1);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(1_000)
}

fn policy() -> GenericTokenPolicy {
    GenericTokenPolicy { window_attempts: 7, window: WINDOW, ..Config::default().generic_tokens }
}

fn windows() -> impl Strategy<Value = Window> {
    let ages = select(vec![0, 1, 1_800, 3_599, 3_600, 3_601]);
    (select(vec![0, 1, 6, 7, 8, i32::MAX]), ages).prop_map(|(attempts, age)| Window {
        attempts,
        started: now() - Duration::from_secs(age),
        as_of: now(),
    })
}

/// Codes, newest first, each with its own challenge, as `generic/codes.sql` finds them: those that stand, and dead
/// ones only if they are of the guessed value.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let consumption = prop::option::weighted(0.3, prop::option::of(select(vec!["winner", "other"])));
    let one =
        (any::<bool>(), 0..=5, consumption, prop::bool::weighted(0.3), select(vec![0, 60]), any::<bool>());
    let one = one.prop_map(|(matches, attempts, consumption, revoked, left, user_active)| {
        let over = consumption.is_some() || revoked || left == 0;
        let token = GenericToken {
            id: 0,
            user_id: "u".to_owned(),
            purpose: "p".to_owned(),
            is_code: true,
            digest: Vec::new(),
            challenge: String::new(),
            created: now(),
            expires: now() + Duration::from_secs(left),
            attempts,
            max_attempts: 5,
            consumption: consumption.map(|id| (now(), id.map(str::to_owned))),
            revoked,
            client: ClientInfo::default(),
            user_active: user_active || !over,
            as_of: now(),
        };
        Candidate { token, matches: matches || over }
    });
    prop::collection::vec(one, 0..5).prop_map(|mut codes| {
        for (i, code) in codes.iter_mut().enumerate() {
            code.token.id = 10 - i64::try_from(i).unwrap();
            code.token.challenge = format!("challenge {i}");
        }
        codes
    })
}

fn guess(challenge: Option<&str>, consumption_id: Option<&str>) -> Consumption {
    Consumption {
        purpose: Purpose::parse("p".to_owned()).unwrap(),
        value: "123456".to_owned(),
        user_id: Some(UserId::parse("u".to_owned()).unwrap()),
        challenge: challenge.map(|text| Challenge::parse(text.to_owned()).unwrap()),
        consumption_id: consumption_id.map(|text| ConsumptionId::parse(text.to_owned()).unwrap()),
    }
}

/// Whether a guess may be about this code at all.
fn may_mean(guess: &Consumption, token: &GenericToken) -> bool {
    guess.challenge.as_ref().is_none_or(|challenge| challenge.as_str() == token.challenge)
}

fn stands(candidate: &Candidate) -> bool {
    matches!(candidate.token.state(), TokenState::Active | TokenState::AttemptsExhausted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_guess_is_judged_by_the_contracts_rules(
        challenge in prop::option::of(select(vec!["challenge 0", "challenge 1", "challenge 2", "none"])),
        consumption_id in prop::option::of(select(vec!["winner", "stranger"])),
        candidates in candidates(),
        window in windows(),
    ) {
        let (guess, policy) = (&guess(challenge, consumption_id), &policy());
        let is_full = window.exhausted_for(policy).is_some();
        let winner = consumption_id == Some("winner");
        let has_won = candidates.iter().any(|c| {
            c.matches && winner && matches!(&c.token.consumption, Some((_, Some(id))) if id == "winner")
        });
        let meant = candidates.iter().find(|c| stands(c) && may_mean(guess, &c.token));
        let right = meant.filter(|c| c.matches);
        let copy_of_a_dead_one = candidates.iter().any(|c| c.matches && !stands(c));
        let judgement = judge_guess(guess, &candidates, &window, policy);
        prop_assert_eq!(matches!(judgement, Judgement::AlreadyWon(_)), has_won);
        match judgement {
            Judgement::AlreadyWon(token) => prop_assert!(token.was_consumed_by(guess.consumption_id.as_ref())),
            Judgement::Claim(token) => {
                prop_assert_eq!(Some(token), right.map(|c| &c.token));
                prop_assert_eq!(token.state(), TokenState::Active);
                prop_assert!(!is_full);
            }
            Judgement::Charge(token) => {
                prop_assert_eq!(Some(token), meant.map(|c| &c.token), "the newest that stands, or the one named");
                prop_assert!(right.is_none() && !copy_of_a_dead_one, "only a wrong guess is charged");
                prop_assert_eq!(token.state(), TokenState::Active);
                prop_assert!(!is_full);
            }
            Judgement::Refuse(Refusal::AttemptsExhausted(remaining)) => {
                prop_assert_eq!(remaining.is_some(), is_full);
                prop_assert!(is_full || meant.unwrap().token.state() == TokenState::AttemptsExhausted);
            }
            Judgement::Refuse(Refusal::TokenNotFound) => prop_assert!(meant.is_none() && !copy_of_a_dead_one),
            Judgement::Refuse(_) => prop_assert!(copy_of_a_dead_one && right.is_none()),
        }
    }

    #[test]
    fn a_window_is_full_until_its_end_and_not_a_moment_longer(window in windows()) {
        let policy = policy();
        let end = window.started + WINDOW;
        let is_full = window.attempts >= 7 && window.as_of < end;
        prop_assert_eq!(window.exhausted_for(&policy), is_full.then(|| end.duration_since(now()).unwrap()));
        prop_assert_eq!(Window { as_of: end, ..window }.exhausted_for(&policy), None);
    }

    #[test]
    fn a_charge_counts_one_more_or_begins_a_new_window(window in windows()) {
        let charged = window.charged(&policy());
        if window.started + WINDOW <= now() {
            prop_assert_eq!(charged, Window { attempts: 1, started: now(), as_of: now() });
        } else {
            prop_assert_eq!(charged.attempts, window.attempts.saturating_add(1));
            prop_assert_eq!(charged.started, window.started, "a window that moves would never end");
        }
    }

    #[test]
    fn a_success_gives_all_guesses_back(window in windows()) {
        let mut window = window.reset();
        for _ in 0..7 {
            prop_assert_eq!(window.exhausted_for(&policy()), None);
            window = window.charged(&policy());
        }
        prop_assert_eq!(window.exhausted_for(&policy()), Some(WINDOW));
    }
}

#[test]
fn a_state_is_the_first_of_inactive_consumed_revoked_expired_exhausted() {
    for bits in 0..32_u8 {
        let is = |bit: u8| bits & (1 << bit) != 0;
        let token = GenericToken {
            id: 1,
            user_id: String::new(),
            purpose: String::new(),
            is_code: true,
            digest: Vec::new(),
            challenge: String::new(),
            created: now(),
            user_active: !is(0),
            consumption: is(1).then(|| (now(), None)),
            revoked: is(2),
            expires: if is(3) { now() } else { now() + Duration::from_nanos(1) },
            attempts: if is(4) { 5 } else { 4 },
            max_attempts: 5,
            client: ClientInfo::default(),
            as_of: now(),
        };
        let order = [
            TokenState::UserInactive,
            TokenState::Consumed,
            TokenState::Revoked,
            TokenState::Expired,
            TokenState::AttemptsExhausted,
        ];
        let first = (0..5).find(|&bit| is(bit)).map_or(TokenState::Active, |bit| order[usize::from(bit)]);
        assert_eq!(token.state(), first);
        let secret = GenericToken { is_code: false, attempts: 0, max_attempts: 0, ..token };
        assert_ne!(secret.state(), TokenState::AttemptsExhausted, "a secret has no attempts");
    }
}
