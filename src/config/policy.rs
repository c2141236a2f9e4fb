//! What holds for one-time tokens: a policy for all, and what single purposes change of it.

use std::time::Duration;

use figment::value::Dict;
use serde::{Deserialize, Serialize};

use super::text::duration_text;

const PURPOSE_MAX_CHARS: usize = 64;

/// What holds for one-time tokens of a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenericTokenPolicy {
    /// How long a token lives when the caller doesn't say; at most `max_lifetime`.
    pub lifetime: Duration,
    /// The longest lifetime a caller may ask for.
    pub max_lifetime: Duration,
    /// Guesses at one code when the caller doesn't say; at most `max_attempts_cap`.
    pub max_attempts: u32,
    /// The most guesses at one code a caller may ask for.
    pub max_attempts_cap: u32,
    /// Guesses at all codes of one user and purpose within `window`, so that asking for code after code doesn't give
    /// guesses without end.
    pub window_attempts: u32,
    /// The time over which `window_attempts` are counted.
    pub window: Duration,
}

/// What one purpose changes of the default [`GenericTokenPolicy`]; a field left out is inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposePolicy {
    /// See [`GenericTokenPolicy::lifetime`]. Above an inherited `max_lifetime` it raises that.
    pub lifetime: Option<Duration>,
    /// See [`GenericTokenPolicy::max_lifetime`]. Below an inherited `lifetime` it lowers that.
    pub max_lifetime: Option<Duration>,
    /// See [`GenericTokenPolicy::max_attempts`]. Above an inherited `max_attempts_cap` it raises that.
    pub max_attempts: Option<u32>,
    /// See [`GenericTokenPolicy::max_attempts_cap`]. Below an inherited `max_attempts` it lowers that.
    pub max_attempts_cap: Option<u32>,
    /// See [`GenericTokenPolicy::window_attempts`].
    pub window_attempts: Option<u32>,
    /// See [`GenericTokenPolicy::window`].
    pub window: Option<Duration>,
}

impl PurposePolicy {
    /// Of a value and its limit, the one that the purpose sets itself wins over the one that it inherits.
    pub(super) fn over(&self, base: &GenericTokenPolicy) -> GenericTokenPolicy {
        fn pair<T: Ord + Copy>((own, inherited): (Option<T>, T), limit: (Option<T>, T)) -> (T, T) {
            match (own.unwrap_or(inherited), limit.0) {
                (value, Some(limit)) => (value.min(limit), limit),
                (value, None) => (value, limit.1.max(value)),
            }
        }
        let (lifetime, max_lifetime) =
            pair((self.lifetime, base.lifetime), (self.max_lifetime, base.max_lifetime));
        let (max_attempts, max_attempts_cap) =
            pair((self.max_attempts, base.max_attempts), (self.max_attempts_cap, base.max_attempts_cap));
        GenericTokenPolicy {
            lifetime,
            max_lifetime,
            max_attempts,
            max_attempts_cap,
            window_attempts: self.window_attempts.unwrap_or(base.window_attempts),
            window: self.window.unwrap_or(base.window),
        }
    }
}

/// What is wrong between the keys of one policy, whose values are right each by itself: key and message.
pub(super) fn contradictions(values: &Dict) -> Vec<(&'static str, String)> {
    let duration = |name: &str| values.get(name)?.deserialize::<Duration>().ok();
    let count = |name: &str| values.get(name)?.deserialize::<u32>().ok();
    let mut found = Vec::new();
    if let (Some(lifetime), Some(max)) = (duration("lifetime"), duration("max_lifetime"))
        && lifetime > max
    {
        let (lifetime, max) = (duration_text(lifetime), duration_text(max));
        found.push(("lifetime", format!("{lifetime} is longer than max_lifetime, which is {max}")));
    }
    if let (Some(attempts), Some(cap)) = (count("max_attempts"), count("max_attempts_cap"))
        && attempts > cap
    {
        found.push(("max_attempts", format!("{attempts} is more than max_attempts_cap, which is {cap}")));
    }
    found
}

/// Whether a purpose may have this name.
pub(super) fn is_purpose(name: &str) -> bool {
    (1..=PURPOSE_MAX_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::testing::load;
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_purpose_inherits_what_it_leaves_out() {
        let file = "[generic_tokens]\nmax_attempts = 4\n\
                    [purposes.password_reset]\nlifetime = '15m'\n\
                    [purposes.'invitation by mail']\nlifetime = '30d'\nmax_attempts = 20\n\
                    [purposes.login]\nmax_lifetime = '5m'\nmax_attempts_cap = 3";
        let config =
            load(file, &[("TOKEN_REGISTRY_PURPOSES", "{password_reset={window=1h},login={window=1h}}")], &[])
                .unwrap();
        let base = GenericTokenPolicy { max_attempts: 4, ..Config::default().generic_tokens };
        assert_eq!(config.policy("anything"), base);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let reset = GenericTokenPolicy { lifetime: minutes(15), window: HOUR, ..base };
        assert_eq!(config.policy("password_reset"), reset);
        let month = Duration::from_hours(30 * 24);
        let invitation = GenericTokenPolicy {
            lifetime: month,
            max_lifetime: month,
            max_attempts: 20,
            max_attempts_cap: 20,
            ..base
        };
        assert_eq!(config.policy("invitation by mail"), invitation);
        let login = GenericTokenPolicy {
            lifetime: minutes(5),
            max_lifetime: minutes(5),
            max_attempts: 3,
            max_attempts_cap: 3,
            window: HOUR,
            ..base
        };
        assert_eq!(config.policy("login"), login);
        let printed = config.to_toml_hiding_secrets();
        assert_eq!(load(&printed, &[], &[]).unwrap().to_toml_hiding_secrets(), printed);
    }
}
