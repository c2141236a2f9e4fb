//! What a one-time token of the Django package becomes here: its digest and its lifetime.

use std::time::Duration;

use crate::registry::secrets::{Kind, ServerKeys, is_code};
use crate::registry::{Purpose, UserId};

/// The purposes under which the package keeps the value itself.
const PLAIN: &[&str] = &[
    "PASS_RESET_ACCESS",
    "PASS_SET_ACCESS",
    "mfa_login_challenge",
    "mfa_setup_challenge",
    "mfa_login_attempt",
];

/// The purpose under which the package keeps what it reads back later, so nothing that could be claimed.
const DATA: &str = "mfa_setup_secret";

const DAY: Duration = Duration::from_hours(24);

/// How long the package itself honours a token, in its own defaults.
const LIFETIMES: &[(&str, Duration)] = &[
    ("PASS_RESET_ACCESS", Duration::from_mins(30)),
    ("PASS_SET_ACCESS", Duration::from_mins(30)),
    ("mfa_login_challenge", Duration::from_mins(5)),
    ("mfa_setup_challenge", Duration::from_mins(5)),
    ("mfa_login_attempt", Duration::from_mins(15)),
];

/// What is kept of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptValue {
    /// The digest under which its holder's value will be looked for.
    pub digest: Vec<u8>,
    /// Whether it is a code, whose guesses are counted.
    pub is_code: bool,
}

/// How long a token of this purpose lives where the registry's configuration doesn't say.
#[must_use]
pub fn package_lifetime(purpose: &str) -> Duration {
    // Three days: what the package's generator of links, and so any purpose of an application, is checked with.
    LIFETIMES.iter().find(|(name, _)| *name == purpose).map_or(DAY * 3, |(_, lifetime)| *lifetime)
}

/// What becomes of the column `token`.
///
/// # Errors
/// Why it can't be taken.
pub fn keep(
    keys: &ServerKeys,
    plain_purposes: &[String],
    user_id: &UserId,
    purpose: &Purpose,
    token: &str,
) -> Result<KeptValue, &'static str> {
    if purpose.as_str() == DATA {
        return Err(
            "not a one-time token but a secret that the package reads back; the person starts the set-up again",
        );
    }
    if token.is_empty() {
        return Err("its value is empty");
    }
    let is_plain =
        PLAIN.contains(&purpose.as_str()) || plain_purposes.iter().any(|plain| plain == purpose.as_str());
    if !is_plain && let Some(digest) = sha256_from_hex(token) {
        return Ok(KeptValue { digest, is_code: false });
    }
    let kind = if is_code(token) { Kind::Code } else { Kind::OwnSecret };
    Ok(KeptValue { digest: keys.digest(kind, user_id, purpose, token), is_code: kind.is_code() })
}

/// The 32 bytes that 64 lower-case hexadecimal digits stand for.
fn sha256_from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 64 {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_kept_as_its_holders_value_is_looked_for() {
        let keys = ServerKeys::new(b"key".to_vec(), None);
        let user = UserId::parse("1".into()).unwrap();
        let kept = |purpose: &str, token: &str| {
            keep(&keys, &["plain".to_owned()], &user, &Purpose::parse(purpose.into()).unwrap(), token)
        };
        let found = |purpose: &str, value: &str, kept: KeptValue| {
            keys.secret_digests(&Purpose::parse(purpose.into()).unwrap(), value).contains(&kept.digest)
        };
        let link = "cabc12-0123456789abcdef0123456789abcdef";
        // What sha256sum says of it.
        let hex = "9b44abd4f23107018f2302e137caa6c6661fd6f2b082b14244b1ea8b0759565c";
        assert!(found("PASS_RESET", link, kept("PASS_RESET", hex).unwrap()));
        assert!(!found("PASS_RESET", hex, kept("PASS_RESET", hex).unwrap()), "the digest is not the value");
        for plain in ["eccaeb1388224a6f8f43d4252805d4cb", &"x".repeat(255), hex] {
            assert!(found("PASS_SET_ACCESS", plain, kept("PASS_SET_ACCESS", plain).unwrap()));
            assert!(found("plain", plain, kept("plain", plain).unwrap()));
        }
        assert!(found("email-change", &"y".repeat(255), kept("email-change", &"y".repeat(255)).unwrap()));
        assert!(kept("login", "123456").unwrap().is_code);
        assert!(kept(DATA, "signed:text").is_err());
        assert!(kept("PASS_RESET", "").is_err());
    }

    #[test]
    fn only_a_digest_is_taken_for_one() {
        assert_eq!(sha256_from_hex(&"0f".repeat(32)), Some(vec![15; 32]));
        for text in ["0F".repeat(32), "0g".repeat(32), "0f".repeat(31), "é".repeat(32)] {
            assert_eq!(sha256_from_hex(&text), None, "{text}");
        }
    }

    #[test]
    fn unknown_purposes_live_as_long_as_links() {
        assert_eq!(package_lifetime("mfa_login_challenge"), Duration::from_mins(5));
        assert_eq!(package_lifetime("email-change"), DAY * 3);
    }
}
