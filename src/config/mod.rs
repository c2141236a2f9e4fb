//! The configuration: one struct, [`Config`], read once at start.
//!
//! Sources, the first that sets a key wins: command-line [`Flags`], environment variables `TOKEN_REGISTRY_…` (and plain
//! `DATABASE_URL`), the TOML file named by `--config` or `TOKEN_REGISTRY_CONFIG`, the defaults in `keys.rs`.
//! A key is spelled in three ways: `generic_tokens.max_attempts` in the file is
//! `TOKEN_REGISTRY_GENERIC_TOKENS_MAX_ATTEMPTS` in the environment and `--generic-tokens-max-attempts` as a flag.
//!
//! Whoever starts the server sees *all* mistakes at once, each with its key and its source, in a [`ConfigError`]. A
//! misspelt key in the file is an error and never ignored: a security setting that silently stays at its default is
//! worse than a server that doesn't start. A variable that isn't known is only warned about ([`unknown_variables`]):
//! after a rollback the environment may still be that of the newer release. Values of secrets are in no message and in
//! no `Debug`.
//!
//! A new key is a row in `keys.rs` (name, limits, default, help) and a field here; flags, variables, checks and
//! `config print` follow from these.

mod check;
mod database_url;
mod error;
mod flags;
mod keys;
mod kind;
mod policy;
mod print;
mod sources;
#[cfg(test)]
mod testing;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};
use figment::{Figment, Profile, Provider as _};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub(crate) use self::database_url::{DatabaseUrl, parse as parse_database_url};
pub use self::database_url::{Roots, hiding_password};
pub use self::error::{ConfigError, Problem};
pub use self::flags::Flags;
pub use self::policy::{GenericTokenPolicy, PurposePolicy};
use self::sources::Environment;

/// Everything that can be configured. Limits and defaults are in `keys.rs`, and `token-registry serve --help` says
/// them; a value of this type that came from [`Config::load`] keeps the limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address and port of the gRPC server. By default the loopback interface's, so that a first run isn't open to the
    /// network; a container wants `0.0.0.0:50051`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address and port where Prometheus may ask for metrics, by plain HTTP. Nowhere by default; keep it off networks
    /// that callers reach. Port 0 takes a free one.
    pub metrics_listen: Option<SocketAddr>,
    /// Threads that carry out calls. By default as many as processors; fewer cost less a call where other programs want the
    /// same processors, but answer fewer calls where nothing does (measured: `docs/speed.md`).
    pub worker_threads: Option<usize>,
    /// Deadline of calls that bring none (`grpc-timeout`): no call waits for ever.
    pub default_deadline: Duration,
    /// Connections that one server holds at most. Further ones wait in the system's queue until one ends.
    pub max_connections: usize,
    /// How long a peer may take to begin HTTP/2, to send a request that it has begun, and to take a long answer. Who takes
    /// longer is cut off, so that slow and hostile peers hold no memory.
    pub peer_timeout: Duration,
    /// How long calls under way may take to end after SIGTERM. Keep it below the supervisor's own patience
    /// (Kubernetes: `terminationGracePeriodSeconds`).
    pub shutdown_timeout: Duration,

    /// Our certificate, with those between it and its authority, as PEM. With it connections are encrypted. Certificate,
    /// key and authorities are read again when they change, for the connections that come then.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key, as PEM.
    pub tls_key: Option<PathBuf>,
    /// The authorities of callers' certificates, as PEM. A caller must show one then, unless it may bring a key instead
    /// (`callers`).
    pub tls_client_ca: Option<PathBuf>,
    /// The revocation lists of those authorities, as PEM. With it each authority needs one: a certificate of whose authority
    /// there is none is refused. A list that is over stays in force.
    pub tls_client_crl: Option<PathBuf>,
    /// From where unencrypted calls are served.
    pub plaintext: Plaintext,
    /// The file of callers: who may call, with which keys and certificates, in which roles. It is read again when it
    /// changes. Without one everybody who reaches the server may call everything.
    pub callers: Option<PathBuf>,
    /// JWTs that callers may be known by.
    pub jwt: Jwt,

    /// The database, a `postgres://` URL or a `key=value` string as libpq takes it; `serve` and `migrate` need it. A
    /// secret, since it mostly carries a password. See [`Config::database_url`].
    #[serde(serialize_with = "print::hidden_url")]
    pub database_url: Option<SecretString>,
    /// Connections that one server holds at most: a few a database core are enough, and all replicas together must
    /// stay below its `max_connections`.
    pub database_pool_size: usize,
    /// How long a request waits for a free connection before it is refused as overloaded: refusing early keeps a queue
    /// from growing that nobody waits for any more.
    pub database_pool_wait: Duration,
    /// Whether requests that arrive while a round trip is under way go together in the next one; off is for comparison.
    pub gathering: bool,
    /// How long making a connection may take.
    pub database_connect_timeout: Duration,
    /// The database's `statement_timeout` for the statements of ordinary requests.
    pub statement_timeout: Duration,
    /// The database's `lock_timeout`: how long a statement waits for a row that another one holds.
    pub lock_timeout: Duration,
    /// `statement_timeout` of what touches everything of a user (revoke all, delete).
    pub bulk_timeout: Duration,

    /// How long a session lives at most, whatever its caller asks.
    pub session_lifetime: Duration,
    /// How long a session lives without a rotation; what lies beyond `session_lifetime` is cut to it.
    pub idle_timeout: Duration,
    /// How long after a rotation the previous token is answered with the current one: within it a thief and the owner
    /// can't be told apart.
    pub rotation_grace: Duration,
    /// How long the very same rotation may be sent again and gets the same answer.
    pub retry_window: Duration,
    /// Live sessions of one user; one more revokes the oldest.
    pub max_sessions_per_user: u32,
    /// Whether a user must have been created before anything is issued to them; otherwise the first login creates the
    /// user.
    pub require_known_users: bool,

    /// Keys of the HMAC over codes and callers' own values: none, one, or two, the current one first and the previous
    /// one after it, so that a key can be changed. The text's bytes are the key. Without any, a random key is made once
    /// and kept in the database.
    #[serde(default, serialize_with = "print::hidden_keys")]
    pub server_keys: Vec<SecretString>,
    /// The policy of one-time tokens whose purpose has none of its own.
    pub generic_tokens: GenericTokenPolicy,
    /// Policies by purpose; see [`Config::policy`].
    #[serde(default)]
    pub purposes: BTreeMap<String, PurposePolicy>,

    /// What holds for API keys.
    pub auth_tokens: AuthTokens,

    /// When what is over is removed.
    pub purge: PurgeSchedule,

    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of `tracing`'s `EnvFilter`.
    pub log_filter: String,
    /// The file to which revocations and administrative acts are appended, one JSON object a line. Without one they are
    /// lines of the log, with the target `audit`.
    pub audit_log: Option<PathBuf>,
    /// The OpenTelemetry collector that takes traces by OTLP over gRPC; without one there are no traces.
    pub traces_endpoint: Option<String>,
    /// How many percent of the calls are traced whose caller hasn't decided (by `traceparent`).
    pub traces_percent: u32,
}

