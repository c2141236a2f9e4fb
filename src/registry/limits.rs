//! The configured limits that the rules apply.

use std::collections::BTreeMap;
use std::time::Duration;

use super::identifiers::Purpose;
use crate::config::{AuthTokenModel, Config, GenericTokenPolicy, PurgeSchedule};

/// Limits and windows, as configured.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest and default absolute lifetime of a session.
    pub session_lifetime: Duration,
    /// Longest and default time without a rotation.
    pub idle_timeout: Duration,
    /// Longest and default grace of a predecessor.
    pub rotation_grace: Duration,
    /// How long a rotation's own pair may come again.
    pub retry_window: Duration,
    /// How many sessions of a user may live.
    pub max_sessions_per_user: u32,
    /// Whether users must be created before anything of theirs.
    pub require_known_users: bool,
    /// What API keys are made as.
    pub auth_token_model: AuthTokenModel,
    /// When the purge runs, and what it takes.
    pub purge: PurgeSchedule,
    default_policy: GenericTokenPolicy,
    policies: BTreeMap<String, GenericTokenPolicy>,
}

impl Limits {
    /// Grace, retry window and idle time in seconds, as the statements that rotate take them.
    #[must_use]
    pub fn rotation_seconds(&self) -> (f64, f64, f64) {
        (self.rotation_grace.as_secs_f64(), self.retry_window.as_secs_f64(), self.idle_timeout.as_secs_f64())
    }

    /// The policy of one-time tokens of a purpose.
    #[must_use]
    pub fn policy(&self, purpose: &Purpose) -> &GenericTokenPolicy {
        self.policies.get(purpose.as_str()).unwrap_or(&self.default_policy)
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            session_lifetime: config.session_lifetime,
            idle_timeout: config.idle_timeout,
            rotation_grace: config.rotation_grace,
            retry_window: config.retry_window,
            max_sessions_per_user: config.max_sessions_per_user,
            require_known_users: config.require_known_users,
            auth_token_model: config.auth_tokens.model,
            purge: config.purge,
            default_policy: config.generic_tokens,
            policies: config
                .purposes
                .keys()
                .map(|purpose| (purpose.clone(), config.policy(purpose)))
                .collect(),
        }
    }
}
