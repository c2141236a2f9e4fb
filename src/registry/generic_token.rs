//! One-time tokens: secrets and codes.

use std::time::{Duration, SystemTime};

use super::TokenState;
use super::identifiers::{Challenge, ConsumptionId, Purpose, RequestId, UserId};
use super::refusal::Refusal;
use crate::client_info::ClientInfo;
use crate::config::GenericTokenPolicy;

/// A value of so many characters is a secret; a shorter one is a code, whose guesses are counted.
/// 22 characters of base64url are 128 bits.
pub const SECRET_MIN: usize = 22;

/// What a value is, which decides how it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 256 random bits of the registry's own.
    RandomSecret,
    /// A caller's own value of [`SECRET_MIN`] characters or more.
    OwnSecret,
    /// A short value.
    Code,
}

impl Kind {
    /// Whether guesses at it are counted.
    #[must_use]
    pub fn is_code(self) -> bool {
        self == Self::Code
    }
}

/// One one-time token's row. It never has the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenericToken {
    /// The row's number; a greater one is newer.
    pub id: i64,
    /// Whose token.
    pub user_id: String,
    /// What it is good for.
    pub purpose: String,
    /// Whether guesses at it are counted.
    pub is_code: bool,
    /// What is kept of the value.
    pub digest: Vec<u8>,
    /// Its public name in a guess.
    pub challenge: String,
    /// When it was issued.
    pub created: SystemTime,
    /// When it stops being good.
    pub expires: SystemTime,
    /// Wrong guesses charged.
    pub attempts: i32,
    /// Wrong guesses after which it is dead; 0 of a secret.
    pub max_attempts: i32,
    /// When it was claimed, and by which consumption id.
    pub consumption: Option<(SystemTime, Option<String>)>,
    /// Whether it was revoked or replaced.
    pub revoked: bool,
    /// The client it was issued for.
    pub client: ClientInfo,
    /// Whether its user is active. Known of an unspent token: an inactive user has none.
    pub user_active: bool,
    /// The moment of reading, by the database's clock.
    pub as_of: SystemTime,
}

impl GenericToken {
    /// The token's state.
    #[must_use]
    pub fn state(&self) -> TokenState {
        if !self.user_active {
            TokenState::UserInactive
        } else if self.consumption.is_some() {
            TokenState::Consumed
        } else if self.revoked {
            TokenState::Revoked
        } else if self.expires <= self.as_of {
            TokenState::Expired
        } else if self.is_code && self.attempts >= self.max_attempts {
            TokenState::AttemptsExhausted
        } else {
            TokenState::Active
        }
    }

    /// Whether this is the winner's claim come again.
    #[must_use]
    pub fn was_consumed_by(&self, consumption_id: Option<&ConsumptionId>) -> bool {
        match (&self.consumption, consumption_id) {
            (Some((_, Some(winner))), Some(id)) => winner == id.as_str(),
            _ => false,
        }
    }
}

/// What the caller wants as the value.
#[derive(Clone)]
pub enum Wanted {
    /// 256 random bits.
    Secret,
    /// A code of so many digits.
    Digits(u32),
    /// The caller's own.
    Own(String),
}

impl Wanted {
    /// What the value will be.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Secret => Kind::RandomSecret,
            Self::Digits(_) => Kind::Code,
            Self::Own(value) if super::secrets::is_code(value) => Kind::Code,
            Self::Own(_) => Kind::OwnSecret,
        }
    }
}

/// A request to issue. No `Debug`: it may hold the value.
#[derive(Clone)]
pub struct Issue {
    /// Whose token.
    pub user_id: UserId,
    /// What it is good for.
    pub purpose: Purpose,
    /// What its value is.
    pub wanted: Wanted,
    /// How long it is good, already capped.
    pub lifetime: Duration,
    /// Wrong guesses it stands, already capped; 0 of a secret.
    pub max_attempts: u32,
    /// Whether earlier ones stay.
    pub keep_existing: bool,
    /// The client that asked.
    pub client: ClientInfo,
    /// Makes it safe to retry.
    pub request_id: Option<RequestId>,
}

