//! Sessions and the rotation of their refresh tokens.

use std::time::{Duration, SystemTime};

use super::identifiers::{CredentialVersion, Jti, SessionName, UserId};
use super::refusal::Refusal;
use super::{Limits, TokenState};
use crate::client_info::ClientInfo;

/// Why a session ended before its time. The numbers are those of `tokenregistry.v1.RevocationReason`, in the
/// database too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(i16)]
pub enum RevocationReason {
    /// No reason was given.
    #[default]
    Unspecified = 0,
    /// The person logged out.
    Logout = 1,
    /// A jti that was rotated away was presented again.
    Replay = 2,
    /// The person's credentials changed.
    CredentialChange = 3,
    /// The user was suspended.
    UserDeactivated = 4,
    /// An administrator ended it.
    Administrative = 5,
    /// The user had too many sessions.
    SessionLimit = 6,
}

impl RevocationReason {
    const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::Logout,
        Self::Replay,
        Self::CredentialChange,
        Self::UserDeactivated,
        Self::Administrative,
        Self::SessionLimit,
    ];

    /// The reason of this number, if there is one.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| i32::from(reason.number()) == number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }

    /// Its name, as in `REVOCATION_REASON_…`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Logout => "LOGOUT",
            Self::Replay => "REPLAY",
            Self::CredentialChange => "CREDENTIAL_CHANGE",
            Self::UserDeactivated => "USER_DEACTIVATED",
            Self::Administrative => "ADMINISTRATIVE",
            Self::SessionLimit => "SESSION_LIMIT",
        }
    }

    /// Whether only the registry itself may give this reason.
    #[must_use]
    pub fn is_the_registrys_own(self) -> bool {
        matches!(self, Self::Replay | Self::SessionLimit)
    }
}

/// What decides whether a session is live, as of one moment of the database's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The seed's switch.
    pub enabled: bool,
    /// When the session ends whatever happens.
    pub session_expires: SystemTime,
    /// When it ends without a rotation.
    pub idle_expires: SystemTime,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether its user is active. Known of a live session: an inactive user has none.
    pub user_active: bool,
    /// The moment of reading.
    pub as_of: SystemTime,
}

impl Life {
    /// The session's state, by the contract's order.
    #[must_use]
    pub fn state(&self) -> TokenState {
        if !self.user_active {
            TokenState::UserInactive
        } else if self.revoked {
            TokenState::Revoked
        } else if self.session_expires <= self.as_of || self.idle_expires <= self.as_of {
            TokenState::Expired
        } else if !self.enabled {
            TokenState::Disabled
        } else {
            TokenState::Active
        }
    }

    /// Whether the session is live: a disabled one is.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state(), TokenState::Active | TokenState::Disabled)
    }
}

/// One session's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The row's number, kept over rotations.
    pub id: i64,
    /// Whose session.
    pub user_id: String,
    /// The caller's name of it.
    pub session: String,
    /// The one jti that may be presented now.
    pub jti: String,
    /// The jti before the last rotation.
    pub previous_jti: Option<String>,
    /// When the current jti was issued: the time of the last rotation.
    pub created: SystemTime,
    /// When the session was opened.
    pub session_created: SystemTime,
    /// Its own grace, before the configured cap.
    pub rotation_grace: Duration,
    /// How many times the jti was rotated.
    pub rotations: i64,
    /// How many answers were given inside the grace window.
    pub grace_count: i64,
    /// When and why it was revoked.
    pub revocation: Option<(SystemTime, RevocationReason)>,
    /// The client it was issued to.
    pub client: ClientInfo,
    /// What decides whether it is live.
    pub life: Life,
}

impl Session {
    /// State of one jti of this session, by the contract's order.
    #[must_use]
    pub fn state_of(&self, jti: &Jti) -> TokenState {
        if self.life.is_live() && self.jti != jti.as_str() {
            TokenState::Superseded
        } else {
            self.life.state()
        }
    }

