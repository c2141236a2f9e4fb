//! API keys: what they look like, how they are made, and when they may be used.

use std::time::{Duration, SystemTime};

use rand::{CryptoRng, RngExt as _};
use sha2::{Digest as _, Sha256};

use super::TokenState;
use super::identifiers::{KeyName, RequestId, UserId};
use crate::config::AuthTokenModel;

/// One API key's row. It never has the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthToken {
    /// The row's number; a greater one is newer.
    pub id: i64,
    /// Whose key.
    pub user_id: String,
    /// The key's first characters.
    pub prefix: String,
    /// Of which model it is.
    pub model: AuthTokenModel,
    /// What the user calls it; empty: no name.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// What decides whether it may be used.
    pub life: KeyLife,
    /// When it was last used.
    pub last_used: Option<SystemTime>,
}

/// What decides whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// When it stops being good; `None`: it doesn't.
    pub expires: Option<SystemTime>,
    /// Whether it was revoked or replaced.
    pub revoked: bool,
    /// Whether its user is active.
    pub user_active: bool,
    /// The moment of reading, by the database's clock.
    pub as_of: SystemTime,
}

impl KeyLife {
    /// The key's state.
    #[must_use]
    pub fn state(&self) -> TokenState {
        if !self.user_active {
            TokenState::UserInactive
        } else if self.revoked {
            TokenState::Revoked
        } else if self.expires.is_some_and(|expires| expires <= self.as_of) {
            TokenState::Expired
        } else {
            TokenState::Active
        }
    }
}

/// What is known of a key that was presented: as little as the answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Whose key.
    pub user_id: String,
    /// What the user calls it.
    pub name: String,
    /// When it was made.
    pub created: SystemTime,
    /// What decides whether it may be used.
    pub life: KeyLife,
    /// When it was last used.
    pub last_used: Option<SystemTime>,
}

/// The time of last use is kept to this.
const USE_NOTED_EVERY: Duration = Duration::from_mins(1);

impl Presented {
    /// Whether this use of it is to be written.
    #[must_use]
    pub fn is_use_to_note(&self) -> bool {
        let noted_until = self.last_used.map(|last| last + USE_NOTED_EVERY);
        self.life.state() == TokenState::Active && noted_until.is_none_or(|until| until <= self.life.as_of)
    }
}

/// A request to make a key.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Whose key.
    pub user_id: UserId,
    /// What the user calls it.
    pub name: Option<KeyName>,
    /// How long it is good; `None`: without end.
    pub lifetime: Option<Duration>,
    /// Whether it takes the place of another one.
    pub replace: bool,
    /// Makes it safe to retry.
    pub request_id: Option<RequestId>,
}

/// Longest lifetime that a key is given: ten years of 365.25 days.
pub const LIFETIME_MAX: Duration = Duration::from_hours(87_660);

/// The random bytes that a key is made of.
pub type Seed = [u8; 32];

/// A well-formed key. No `Debug`: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    model: AuthTokenModel,
    text: String,
}

/// What a prefixed key begins with.
const PREFIX: &str = "trk_";
/// How many characters of a key's own are in its public name.
const HANDLE: usize = 8;
/// Hexadecimal digits of a key of Django REST framework.
const DRF_DIGITS: usize = 40;
/// 256 bits in base 62.
const RANDOM_DIGITS: usize = 43;
/// 32 bits in base 62.
const CHECKSUM_DIGITS: usize = 6;

impl Key {
    /// Mints a key.
    pub fn mint(rng: &mut impl CryptoRng, model: AuthTokenModel) -> Self {
        let mut seed = Seed::default();
        rng.fill(&mut seed[..]);
        Self::from_seed(model, &seed)
    }

    /// The key that these bytes stand for.
    #[must_use]
    pub fn from_seed(model: AuthTokenModel, seed: &Seed) -> Self {
        let text = match model {
            AuthTokenModel::Drf => {
                use std::fmt::Write as _;
                seed[..DRF_DIGITS / 2].iter().fold(String::with_capacity(DRF_DIGITS), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                })
            }
            AuthTokenModel::Prefixed => {
                let random = base62(seed, RANDOM_DIGITS);
                format!("{PREFIX}{random}{}", checksum(&random))
            }
        };
        Self { model, text }
    }

    /// Takes a text as a caller presents it, with the word that an `Authorization` header has before the key or without.
    /// `None` of everything that no key can be.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text.split_once(' ') {
            None => text,
            Some((word, rest)) if ["token", "bearer"].iter().any(|w| word.eq_ignore_ascii_case(w)) => {
                rest.trim_matches(' ')
            }
            Some(_) => return None,
        };
        let model = if let Some(own) = text.strip_prefix(PREFIX) {
            let (random, sum) = own.split_at_checked(RANDOM_DIGITS)?;
            (random.bytes().all(|digit| digit.is_ascii_alphanumeric()) && checksum(random) == sum)
                .then_some(AuthTokenModel::Prefixed)
        } else {
            let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
            (text.len() == DRF_DIGITS && text.bytes().all(is_digit)).then_some(AuthTokenModel::Drf)
        };
        Some(Self { model: model?, text: text.to_owned() })
    }

    /// Its model.
    #[must_use]
    pub fn model(&self) -> AuthTokenModel {
        self.model
    }

    /// Its public name: the first characters.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self.model {
            AuthTokenModel::Drf => &self.text[..HANDLE],
            AuthTokenModel::Prefixed => &self.text[..PREFIX.len() + HANDLE],
        }
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }

    /// The key itself, for the one answer that carries it.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A number, its most significant byte first, in so many digits.