/// A request to consume. No `Debug`: it holds the value.
#[derive(Clone)]
pub struct Consumption {
    /// What the value is meant for.
    pub purpose: Purpose,
    /// The value presented.
    pub value: String,
    /// Whose token it must be.
    pub user_id: Option<UserId>,
    /// Which token is meant.
    pub challenge: Option<Challenge>,
    /// Makes it safe to retry.
    pub consumption_id: Option<ConsumptionId>,
}

/// The window over which wrong guesses of one user and purpose are counted, over re-issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Wrong guesses charged in it.
    pub attempts: i32,
    /// When it began.
    pub started: SystemTime,
    /// The moment of reading, by the database's clock.
    pub as_of: SystemTime,
}

impl Window {
    fn end(&self, policy: &GenericTokenPolicy) -> SystemTime {
        self.started + policy.window
    }

    /// How long the window still refuses codes; `None` if it doesn't.
    #[must_use]
    pub fn exhausted_for(&self, policy: &GenericTokenPolicy) -> Option<Duration> {
        let remaining = self.end(policy).duration_since(self.as_of).ok()?;
        (i64::from(self.attempts) >= i64::from(policy.window_attempts) && !remaining.is_zero())
            .then_some(remaining)
    }

    /// The window after one more wrong guess.
    #[must_use]
    pub fn charged(&self, policy: &GenericTokenPolicy) -> Self {
        if self.end(policy) <= self.as_of {
            Self { attempts: 1, started: self.as_of, ..*self }
        } else {
            Self { attempts: self.attempts.saturating_add(1), ..*self }
        }
    }

    /// The window after a success.
    #[must_use]
    pub fn reset(&self) -> Self {
        Self { attempts: 0, started: self.as_of, ..*self }
    }
}

/// A code that a guess can be about, and whether the guess is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The code's row.
    pub token: GenericToken,
    /// Whether the guessed value is its value.
    pub matches: bool,
}

/// What becomes of a guess. Made under the lock that orders guesses, and carried out before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// The winner's claim come again: the same answer.
    AlreadyWon(&'a GenericToken),
    /// Right: claim it, and the window begins anew.
    Claim(&'a GenericToken),
    /// Wrong: charge the code and the window, then answer not found.
    Charge(&'a GenericToken),
    /// Refused, and nobody is charged.
    Refuse(Refusal),
}

/// Judges a guess at a code.
///
/// `candidates` are, newest first, the codes of that user and purpose that still stand and the dead ones of the very
/// same value.
#[must_use]
pub fn judge_guess<'a>(
    guess: &Consumption,
    candidates: &'a [Candidate],
    window: &Window,
    policy: &GenericTokenPolicy,
) -> Judgement<'a> {
    let won = candidates.iter().find(|c| c.matches && c.token.was_consumed_by(guess.consumption_id.as_ref()));
    if let Some(won) = won {
        return Judgement::AlreadyWon(&won.token);
    }
    let stands =
        |token: &GenericToken| matches!(token.state(), TokenState::Active | TokenState::AttemptsExhausted);
    let meant = candidates.iter().find(|c| {
        stands(&c.token)
            && guess.challenge.as_ref().is_none_or(|challenge| c.token.challenge == challenge.as_str())
    });
    // A late copy of a code that is over is told so, whichever code was meant, and charged to nobody.
    let late = candidates.iter().find(|c| c.matches && !stands(&c.token));
    if let Some(late) = late
        && !meant.is_some_and(|meant| meant.matches)
    {
        let refusal = Refusal::of_generic_token(late.token.state());
        return Judgement::Refuse(refusal.unwrap_or(Refusal::TokenNotFound));
    }
    let Some(meant) = meant else {
        return Judgement::Refuse(Refusal::TokenNotFound);
    };
    if let Some(remaining) = window.exhausted_for(policy) {
        return Judgement::Refuse(Refusal::AttemptsExhausted(Some(remaining)));
    }
    if meant.token.state() == TokenState::AttemptsExhausted {
        return Judgement::Refuse(Refusal::AttemptsExhausted(None));
    }
    if meant.matches { Judgement::Claim(&meant.token) } else { Judgement::Charge(&meant.token) }
}

#[cfg(test)]
mod tests {
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
        let one = (
            any::<bool>(),
            0..=5,
            consumption,
            prop::bool::weighted(0.3),
            select(vec![0, 60]),
            any::<bool>(),
        );
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
}
