//! The rules of sessions, tried with made-up rows.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::config::Config;

/// The moment of every reading here.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(1_000)
}

/// What becomes of a rotation.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Refused(Refusal),
    NewJtiWasPrevious,
    Replayed,
    Answered(RotationOutcome),
}

/// The contract's rules, in its own order and words.
fn by_the_contract(rotation: &Rotation, row: &Session, limits: &Limits) -> Verdict {
    let (presented, successor) = (rotation.jti.as_str(), rotation.new_jti.as_str());
    let since = row.life.as_of.duration_since(row.created).unwrap();
    let is_current = row.jti == presented;
    let is_predecessor = row.previous_jti.as_deref() == Some(presented);
    let grace = row.rotation_grace.min(limits.rotation_grace);
    let is_own_pair = is_predecessor && row.jti == successor;
    let retry = is_own_pair && (since < limits.retry_window || since < grace);
    let in_grace = is_predecessor && !is_own_pair && since < grace;
    if !row.life.user_active {
        Verdict::Refused(Refusal::UserInactive)
    } else if let Some((_, reason)) = row.revocation {
        Verdict::Refused(Refusal::SessionRevoked(reason))
    } else if row.life.session_expires <= row.life.as_of || row.life.idle_expires <= row.life.as_of {
        Verdict::Refused(Refusal::SessionExpired)
    } else if !is_current && !retry && !in_grace {
        Verdict::Replayed
    } else if !row.life.enabled {
        Verdict::Refused(Refusal::TokenDisabled)
    } else if retry {
        Verdict::Answered(RotationOutcome::Retried)
    } else if in_grace {
        Verdict::Answered(RotationOutcome::Grace)
    } else if row.previous_jti.as_deref() == Some(successor) {
        Verdict::NewJtiWasPrevious
    } else {
        Verdict::Answered(RotationOutcome::Rotated)
    }
}

/// `session/rotate.sql`, clause by clause: the row as it is then, if it is written.
fn by_the_statement(rotation: &Rotation, row: &Session, limits: &Limits) -> Option<Session> {
    let (presented, successor) = (rotation.jti.as_str(), rotation.new_jti.as_str());
    let live = row.revocation.is_none()
        && row.life.session_expires > row.life.as_of
        && row.life.idle_expires > row.life.as_of;
    let is_current = row.jti == presented;
    let is_predecessor = row.previous_jti.as_deref() == Some(presented);
    let grace = row.rotation_grace.min(limits.rotation_grace);
    let within_grace = is_predecessor && row.created + grace > row.life.as_of;
    let within_retry = is_predecessor
        && row.jti == successor
        && row.created + grace.max(limits.retry_window) > row.life.as_of;
    let written = live
        && if is_current {
            row.life.enabled && row.previous_jti.as_deref() != Some(successor)
        } else {
            !within_retry && (row.life.enabled || !within_grace)
        };
    written.then(|| {
        let mut row = row.clone();
        if is_current {
            row.previous_jti = Some(std::mem::replace(&mut row.jti, successor.to_owned()));
        } else if within_grace {
            row.grace_count += 1;
        } else {
            row.revocation = Some((row.life.as_of, RevocationReason::Replay));
            row.life.revoked = true;
        }
        row
    })
}

fn jtis() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "c", "d"])
}

fn seconds(of: &[u64]) -> impl Strategy<Value = Duration> + use<> {
    select(of.iter().map(|&seconds| Duration::from_secs(seconds)).collect::<Vec<_>>())
}

fn lives() -> impl Strategy<Value = Life> {
    // Mostly alive, since there the rules are many.
    (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.1),
        seconds(&[10, 11, 60, 60]),
        seconds(&[10, 11, 60, 60]),
    )
        .prop_map(|(enabled, revoked, session_left, idle_left)| Life {
            enabled,
            revoked,
            // A life of 10 seconds ends now.
            session_expires: now() + session_left - Duration::from_secs(10),
            idle_expires: now() + idle_left - Duration::from_secs(10),
            user_active: true,
            as_of: now(),
        })
        .prop_flat_map(|life| {
            // An inactive user has no live session.
            let may_be_inactive = !life.is_live();
            any::<bool>().prop_map(move |inactive| Life {
                user_active: !(inactive && may_be_inactive),
                ..life.clone()
            })
        })
}