fn base62(number: &[u8], digits: usize) -> String {
    let mut number = number.to_vec();
    let mut text = vec![b'0'; digits];
    for place in text.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let part = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(part / 62).expect("the rest is below 62, so the quotient is a byte");
            rest = part % 62;
        }
        *place = DIGITS[rest as usize];
    }
    text.into_iter().map(char::from).collect()
}

/// CRC-32 in base 62: the scheme that secret scanners know from other vendors' keys.
fn checksum(random: &str) -> String {
    base62(&crc32fast::hash(random.as_bytes()).to_be_bytes(), CHECKSUM_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: [AuthTokenModel; 2] = [AuthTokenModel::Drf, AuthTokenModel::Prefixed];

    #[test]
    fn a_minted_key_is_well_formed_as_clients_send_it() {
        for model in MODELS {
            let key = Key::mint(&mut rand::rng(), model);
            for sent in ["", "Token ", "token ", "Bearer ", "BEARER "] {
                let parsed = Key::parse(&format!("{sent}{}", key.text)).expect("a key");
                assert!(parsed == key, "{sent}");
            }
            assert!(key.text.starts_with(key.prefix()));
        }
    }

    #[test]
    fn every_typo_in_a_prefixed_key_is_known() {
        let key = Key::mint(&mut rand::rng(), AuthTokenModel::Prefixed).into_text();
        for place in 0..key.len() {
            let mut typo = key.clone().into_bytes();
            typo[place] = if typo[place] == b'x' { b'y' } else { b'x' };
            assert!(Key::parse(std::str::from_utf8(&typo).unwrap()).is_none(), "at {place}");
            let mut short = key.clone();
            short.remove(place);
            assert!(Key::parse(&short).is_none(), "without {place}");
        }
    }

    #[test]
    fn what_no_key_can_be_is_malformed() {
        let hex = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";
        assert!(Key::parse(hex).is_some());
        let long = format!("{hex}0");
        let swapped = format!("{hex} Token");
        let basic = format!("Basic {hex}");
        for bad in [
            "",
            " ",
            "Token",
            "Token ",
            "trk_",
            &hex[1..],
            &long,
            &hex.to_uppercase(),
            &swapped,
            &basic,
            "🙂",
        ] {
            assert!(Key::parse(bad).is_none(), "{bad}");
        }
        assert!(Key::parse(&format!("trk_{}", "ü".repeat(40))).is_none());
    }

    #[test]
    fn keys_look_the_same_for_ever() {
        // Derived keys must come back after an upgrade, and those handed out must stay well-formed.
        let seed = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let drf = Key::from_seed(AuthTokenModel::Drf, &seed);
        assert_eq!(drf.prefix(), "00010203");
        assert_eq!(drf.into_text(), "000102030405060708090a0b0c0d0e0f10111213");
        let prefixed = Key::from_seed(AuthTokenModel::Prefixed, &seed).into_text();
        assert_eq!(prefixed, "trk_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1Yo7hP");
        let most = Key::from_seed(AuthTokenModel::Prefixed, &[0xff; 32]).into_text();
        assert_eq!(most.len(), 53);
    }

    #[test]
    fn numbers_in_base_62() {
        assert_eq!(base62(&[0], 2), "00");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
    }

    #[test]
    fn a_use_is_noted_once_a_minute_and_only_of_a_key_that_works() {
        let now = SystemTime::now();
        let life = KeyLife { expires: None, revoked: false, user_active: true, as_of: now };
        let presented = |last_used: Option<u64>, life| Presented {
            user_id: "ada".into(),
            name: String::new(),
            created: now,
            life,
            last_used: last_used.map(|seconds| now - Duration::from_secs(seconds)),
        };
        assert!(presented(None, life).is_use_to_note());
        assert!(presented(Some(60), life).is_use_to_note());
        assert!(!presented(Some(59), life).is_use_to_note());
        for dead in [
            KeyLife { revoked: true, ..life },
            KeyLife { user_active: false, ..life },
            KeyLife { expires: Some(now), ..life },
        ] {
            assert!(!presented(None, dead).is_use_to_note(), "{dead:?}");
        }
    }
}