/// What callers' JWTs must be: signed by a key of the issuer, meant for this registry, and not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Where the issuer's public keys are (a JSON Web Key Set): a file, or an `https://` address whose server the system's
    /// root certificates vouch for. Without them no JWT is taken.
    pub keys: Option<String>,
    /// The `iss` that a JWT must have.
    pub issuer: Option<String>,
    /// The `aud` that a JWT must have, or have among others.
    pub audience: Option<String>,
    /// The claim that names the caller; the file of callers has such names as `subjects`.
    pub claim: String,
    /// How far the issuer's clock may be off, in `exp` and `nbf`.
    pub leeway: Duration,
    /// How often an address is asked for the keys.
    pub refresh: Duration,
    /// How long keys stay in force when the address doesn't answer any more; then no JWT is taken.
    pub max_age: Duration,
}

/// What holds for API keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthTokens {
    /// What new keys look like, and how many a user has. Keys of either model authenticate.
    pub model: AuthTokenModel,
}

/// When what is over is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeSchedule {
    /// How often one of the replicas does it; zero: none does.
    pub interval: Duration,
    /// For how long something must have been over.
    pub retention: Duration,
    /// How many rows one step looks at.
    pub batch_size: u32,
}

/// A model of API keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthTokenModel {
    /// One key a user, 40 hexadecimal digits, as Django REST framework has it.
    Drf,
    /// Several keys a user, with a prefix and a checksum.
    Prefixed,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// From where unencrypted calls are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plaintext {
    /// From this machine: anything else needs a certificate.
    Loopback,
    /// From the network too: something in front of the registry encrypts, or nothing does.
    Everywhere,
}