    /// Why the session takes no command that a disabled one would take; `None` if it is live.
    #[must_use]
    pub fn refusal_if_dead(&self) -> Option<Refusal> {
        if self.life.is_live() {
            return None;
        }
        Refusal::of_session(self.life.state(), self.revocation.map(|(_, reason)| reason))
    }
}

/// A request to open a session.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Whose session.
    pub user_id: UserId,
    /// The caller's name of it.
    pub session: SessionName,
    /// Its first jti.
    pub jti: Jti,
    /// Whether it starts switched on.
    pub enabled: bool,
    /// The client that logged in.
    pub client: ClientInfo,
    /// How long it may live, already capped.
    pub session_lifetime: Duration,
    /// How long it may live without a rotation, already capped.
    pub idle_timeout: Duration,
    /// Its grace, already capped.
    pub rotation_grace: Duration,
    /// The version of the user's credentials that the login was judged by.
    pub credential_version: Option<CredentialVersion>,
}

/// A request to rotate.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Whose session.
    pub user_id: UserId,
    /// Which session.
    pub session: SessionName,
    /// The jti presented.
    pub jti: Jti,
    /// Its successor: the caller's, or minted.
    pub new_jti: Jti,
    /// The client that presented it, if it was told.
    pub client: Option<ClientInfo>,
}

/// How a rotation was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The jti was current and was swapped.
    Rotated,
    /// The last rotation's own pair again; nothing changed.
    Retried,
    /// The immediate predecessor, in time; the winner's jti is the answer.
    Grace,
}

/// What the conditional write of a rotation did, read from the row that it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It answered.
    Answered(RotationOutcome),
    /// It revoked the session: a replay.
    Replayed,
}

impl Rotation {
    /// Reads from a row that the conditional write changed what it did.
    #[must_use]
    pub fn written(&self, row: &Session) -> Written {
        if row.revocation.is_some() {
            Written::Replayed
        } else if row.jti == self.new_jti.as_str() {
            Written::Answered(RotationOutcome::Rotated)
        } else {
            Written::Answered(RotationOutcome::Grace)
        }
    }

    /// Explains why the conditional write changed nothing, from the row as it is now.
    #[must_use]
    pub fn explain(&self, row: Option<&Session>, limits: &Limits) -> Explanation {
        let Some(row) = row else {
            return Explanation::Refused(Refusal::SessionNotFound);
        };
        if let Some(refusal) = row.refusal_if_dead() {
            return Explanation::Refused(refusal);
        }
        let is_current = row.jti == self.jti.as_str();
        let is_predecessor = row.previous_jti.as_deref() == Some(self.jti.as_str());
        let grace = row.rotation_grace.min(limits.rotation_grace);
        let within = |window: Duration| row.created + window > row.life.as_of;
        let is_retry =
            is_predecessor && row.jti == self.new_jti.as_str() && within(grace.max(limits.retry_window));
        if !is_current && !is_retry && !(is_predecessor && within(grace)) {
            return Explanation::Again;
        }
        if !row.life.enabled {
            Explanation::Refused(Refusal::TokenDisabled)
        } else if is_retry {
            Explanation::Retried
        } else if is_current && row.previous_jti.as_deref() == Some(self.new_jti.as_str()) {
            Explanation::NewJtiWasPrevious
        } else {
            Explanation::Again
        }
    }
}

/// Why a rotation changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explanation {
    /// The last rotation's own pair again: the row is the answer.
    Retried,
    /// The rules refuse it.
    Refused(Refusal),
    /// The suggested successor is the jti before this one.
    NewJtiWasPrevious,
    /// By this row it would be written: something changed in between, so try again. Never a verdict.
    Again,
}

#[cfg(test)]
mod tests {
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
                    match rotation.written(&written) {
                        Written::Answered(outcome) => Verdict::Answered(outcome),
                        Written::Replayed => Verdict::Replayed,
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
            assert_eq!(life.is_live(), bits & 0b1111 == 0);
        }
    }
}