fn sessions() -> impl Strategy<Value = Session> {
    let ages = seconds(&[0, 1, 29, 30, 31, 119, 120, 86_399, 86_400, 86_401]);
    (jtis(), prop::option::of(jtis()), ages, seconds(&[0, 30, 120]), lives())
        .prop_filter("the previous jti is another one", |(jti, previous, ..)| Some(*jti) != *previous)
        .prop_map(|(jti, previous, age, rotation_grace, life)| Session {
            id: 1,
            user_id: "u".to_owned(),
            session: "s".to_owned(),
            jti: jti.to_owned(),
            previous_jti: previous.map(str::to_owned),
            created: now() - age,
            session_created: now() - Duration::from_hours(100),
            rotation_grace,
            rotations: 1,
            grace_count: 0,
            revocation: life.revoked.then(|| (now(), RevocationReason::Logout)),
            client: ClientInfo::default(),
            life,
        })
}

fn rotations() -> impl Strategy<Value = Rotation> {
    (jtis(), jtis()).prop_filter("refused before", |(jti, new_jti)| jti != new_jti).prop_map(
        |(jti, new_jti)| Rotation {
            user_id: UserId::parse("u".to_owned()).unwrap(),
            session: SessionName::parse("s".to_owned()).unwrap(),
            jti: Jti::parse(jti.to_owned()).unwrap(),
            new_jti: Jti::parse(new_jti.to_owned()).unwrap(),
            client: None,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    (seconds(&[0, 30, 120]), seconds(&[0, 60, 86_400])).prop_map(|(rotation_grace, retry_window)| {
        Limits::from(&Config { rotation_grace, retry_window, ..Config::default() })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn without_a_row_there_is_no_session(rotation in rotations(), limits in limits()) {
        prop_assert_eq!(
            rotation.explain(None, &limits),
            Explanation::Refused(Refusal::SessionNotFound)
        );
    }

    /// What the statement writes and what is explained where it writes nothing are, together, the contract; and
    /// "again" is said exactly where the statement would write, so it can't go round in circles on one row.
    #[test]
    fn statement_and_explanation_together_are_the_contracts_rules(
        row in sessions(), rotation in rotations(), limits in limits(),
    ) {
        let explained = rotation.explain(Some(&row), &limits);
        let decided = match by_the_statement(&rotation, &row, &limits) {
            Some(written) => {
                prop_assert_eq!(explained, Explanation::Again);
                match rotation.written(written) {
                    Ok((_, outcome)) => Verdict::Answered(outcome),
                    Err(refusal) => {
                        prop_assert_eq!(refusal, Refusal::TokenReplayed);
                        Verdict::Replayed
                    }
                }
            }
            None => match explained {
                Explanation::Retried => Verdict::Answered(RotationOutcome::Retried),
                Explanation::Refused(refusal) => Verdict::Refused(refusal),
                Explanation::NewJtiWasPrevious => Verdict::NewJtiWasPrevious,
                Explanation::Again => return Err(TestCaseError::fail("nothing written, nothing explained")),
            },
        };
        prop_assert_eq!(decided, by_the_contract(&rotation, &row, &limits));
    }

    /// The state of a question and the refusal of a command follow the same order.
    #[test]
    fn a_question_about_the_current_jti_is_active_exactly_where_a_rotation_succeeds(
        row in sessions(), rotation in rotations(), limits in limits(),
    ) {
        let asked = Jti::parse(row.jti.clone()).unwrap();
        let state = row.state_of(&asked);
        prop_assert_eq!(state, row.life.state());
        let other = Jti::parse("never seen".to_owned()).unwrap();
        prop_assert_eq!(row.state_of(&other) == TokenState::Superseded, row.life.is_live());
        let with_current = Rotation { jti: asked, ..rotation };
        if with_current.new_jti.as_str() != row.jti {
            let verdict = by_the_contract(&with_current, &row, &limits);
            prop_assert_eq!(state == TokenState::Active, !matches!(verdict, Verdict::Refused(_)));
            if let Verdict::Refused(refusal) = verdict {
                let reason = row.revocation.map(|(_, reason)| reason);
                prop_assert_eq!(Refusal::of_session(state, reason), Some(refusal));
            }
        }
    }
}

#[test]
fn a_state_is_the_first_of_inactive_revoked_expired_disabled() {
    for bits in 0..32_u8 {
        let is = |bit: u8| bits & (1 << bit) != 0;
        let expiry = |over: bool| if over { now() } else { now() + Duration::from_nanos(1) };
        let life = Life {
            user_active: !is(0),
            revoked: is(1),
            session_expires: expiry(is(2)),
            idle_expires: expiry(is(3)),
            enabled: !is(4),
            as_of: now(),
        };
        let order = [
            TokenState::UserInactive,
            TokenState::Revoked,
            TokenState::Expired,
            TokenState::Expired,
            TokenState::Disabled,
        ];
        let first = (0..5).find(|&bit| is(bit)).map_or(TokenState::Active, |bit| order[usize::from(bit)]);
        assert_eq!(life.state(), first, "{life:?}");
        assert_eq!(life.is_live(), bits.trailing_zeros() >= 4);
    }
}
