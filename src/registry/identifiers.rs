//! Identifiers, parsed once: whoever holds one of these types holds a value that passed its rule.

use std::fmt;

/// Longest identifier, in Unicode characters.
pub const IDENTIFIER_MAX: usize = 255;
/// Longest purpose, in Unicode characters.
pub const PURPOSE_MAX: usize = 64;
/// Longest one-time value, in Unicode characters.
pub const VALUE_MAX: usize = 1024;

/// Says what is wrong with a text that must have 1 to `max` characters and no control characters.
///
/// # Errors
/// The rule that the text breaks, in words for the caller.
pub fn check_text(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("must not be empty (1 to {max} characters)"));
    }
    // A character is at most four bytes: a huge text is refused without being counted.
    if text.len() > max * 4 || text.chars().count() > max {
        return Err(format!("is too long (1 to {max} characters)"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Takes the text if it keeps the rule.
            ///
            /// # Errors
            /// The rule that the text breaks, in words for the caller.
            pub fn parse(text: String) -> Result<Self, String> {
                check_text(&text, $max).map(|()| Self(text))
            }

            /// What stands in for a refused field until [`Fields::read`](super::Fields::read) has refused the request.
            pub(super) fn placeholder() -> Self {
                Self(String::new())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// The caller's name of a user: any subject.
    UserId, IDENTIFIER_MAX
);
identifier!(
    /// The caller's name of a session: one login on one device.
    SessionName, IDENTIFIER_MAX
);
identifier!(
    /// A JWT ID claim (RFC 7519, section 4.1.7): what names a refresh token.
    Jti, IDENTIFIER_MAX
);
identifier!(
    /// What a one-time token is good for.
    Purpose, PURPOSE_MAX
);
identifier!(
    /// Makes an issue, a creation or a credential change safe to retry.
    RequestId, IDENTIFIER_MAX
);
identifier!(
    /// Makes a claim safe to retry.
    ConsumptionId, IDENTIFIER_MAX
);
identifier!(
    /// The public name of a code in a guess.
    Challenge, IDENTIFIER_MAX
);
identifier!(
    /// What the caller read as the user's credential version: compared, never interpreted.
    CredentialVersion, IDENTIFIER_MAX
);

identifier!(
    /// What a user calls an API key.
    KeyName, IDENTIFIER_MAX
);
identifier!(
    /// An API key's public name: its first characters.
    KeyPrefix, IDENTIFIER_MAX
);

impl Jti {
    /// A jti that the registry minted itself.
    pub(super) fn minted(text: String) -> Self {
        Self(text)
    }
}

impl Challenge {
    /// A challenge that the registry minted itself.
    pub(super) fn minted(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_characters_not_bytes() {
        assert!(UserId::parse("ü".repeat(255)).is_ok());
        assert!(UserId::parse("😀".repeat(255)).is_ok());
        assert!(UserId::parse("ü".repeat(256)).is_err());
        assert!(Purpose::parse("p".repeat(64)).is_ok());
        assert!(Purpose::parse("p".repeat(65)).is_err());
        assert!(UserId::parse(String::new()).is_err());
    }

    #[test]
    fn control_characters_are_refused() {
        for text in ["a\0b", "a\nb", "\u{7f}", "\u{85}"] {
            assert!(Jti::parse(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(Jti::parse("purpose with spaces & ünïcode".to_owned()).is_ok());
    }
}
