//! Reading a request: every field is parsed, and all that is wrong is told at once.

use std::time::Duration;

use super::identifiers::{
    Challenge, ConsumptionId, CredentialVersion, Jti, KeyName, KeyPrefix, Purpose, RequestId, SessionName,
    UserId, VALUE_MAX, check_text,
};

/// One field that can't be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request message, such as `sessions[3].user_id`.
    pub field: String,
    /// What is wrong with it, in words for the caller. Never repeats the value.
    pub problem: String,
}

impl Violation {
    /// A violation of one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Collects what is wrong with a request while it is read.
///
/// A reading method answers a placeholder for a bad field, so that reading goes on to the next one;
/// [`Fields::read`] lets nothing out unless all fields were right, so no placeholder is ever seen.
#[derive(Debug, Default)]
pub struct Fields {
    violations: Vec<Violation>,
}

/// Whether a duration of zero makes sense for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// Zero is a value like others.
    Allowed,
    /// Only more than zero will do.
    Refused,
}

macro_rules! read_identifier {
    ($(#[$doc:meta])* $name:ident, $optional:ident, $kind:ident) => {
        $(#[$doc])*
        pub fn $name(&mut self, field: &str, text: String) -> $kind {
            self.take(field, $kind::parse(text)).unwrap_or_else($kind::placeholder)
        }

        /// The same, where absent is an answer; present but empty is refused.
        pub fn $optional(&mut self, field: &str, text: Option<String>) -> Option<$kind> {
            text.map(|text| self.$name(field, text))
        }
    };
}

impl Fields {
    /// Reads a request and answers it whole, or everything that is wrong with it.
    ///
    /// # Errors
    /// All violations that reading recorded.
    pub fn read<T>(reading: impl FnOnce(&mut Self) -> T) -> Result<T, Vec<Violation>> {
        let mut fields = Self::default();
        let request = reading(&mut fields);
        if fields.violations.is_empty() { Ok(request) } else { Err(fields.violations) }
    }

    /// Records that a field can't be right.
    pub fn refuse(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.violations.push(Violation::new(field, problem));
    }

    /// Takes a parsed value, or records why there is none.
    pub fn take<T>(&mut self, field: &str, parsed: Result<T, impl ToString>) -> Option<T> {
        parsed.map_err(|problem| self.refuse(field, problem.to_string())).ok()
    }

    read_identifier!(/// Reads a user's name.
        user_id, optional_user_id, UserId);
    read_identifier!(/// Reads a session's name.
        session, optional_session, SessionName);
    read_identifier!(/// Reads a JWT ID.
        jti, optional_jti, Jti);
    read_identifier!(/// Reads a purpose.
        purpose, optional_purpose, Purpose);
    read_identifier!(/// Reads a request id.
        request_id, optional_request_id, RequestId);
    read_identifier!(/// Reads a consumption id.
        consumption_id, optional_consumption_id, ConsumptionId);
    read_identifier!(/// Reads the name of a code.
        challenge, optional_challenge, Challenge);
    read_identifier!(/// Reads a credential version.
        credential_version, optional_credential_version, CredentialVersion);

    read_identifier!(/// Reads the name of an API key.
        key_name, optional_key_name, KeyName);
    read_identifier!(/// Reads the public name of an API key.
        key_prefix, optional_key_prefix, KeyPrefix);

    /// Reads a one-time value, or a key.
    pub fn value(&mut self, field: &str, text: String) -> String {
        self.take(field, check_text(&text, VALUE_MAX));
        text
    }

    /// Reads a boolean that must be said, because its absence would destroy something.
    pub fn required(&mut self, field: &str, value: Option<bool>) -> bool {
        self.take(field, value.ok_or("must be set: true or false")).unwrap_or_default()
    }

    /// Reads a list of purposes, at most 100.
    pub fn purposes(&mut self, field: &str, texts: Vec<String>) -> Vec<Purpose> {
        if texts.len() > 100 {
            self.refuse(field, "must not have more than 100 entries");
            return Vec::new();
        }
        texts.into_iter().enumerate().map(|(i, text)| self.purpose(&format!("{field}[{i}]"), text)).collect()
    }

    /// Reads a duration given as protobuf's seconds and nanoseconds.
    pub fn duration(&mut self, field: &str, parts: Option<(i64, i32)>, zero: Zero) -> Option<Duration> {
        let (seconds, nanos) = parts?;
        match (u64::try_from(seconds), u32::try_from(nanos)) {
            // google.protobuf.Duration's own limits.
            (Ok(seconds), Ok(nanos)) if seconds <= 315_576_000_000 && nanos < 1_000_000_000 => {
                let duration = Duration::new(seconds, nanos);
                if duration.is_zero() && zero == Zero::Refused {
                    self.refuse(field, "must be more than zero");
                }
                Some(duration)
            }
            _ => {
                self.refuse(field, "is not a duration of zero or more");
                None
            }
        }
    }

    /// Reads a page size: 0 is the default of 50, more than 500 is 500.
    pub fn page_size(&mut self, field: &str, size: i32) -> usize {
        match usize::try_from(size) {
            Ok(0) => 50,
            Ok(size) => size.min(500),
            Err(_) => {
                self.refuse(field, "must not be negative");
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_violations_are_told_together() {
        let refused = Fields::read(|f| {
            f.user_id("user_id", String::new());
            f.session("session", "fine".into());
            f.jti("jti", "x".repeat(256));
            f.duration("lifetime", Some((-1, 0)), Zero::Allowed);
            f.page_size("page_size", -1);
            f.required("enabled", None);
        })
        .unwrap_err();
        let named: Vec<_> = refused.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(named, ["user_id", "jti", "lifetime", "page_size", "enabled"]);
    }

    #[test]
    fn absurd_durations_are_refused_and_large_ones_are_not() {
        let read = |parts, zero| Fields::read(|f| f.duration("d", Some(parts), zero)).map(Option::unwrap);
        assert_eq!(read((0, 0), Zero::Allowed), Ok(Duration::ZERO));
        assert!(read((0, 0), Zero::Refused).is_err());
        assert!(read((1, -1), Zero::Allowed).is_err());
        assert!(read((0, 1_000_000_000), Zero::Allowed).is_err());
        assert!(read((i64::MAX, 0), Zero::Allowed).is_err());
        assert!(read((315_576_000_000, 0), Zero::Allowed).is_ok());
    }
}