impl Default for Config {
    /// The defaults, as the environment of nobody and no file give them.
    fn default() -> Self {
        Self::from_layers(&sources::defaults(), Vec::new())
            .expect("every field has a row with a good default")
    }
}

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Self::load_from(flags, std::env::vars_os())
    }

    /// As [`Config::load`], with the environment as a parameter: tests that change the process' own would disturb each
    /// other.
    ///
    /// # Errors
    /// All that is wrong with it; variables that aren't known among it, but these alone are no error.
    pub fn load_from(
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut environment = Environment::read(environment);
        let mut problems = std::mem::take(&mut environment.wrong);
        let layers = sources::layers(flags, &environment, &mut problems);
        Self::from_layers(&layers, problems).map_err(|mut error| {
            error.problems.append(&mut environment.unknown);
            error
        })
    }

    fn from_layers(layers: &Figment, mut problems: Vec<Problem>) -> Result<Self, ConfigError> {
        let values: Dict =
            layers.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
        let values = check::check(&values, layers, &mut problems);
        if !problems.is_empty() {
            return Err(problems.into());
        }
        let read = Value::from(values).deserialize::<Self>();
        let mut config =
            read.map_err(|error| vec![Problem::new(error.path.join("."), error.kind.to_string(), None)])?;
        config.idle_timeout = config.idle_timeout.min(config.session_lifetime);
        let problems = config.contradictions();
        if !problems.is_empty() {
            return Err(problems.into());
        }
        Ok(config)
    }

    /// What is wrong between settings that are right each by itself.
    fn contradictions(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut wrong = |key: &str, message: String| found.push(Problem::new(key, message, None));
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => wrong("tls_certificate", "needs tls_key".to_owned()),
            (None, Some(_)) => wrong("tls_key", "needs tls_certificate".to_owned()),
            _ => {}
        }
        if self.tls_client_ca.is_some() && self.tls_certificate.is_none() {
            wrong("tls_client_ca", "needs tls_certificate".to_owned());
        }
        if self.tls_client_crl.is_some() && self.tls_client_ca.is_none() {
            wrong("tls_client_crl", "needs tls_client_ca".to_owned());
        }
        let Jwt { keys, issuer, audience, .. } = &self.jwt;
        for (key, is_set) in [("jwt.issuer", issuer.is_some()), ("jwt.audience", audience.is_some())] {
            match (keys.is_some(), is_set) {
                (true, false) => wrong(key, "not set, and jwt.keys needs it".to_owned()),
                (false, true) => wrong(key, "needs jwt.keys".to_owned()),
                _ => {}
            }
        }
        if keys.is_some() && self.callers.is_none() {
            wrong("jwt.keys", "needs callers: the file says which subject may do what".to_owned());
        }
        if !self.listen.ip().is_loopback()
            && self.tls_certificate.is_none()
            && self.plaintext == Plaintext::Loopback
        {
            let message = format!(
                "{} is open to the network, and calls would not be encrypted; set tls_certificate and tls_key, or, \
                 where something in front of the registry encrypts, plaintext = \"everywhere\"",
                self.listen
            );
            wrong("listen", message);
        }
        found
    }

    /// The database, for the commands that need one.
    ///
    /// # Errors
    /// When none is configured; the error says how to.
    pub fn database_url(&self) -> Result<&SecretString, ConfigError> {
        self.database_url.as_ref().ok_or_else(|| {
            let message = format!(
                "not set. Set the environment variable DATABASE_URL, such as DATABASE_URL={} \
                 (for a try without a database there is `token-registry dev`)",
                database_url::EXAMPLE
            );
            vec![Problem::new("database_url", message, None)].into()
        })
    }

    /// What [`Self::database_url`] says.
    pub(crate) fn database(&self) -> Result<DatabaseUrl, ConfigError> {
        database_url::parse(self.database_url()?)
            .map_err(|message| vec![Problem::new("database_url", message, None)].into())
    }

    /// The policy of one-time tokens with this purpose: its own settings, and `generic_tokens` for the others.
    #[must_use]
    pub fn policy(&self, purpose: &str) -> GenericTokenPolicy {
        self.purposes.get(purpose).map_or(self.generic_tokens, |own| own.over(&self.generic_tokens))
    }
}

/// The environment variables that begin like ours and are no settings of this release. `serve` says them in a warning
/// and runs, so that a release can be rolled back before its variables are; `config check` takes them for mistakes.
#[must_use]
pub fn unknown_variables(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<Problem> {
    Environment::read(environment).unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_database_is_said_with_the_name_to_set() {
        let error = Config::default().database_url().unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL=postgres://"), "{error}");
    }
}
