//! Values that must not be guessed or read: how they are minted, derived and kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::{CryptoRng, RngExt as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};

use super::identifiers::{Challenge, Jti, Purpose, RequestId, UserId};

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

/// What a presented value is, by its length alone: a guess at a code, or a secret.
#[must_use]
pub fn is_code(value: &str) -> bool {
    value.chars().count() < SECRET_MIN
}

/// How many digits a code may have.
pub const CODE_DIGITS: std::ops::RangeInclusive<u32> = 6..=10;

/// A digest as the database keeps it.
pub type Digest = Vec<u8>;

/// `N` random bytes as base64url without padding.
fn random_text<const N: usize>(rng: &mut impl CryptoRng) -> String {
    let mut bytes = [0_u8; N];
    rng.fill(&mut bytes[..]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Mints a jti: 128 random bits.
pub fn mint_jti(rng: &mut impl CryptoRng) -> Jti {
    Jti::minted(random_text::<16>(rng))
}

/// Mints the public name of a one-time token: 128 random bits.
pub fn mint_challenge(rng: &mut impl CryptoRng) -> Challenge {
    Challenge::minted(random_text::<16>(rng))
}

/// Mints a secret value: 256 random bits.
pub fn mint_secret(rng: &mut impl CryptoRng) -> String {
    random_text::<32>(rng)
}

/// Mints a code of so many decimal digits, each code as likely as another.
pub fn mint_code(rng: &mut impl CryptoRng, digits: u32) -> String {
    let code = rng.random_range(0..10_u64.pow(digits));
    format!("{code:0width$}", width = digits as usize)
}

/// Mints a server key: 256 random bits.
pub fn mint_server_key(rng: &mut impl CryptoRng) -> Vec<u8> {
    let mut bytes = vec![0_u8; 32];
    rng.fill(&mut bytes[..]);
    bytes
}

/// The server's keys: the current one makes digests, and the previous one is still understood.
pub struct ServerKeys {
    current_first: Vec<SecretSlice<u8>>,
}

impl ServerKeys {
    /// Takes the keys, the current one first. At least one is needed: a registry without a key can't keep codes.
    #[must_use]
    pub fn new(current: Vec<u8>, previous: Option<Vec<u8>>) -> Self {
        Self { current_first: std::iter::once(current).chain(previous).map(SecretSlice::from).collect() }
    }

    fn mac(key: &SecretSlice<u8>, use_: &str, parts: &[&str]) -> Vec<u8> {
        let mut mac =
            <Hmac<Sha256>>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length");
        mac.update(use_.as_bytes());
        for part in parts {
            // The length before each part keeps ("ab", "c") apart from ("a", "bc").
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().to_vec()
    }

    fn current(&self) -> &SecretSlice<u8> {
        &self.current_first[0]
    }

    /// The digest under which a value is kept from now on.
    ///
    /// A random secret needs no key: 256 bits can't be searched. A code is bound to its user and purpose, so that
    /// equal codes don't show as equal digests; a caller's own secret is bound to its purpose alone, since it may be
    /// consumed without naming the user.
    #[must_use]
    pub fn digest(&self, kind: Kind, user_id: &UserId, purpose: &Purpose, value: &str) -> Digest {
        match kind {
            Kind::RandomSecret => Sha256::digest(value).to_vec(),
            Kind::OwnSecret => Self::own_secret(self.current(), purpose, value),
            Kind::Code => Self::code(self.current(), user_id, purpose, value),
        }
    }

    /// Every digest that a presented secret may be kept under.
    #[must_use]
    pub fn secret_digests(&self, purpose: &Purpose, value: &str) -> Vec<Digest> {
        std::iter::once(Sha256::digest(value).to_vec())
            .chain(self.current_first.iter().map(|key| Self::own_secret(key, purpose, value)))
            .collect()
    }

    /// Every digest that a guessed code may be kept under.
    #[must_use]
    pub fn code_digests(&self, user_id: &UserId, purpose: &Purpose, value: &str) -> Vec<Digest> {
        self.current_first.iter().map(|key| Self::code(key, user_id, purpose, value)).collect()
    }

    fn own_secret(key: &SecretSlice<u8>, purpose: &Purpose, value: &str) -> Digest {
        Self::mac(key, "own secret", &[purpose.as_str(), value])
    }

    fn code(key: &SecretSlice<u8>, user_id: &UserId, purpose: &Purpose, value: &str) -> Digest {
        Self::mac(key, "code", &[user_id.as_str(), purpose.as_str(), value])
    }

    /// The values that a request id stands for, one a key, the current key's first: derived, so that a retry gets
    /// its value again although it is not stored.
    #[must_use]
    pub fn derive_values(
        &self,
        user_id: &UserId,
        purpose: &Purpose,
        request_id: &RequestId,
        digits: Option<u32>,
    ) -> Vec<String> {
        let parts = [user_id.as_str(), purpose.as_str(), request_id.as_str()];
        self.current_first
            .iter()
            .map(|key| {
                let bytes = Self::mac(key, "issued value", &parts);
                match digits {
                    None => URL_SAFE_NO_PAD.encode(bytes),
                    Some(digits) => {
                        // 128 bits over at most 10^10 codes: the bias is below 2^-90.
                        let number = bytes[..16].iter().fold(0_u128, |n, byte| (n << 8) | u128::from(*byte));
                        let code = number % 10_u128.pow(digits);
                        format!("{code:0width$}", width = digits as usize)
                    }
                }
            })
            .collect()
    }

    /// The bytes that an API key is made of whose creation carried this request id, one a server key, the current
    /// one's first.
    #[must_use]
    pub fn derive_key_seeds(&self, user_id: &UserId, request_id: &RequestId) -> Vec<[u8; 32]> {
        let parts = [user_id.as_str(), request_id.as_str()];
        let seed = |key| {
            let mut seed = [0; 32];
            seed.copy_from_slice(&Self::mac(key, "API key", &parts));
            seed
        };
        self.current_first.iter().map(seed).collect()
    }

    /// Seals a text that comes back through a caller: only what this registry sealed for the same use opens again.
    #[must_use]
    pub fn seal(&self, use_: &[&str], text: &str) -> String {
        let parts: Vec<&str> = use_.iter().copied().chain([text]).collect();
        let mut sealed = Self::mac(self.current(), "seal", &parts)[..16].to_vec();
        sealed.extend_from_slice(text.as_bytes());
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// Opens what [`Self::seal`] made for the same use; `None` of anything else.
    #[must_use]
    pub fn open(&self, use_: &[&str], sealed: &str) -> Option<String> {
        use subtle::ConstantTimeEq as _;
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (tag, text) = bytes.split_at_checked(16)?;
        let text = std::str::from_utf8(text).ok()?;
        let parts: Vec<&str> = use_.iter().copied().chain([text]).collect();
        self.current_first
            .iter()
            .any(|key| bool::from(Self::mac(key, "seal", &parts)[..16].ct_eq(tag)))
            .then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (UserId, Purpose, RequestId) {
        (
            UserId::parse("u".into()).unwrap(),
            Purpose::parse("p".into()).unwrap(),
            RequestId::parse("r".into()).unwrap(),
        )
    }

    #[test]
    fn a_previous_key_is_still_understood_and_a_foreign_one_is_not() {
        let (user, purpose, request) = names();
        let old = ServerKeys::new(b"old".to_vec(), None);
        let both = ServerKeys::new(b"new".to_vec(), Some(b"old".to_vec()));
        let kept = old.digest(Kind::Code, &user, &purpose, "123456");
        assert!(both.code_digests(&user, &purpose, "123456").contains(&kept));
        assert!(
            !ServerKeys::new(b"new".to_vec(), None).code_digests(&user, &purpose, "123456").contains(&kept)
        );
        let value = old.derive_values(&user, &purpose, &request, Some(6));
        assert_eq!(both.derive_values(&user, &purpose, &request, Some(6))[1], value[0]);
        assert_eq!(value[0].len(), 6);
    }

    #[test]
    fn what_is_sealed_for_one_use_opens_for_no_other() {
        let keys = ServerKeys::new(b"k".to_vec(), None);
        let sealed = keys.seal(&["list", "user-a"], "position");
        assert_eq!(keys.open(&["list", "user-a"], &sealed).as_deref(), Some("position"));
        assert_eq!(keys.open(&["list", "user-b"], &sealed), None);
        for forged in ["", "AAAA", "not base64!", &sealed[1..]] {
            assert_eq!(keys.open(&["list", "user-a"], forged), None);
        }
    }

    #[test]
    fn codes_have_their_digits() {
        let mut rng = rand::rng();
        for digits in 6..=10 {
            let code = mint_code(&mut rng, digits);
            assert_eq!(code.len(), digits as usize);
            assert!(code.bytes().all(|b| b.is_ascii_digit()));
        }
        assert_eq!(mint_secret(&mut rng).len(), 43);
        assert_eq!(mint_jti(&mut rng).as_str().len(), 22);
    }
}
