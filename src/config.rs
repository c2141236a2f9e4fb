//! The configuration: one struct, [`Config`], read once at start.
//!
//! Sources, the first that sets a key wins: command-line [`Flags`], environment variables `TOKEN_REGISTRY_…` (and plain
//! `DATABASE_URL`), the TOML file named by `--config` or `TOKEN_REGISTRY_CONFIG`, the defaults of [`Config::default`].
//! A key is spelled in three ways: `generic_tokens.max_attempts` in the file is
//! `TOKEN_REGISTRY_GENERIC_TOKENS_MAX_ATTEMPTS` in the environment and `--generic-tokens-max-attempts` as a flag.
//!
//! Whoever starts the server sees *all* mistakes at once, each with its key and its source, in a [`ConfigError`]. A
//! misspelt key is an error and never ignored: a security setting that silently stays at its default is worse than a
//! server that doesn't start. Values of secrets are in no message and in no `Debug`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory as _;
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tracing_subscriber::EnvFilter;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Ten years of 365.25 days, what `10y` means in a duration.
const TEN_YEARS: Duration = Duration::from_secs(36525 * 24 * 360);
const SERVER_KEY_MIN_CHARS: usize = 32;
const SERVER_KEYS_MAX: usize = 2;
const PURPOSE_MAX_CHARS: usize = 64;

const ENV_PREFIX: &str = "TOKEN_REGISTRY_";
/// Variables of the test harness; never settings.
const ENV_TEST_PREFIX: &str = "TOKEN_REGISTRY_TEST_";
const ENV_CONFIG: &str = "TOKEN_REGISTRY_CONFIG";
const ENV_DATABASE_URL: &str = "DATABASE_URL";
const DATABASE_URL_EXAMPLE: &str = "postgres://user:password@localhost:5432/token_registry";
/// What stands for a secret in printed configurations.
const HIDDEN: &str = "(hidden)";

/// Everything that can be configured. Read with [`Config::load`]; a value of this type that came from there keeps the
/// limits named at each field.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port of the gRPC server. Default `127.0.0.1:50051`, so that a first run isn't open to the network;
    /// a container wants `0.0.0.0:50051`. Port 0 takes a free one.
    pub listen: SocketAddr,

    /// The database, a `postgres://` URL or a `key=value` string as libpq takes it. Default none; `serve` and `migrate`
    /// need it. A secret, since it mostly carries a password. See [`Config::database_url`].
    pub database_url: Option<SecretString>,
    /// Connections that one server holds at most. Default 16, from 1 to 1,000: a few a database core are enough, and
    /// all replicas together must stay below its `max_connections`.
    pub database_pool_size: usize,
    /// How long a request waits for a free connection before it is refused as overloaded. Default 250 ms, from 1 ms to
    /// 1 min: refusing early keeps a queue from growing that nobody waits for any more.
    #[serde(deserialize_with = "duration::required")]
    pub database_pool_wait: Duration,
    /// How long making a connection may take. Default 3 s, from 1 ms to 1 min.
    #[serde(deserialize_with = "duration::required")]
    pub database_connect_timeout: Duration,
    /// The database's `statement_timeout` for the statements of ordinary requests. Default 5 s, from 1 ms to 1 h.
    #[serde(deserialize_with = "duration::required")]
    pub statement_timeout: Duration,
    /// The database's `lock_timeout`: how long a statement waits for a row that another one holds. Default 500 ms, from
    /// 1 ms to 1 h.
    #[serde(deserialize_with = "duration::required")]
    pub lock_timeout: Duration,
    /// `statement_timeout` of what touches everything of a user (revoke all, delete). Default 30 s, from 1 ms to 1 h.
    #[serde(deserialize_with = "duration::required")]
    pub bulk_timeout: Duration,

    /// Deadline of calls that bring none (`grpc-timeout`). Default 10 s, from 1 ms to 1 h: no call waits for ever.
    #[serde(deserialize_with = "duration::required")]
    pub default_deadline: Duration,
    /// How long calls under way may take to end after SIGTERM. Default 30 s, at most 1 h. Keep it below the
    /// supervisor's own patience (Kubernetes: `terminationGracePeriodSeconds`).
    #[serde(deserialize_with = "duration::required")]
    pub shutdown_timeout: Duration,

    /// How long a session lives at most, whatever its caller asks. Default 30 days, more than 0, at most 10 years.
    #[serde(deserialize_with = "duration::required")]
    pub session_lifetime: Duration,
    /// How long a session lives without a rotation. Default 14 days, more than 0, at most 10 years; what lies beyond
    /// `session_lifetime` is cut to it.
    #[serde(deserialize_with = "duration::required")]
    pub idle_timeout: Duration,
    /// How long after a rotation the previous token is answered with the current one. Default 30 s, from 0 (strict) to
    /// 120 s: within it a thief and the owner can't be told apart.
    #[serde(deserialize_with = "duration::required")]
    pub rotation_grace: Duration,
    /// How long the very same rotation may be sent again and gets the same answer. Default 24 h, from 0 to 30 days.
    #[serde(deserialize_with = "duration::required")]
    pub retry_window: Duration,
    /// Live sessions of one user; one more revokes the oldest. Default 1,000, from 1 to 100,000.
    pub max_sessions_per_user: u32,
    /// Whether a user must have been created before anything is issued to them. Default false: the first login creates
    /// the user.
    pub require_known_users: bool,
    /// Whether requests that arrive while a round trip is under way go together in the next one. Default true; false is
    /// for comparison.
    pub gathering: bool,

    /// Keys of the HMAC over codes and callers' own values: none, one, or two, the current one first and the previous
    /// one after it, so that a key can be changed. The text's bytes are the key, at least 32 characters
    /// (`openssl rand -base64 32`). Default none: a random key is made once and kept in the database.
    pub server_keys: Vec<SecretString>,
    /// The policy of one-time tokens whose purpose has none of its own.
    pub generic_tokens: GenericTokenPolicy,
    /// Policies by purpose; see [`Config::policy`]. Default none. A name has 1 to 64 characters, none of them a control
    /// character.
    pub purposes: BTreeMap<String, PurposePolicy>,

    /// How log lines look. Default [`LogFormat::Auto`].
    pub log_format: LogFormat,
    /// What is logged, in the syntax of `tracing`'s `EnvFilter`. Default `info`.
    pub log_filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// What holds for one-time tokens of a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenericTokenPolicy {
    /// How long a token lives when the caller doesn't say. Default 1 h, more than 0, at most `max_lifetime`.
    #[serde(deserialize_with = "duration::required")]
    pub lifetime: Duration,
    /// The longest lifetime a caller may ask for. Default 7 days, more than 0, at most 10 years.
    #[serde(deserialize_with = "duration::required")]
    pub max_lifetime: Duration,
    /// Guesses at one code when the caller doesn't say. Default 5, from 1 to `max_attempts_cap`.
    pub max_attempts: u32,
    /// The most guesses at one code a caller may ask for. Default 10, from 1 to 1,000.
    pub max_attempts_cap: u32,
    /// Guesses at all codes of one user and purpose within `window`, so that asking for code after code doesn't give
    /// guesses without end. Default 100, from 1 to 1,000,000.
    pub window_attempts: u32,
    /// The time over which `window_attempts` are counted. Default 24 h, more than 0, at most 10 years.
    #[serde(deserialize_with = "duration::required")]
    pub window: Duration,
}

/// What one purpose changes of the default [`GenericTokenPolicy`]; a field left out is inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurposePolicy {
    /// See [`GenericTokenPolicy::lifetime`]. Above an inherited `max_lifetime` it raises that.
    #[serde(deserialize_with = "duration::optional")]
    pub lifetime: Option<Duration>,
    /// See [`GenericTokenPolicy::max_lifetime`]. Below an inherited `lifetime` it lowers that.
    #[serde(deserialize_with = "duration::optional")]
    pub max_lifetime: Option<Duration>,
    /// See [`GenericTokenPolicy::max_attempts`]. Above an inherited `max_attempts_cap` it raises that.
    pub max_attempts: Option<u32>,
    /// See [`GenericTokenPolicy::max_attempts_cap`]. Below an inherited `max_attempts` it lowers that.
    pub max_attempts_cap: Option<u32>,
    /// See [`GenericTokenPolicy::window_attempts`].
    pub window_attempts: Option<u32>,
    /// See [`GenericTokenPolicy::window`].
    #[serde(deserialize_with = "duration::optional")]
    pub window: Option<Duration>,
}

/// The command-line flags: one a key of [`Config`], and `--config`. All are texts here, so that flags and environment
/// are read by the same rules and complain in the same words.
#[derive(Clone, Debug, Default, clap::Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the comments of the fields are the text of --help, where backticks are noise"
)]
pub struct Flags {
    /// Read this TOML file as well; flags and environment win over it (`config print` writes one to start from)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address and port of the gRPC server; 0.0.0.0:50051 opens it to the network (default 127.0.0.1:50051)
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Server")]
    pub listen: Option<String>,
    /// Deadline of calls that bring none, 1ms to 1h (default 10s)
    #[arg(long, value_name = "DURATION", help_heading = "Server")]
    pub default_deadline: Option<String>,
    /// How long calls under way may take to end after SIGTERM, 0s to 1h (default 30s)
    #[arg(long, value_name = "DURATION", help_heading = "Server")]
    pub shutdown_timeout: Option<String>,

    /// The PostgreSQL database; better in the environment as DATABASE_URL, since other users of the machine can read
    /// command lines (no default)
    #[arg(long, value_name = "URL", value_parser = secret, help_heading = "Database")]
    pub database_url: Option<SecretString>,
    /// Connections to hold at most, 1 to 1000 (default 16)
    #[arg(long, value_name = "COUNT", help_heading = "Database")]
    pub database_pool_size: Option<String>,
    /// How long a request waits for a free connection before it is refused as overloaded, 1ms to 1m (default 250ms)
    #[arg(long, value_name = "DURATION", help_heading = "Database")]
    pub database_pool_wait: Option<String>,
    /// How long making a connection may take, 1ms to 1m (default 3s)
    #[arg(long, value_name = "DURATION", help_heading = "Database")]
    pub database_connect_timeout: Option<String>,
    /// How long a statement may take, 1ms to 1h (default 5s)
    #[arg(long, value_name = "DURATION", help_heading = "Database")]
    pub statement_timeout: Option<String>,
    /// How long a statement waits for a row that another one holds, 1ms to 1h (default 500ms)
    #[arg(long, value_name = "DURATION", help_heading = "Database")]
    pub lock_timeout: Option<String>,
    /// How long a statement over everything of a user may take (revoke all, delete), 1ms to 1h (default 30s)
    #[arg(long, value_name = "DURATION", help_heading = "Database")]
    pub bulk_timeout: Option<String>,

    /// How long a session lives at most, up to 10y (default 30d)
    #[arg(long, value_name = "DURATION", help_heading = "Sessions")]
    pub session_lifetime: Option<String>,
    /// How long a session lives without a rotation, up to the session lifetime (default 14d)
    #[arg(long, value_name = "DURATION", help_heading = "Sessions")]
    pub idle_timeout: Option<String>,
    /// How long after a rotation the previous token is answered with the current one, 0s (strict) to 120s (default 30s)
    #[arg(long, value_name = "DURATION", help_heading = "Sessions")]
    pub rotation_grace: Option<String>,
    /// How long the very same rotation may be sent again and gets the same answer, 0s to 30d (default 24h)
    #[arg(long, value_name = "DURATION", help_heading = "Sessions")]
    pub retry_window: Option<String>,
    /// Live sessions of one user; one more revokes the oldest, 1 to 100000 (default 1000)
    #[arg(long, value_name = "COUNT", help_heading = "Sessions")]
    pub max_sessions_per_user: Option<String>,
    /// Whether users must be created before a login; without it the first login creates them (default false)
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        default_missing_value = "true",
        help_heading = "Sessions"
    )]
    pub require_known_users: Option<String>,

    /// HMAC keys of codes: the current one, then a comma and the previous one, 32 characters or more each (openssl
    /// rand -base64 32); better in the environment (default: made once and kept in the database)
    #[arg(long, value_name = "KEY[,KEY]", value_parser = secret, help_heading = "One-time tokens")]
    pub server_keys: Option<SecretString>,
    /// How long a token lives when the caller doesn't say (default 1h)
    #[arg(long, value_name = "DURATION", help_heading = "One-time tokens")]
    pub generic_tokens_lifetime: Option<String>,
    /// The longest lifetime a caller may ask for, up to 10y (default 7d)
    #[arg(long, value_name = "DURATION", help_heading = "One-time tokens")]
    pub generic_tokens_max_lifetime: Option<String>,
    /// Guesses at one code when the caller doesn't say (default 5)
    #[arg(long, value_name = "COUNT", help_heading = "One-time tokens")]
    pub generic_tokens_max_attempts: Option<String>,
    /// The most guesses at one code a caller may ask for, 1 to 1000 (default 10)
    #[arg(long, value_name = "COUNT", help_heading = "One-time tokens")]
    pub generic_tokens_max_attempts_cap: Option<String>,
    /// Guesses at all codes of one user and purpose within the window, 1 to 1000000 (default 100)
    #[arg(long, value_name = "COUNT", help_heading = "One-time tokens")]
    pub generic_tokens_window_attempts: Option<String>,
    /// The time over which those guesses are counted, up to 10y (default 24h)
    #[arg(long, value_name = "DURATION", help_heading = "One-time tokens")]
    pub generic_tokens_window: Option<String>,
    /// Policies by purpose, such as '{password_reset={lifetime=15m},login={max_attempts=3}}' (no default)
    #[arg(long, value_name = "TABLE", help_heading = "One-time tokens")]
    pub purposes: Option<String>,

    /// How log lines look: auto is text on a terminal and JSON otherwise (default auto)
    #[arg(long, value_name = "auto|text|json", help_heading = "Logs")]
    pub log_format: Option<String>,
    /// What is logged, such as warn or info,token_registry=debug (default info)
    #[arg(long, value_name = "FILTER", help_heading = "Logs")]
    pub log_filter: Option<String>,
}

/// A configuration that can't be used: all that is wrong, each with its key and source. `Display` is for a person and
/// carries no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    /// The key as the file spells it, or the variable or file that isn't one.
    key: String,
    message: String,
    /// Where the value came from; none for a default.
    source: Option<String>,
}

impl ConfigError {
    fn one(key: &str, message: impl Into<String>) -> Self {
        Self { problems: vec![Problem::new(key, message, None)] }
    }

    /// How many things are wrong; never 0.
    #[must_use]
    pub fn problem_count(&self) -> usize {
        self.problems.len()
    }
}

impl std::error::Error for ConfigError {}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl Problem {
    fn new(key: &str, message: impl Into<String>, source: Option<String>) -> Self {
        Self { key: key.to_owned(), message: message.into(), source }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            database_url: None,
            database_pool_size: 16,
            database_pool_wait: Duration::from_millis(250),
            database_connect_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_millis(500),
            bulk_timeout: Duration::from_secs(30),
            default_deadline: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(30),
            session_lifetime: 30 * DAY,
            idle_timeout: 14 * DAY,
            rotation_grace: Duration::from_secs(30),
            retry_window: DAY,
            max_sessions_per_user: 1000,
            require_known_users: false,
            gathering: true,
            server_keys: Vec::new(),
            generic_tokens: GenericTokenPolicy::default(),
            purposes: BTreeMap::new(),
            log_format: LogFormat::Auto,
            log_filter: "info".to_owned(),
        }
    }
}

impl Default for GenericTokenPolicy {
    fn default() -> Self {
        Self {
            lifetime: HOUR,
            max_lifetime: 7 * DAY,
            max_attempts: 5,
            max_attempts_cap: 10,
            window_attempts: 100,
            window: DAY,
        }
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
    /// All that is wrong with it.
    pub fn load_from(
        flags: &Flags,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let environment = Environment::read(environment, &mut problems);

        let mut layers = Figment::new();
        if let Some((path, named_by)) = file_to_read(flags, environment.config_file) {
            match read_file(&path) {
                Ok(values) => {
                    layers = layers.merge(Layer { source: format!("file {}", path.display()), values });
                }
                Err(message) => {
                    problems.push(Problem::new(&path.display().to_string(), message, Some(named_by)));
                }
            }
        }
        for (key, variable, text) in &environment.values {
            layers = layers
                .merge(Layer { source: format!("environment variable {variable}"), values: key.parse(text) });
        }
        for (key, text) in flags.given() {
            layers = layers
                .merge(Layer { source: format!("flag --{}", key.flag()), values: key.parse(text.trim()) });
        }

        let mut values =
            layers.data().ok().and_then(|mut data| data.remove(&Profile::Default)).unwrap_or_default();
        let source = |values: &Dict, path: &[&str]| {
            tag_at(values, path)
                .and_then(|tag| layers.get_metadata(tag))
                .map(|metadata| metadata.name.to_string())
        };
        for path in unknown_keys(&values) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            problems.push(Problem::new(&path.join("."), unknown_key_message(&path), source(&values, &path)));
            remove(&mut values, &path);
        }

        // Serde stops at the first value of a wrong type. Set it aside, go on with its default, and all are found.
        let mut config = loop {
            let error = match Value::from(values.clone()).deserialize::<Self>() {
                Ok(config) => break config,
                Err(error) => error,
            };
            let path: Vec<&str> = error.path.iter().map(String::as_str).collect();
            let message = wrong_type_message(&values, &path);
            problems.push(Problem::new(&path.join("."), message, source(&values, &path)));
            if !remove(&mut values, &path) {
                return Err(ConfigError { problems });
            }
        };

        let mut checks = Checks::default();
        config.check(&mut checks);
        problems.extend(checks.0.into_iter().map(|(path, message)| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            Problem::new(&path.join("."), message, source(&values, &path))
        }));
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        config.idle_timeout = config.idle_timeout.min(config.session_lifetime);
        Ok(config)
    }

    /// The database, for the commands that need one.
    ///
    /// # Errors
    /// When none is configured; the error says how to.
    pub fn database_url(&self) -> Result<&SecretString, ConfigError> {
        self.database_url.as_ref().ok_or_else(|| {
            ConfigError::one(
                "database_url",
                format!(
                    "not set. Set the environment variable DATABASE_URL, such as DATABASE_URL={DATABASE_URL_EXAMPLE} \
                     (for a try without a database there is `token-registry dev`)"
                ),
            )
        })
    }

    /// The policy of one-time tokens with this purpose: its own settings, and `generic_tokens` for the others.
    #[must_use]
    pub fn policy(&self, purpose: &str) -> GenericTokenPolicy {
        self.purposes.get(purpose).map_or(self.generic_tokens, |own| own.over(&self.generic_tokens))
    }

    /// The whole configuration as a TOML file that can be kept and read again. Secrets are comments in which
    /// `(hidden)` stands for the value.
    #[must_use]
    pub fn to_toml_hiding_secrets(&self) -> String {
        #[derive(clap::Parser)]
        struct AllFlags {
            #[command(flatten)]
            _flags: Flags,
        }

        let mut text = String::from("# token-registry: the configuration in effect. Secrets are left out.\n");
        let (mut heading, mut table) = (String::new(), "");
        // The help of the flags is the one place that says in a line what each key means.
        let command = AllFlags::command();
        let mut keys: Vec<_> =
            command.get_arguments().filter_map(|arg| Some((arg, Key::of_flag(arg)?))).collect();
        // In TOML the keys of tables come after all others.
        keys.sort_by_key(|(_, key)| (key.name == "purposes", key.name.contains('.')));
        for (arg, key) in keys {
            if key.name == "purposes" {
                self.write_purposes(&mut text);
                continue;
            }
            let (key_table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            let arg_heading = arg.get_help_heading().unwrap_or_default();
            if table != key_table {
                table = key_table;
                arg_heading.clone_into(&mut heading);
                let _ = writeln!(
                    text,
                    "\n# --- {arg_heading}: what holds where a purpose has no policy of its own ---\n[{table}]"
                );
            } else if heading != arg_heading {
                arg_heading.clone_into(&mut heading);
                let _ = writeln!(text, "\n# --- {arg_heading} ---");
            }
            write_comment(&mut text, &arg.get_help().map(ToString::to_string).unwrap_or_default());
            match self.value_text(key.name) {
                Some(value) if value.contains(HIDDEN) => _ = writeln!(text, "# {name} = {value}"),
                Some(value) => _ = writeln!(text, "{name} = {value}"),
                None => _ = writeln!(text, "# {name} = \"{DATABASE_URL_EXAMPLE}\""),
            }
        }
        text
    }

    fn write_purposes(&self, text: &mut String) {
        text.push_str(
            "\n# --- One-time tokens: policies by purpose; what is left out is as in [generic_tokens] ---\n",
        );
        if self.purposes.is_empty() {
            text.push_str("# [purposes.password_reset]\n# lifetime = \"15m\"\n");
        }
        for (purpose, policy) in &self.purposes {
            let bare = purpose.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let name = if bare { purpose.clone() } else { quoted(purpose) };
            let _ = writeln!(text, "[purposes.{name}]");
            let fields = [
                ("lifetime", policy.lifetime.map(quoted_duration)),
                ("max_lifetime", policy.max_lifetime.map(quoted_duration)),
                ("max_attempts", policy.max_attempts.map(|count| count.to_string())),
                ("max_attempts_cap", policy.max_attempts_cap.map(|count| count.to_string())),
                ("window_attempts", policy.window_attempts.map(|count| count.to_string())),
                ("window", policy.window.map(quoted_duration)),
            ];
            for (field, value) in fields {
                if let Some(value) = value {
                    let _ = writeln!(text, "{field} = {value}");
                }
            }
        }
    }

    /// The value of a key as TOML; none when it isn't set. With a secret in it, it contains [`HIDDEN`].
    fn value_text(&self, key: &str) -> Option<String> {
        let policy = &self.generic_tokens;
        Some(match key {
            "listen" => quoted(&self.listen.to_string()),
            "default_deadline" => quoted_duration(self.default_deadline),
            "shutdown_timeout" => quoted_duration(self.shutdown_timeout),
            "database_url" => quoted(&url_hiding_password(self.database_url.as_ref()?)),
            "database_pool_size" => self.database_pool_size.to_string(),
            "database_pool_wait" => quoted_duration(self.database_pool_wait),
            "database_connect_timeout" => quoted_duration(self.database_connect_timeout),
            "statement_timeout" => quoted_duration(self.statement_timeout),
            "lock_timeout" => quoted_duration(self.lock_timeout),
            "bulk_timeout" => quoted_duration(self.bulk_timeout),
            "session_lifetime" => quoted_duration(self.session_lifetime),
            "idle_timeout" => quoted_duration(self.idle_timeout),
            "rotation_grace" => quoted_duration(self.rotation_grace),
            "retry_window" => quoted_duration(self.retry_window),
            "max_sessions_per_user" => self.max_sessions_per_user.to_string(),
            "require_known_users" => self.require_known_users.to_string(),
            "server_keys" => format!("[{}]", vec![quoted(HIDDEN); self.server_keys.len()].join(", ")),
            "generic_tokens.lifetime" => quoted_duration(policy.lifetime),
            "generic_tokens.max_lifetime" => quoted_duration(policy.max_lifetime),
            "generic_tokens.max_attempts" => policy.max_attempts.to_string(),
            "generic_tokens.max_attempts_cap" => policy.max_attempts_cap.to_string(),
            "generic_tokens.window_attempts" => policy.window_attempts.to_string(),
            "generic_tokens.window" => quoted_duration(policy.window),
            "log_format" => quoted(match self.log_format {
                LogFormat::Auto => "auto",
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }),
            "log_filter" => quoted(&self.log_filter),
            _ => return None,
        })
    }

    fn check_server_keys(&self, checks: &mut Checks) {
        if self.server_keys.len() > SERVER_KEYS_MAX {
            let message = format!("{} keys, but two are the most: current, previous", self.server_keys.len());
            checks.wrong(&["server_keys"], message);
        }
        for (index, key) in self.server_keys.iter().enumerate() {
            let chars = key.expose_secret().chars().count();
            if chars < SERVER_KEY_MIN_CHARS {
                let message = format!(
                    "key {} has {chars} characters, fewer than {SERVER_KEY_MIN_CHARS} (make one with: openssl rand -base64 32)",
                    index + 1
                );
                checks.wrong(&["server_keys"], message);
            }
        }
    }

    /// What serde's types don't say: limits, and how keys fit each other.
    fn check(&self, checks: &mut Checks) {
        let minute = Duration::from_secs(60);
        if let Some(url) = &self.database_url
            && let Err(message) = check_database_url(url)
        {
            checks.wrong(&["database_url"], message);
        }
        checks.number(&["database_pool_size"], self.database_pool_size as u64, 1, 1000);
        checks.duration(&["database_pool_wait"], self.database_pool_wait, MILLISECOND, minute);
        checks.duration(&["database_connect_timeout"], self.database_connect_timeout, MILLISECOND, minute);
        checks.duration(&["statement_timeout"], self.statement_timeout, MILLISECOND, HOUR);
        checks.duration(&["lock_timeout"], self.lock_timeout, MILLISECOND, HOUR);
        checks.duration(&["bulk_timeout"], self.bulk_timeout, MILLISECOND, HOUR);
        checks.duration(&["default_deadline"], self.default_deadline, MILLISECOND, HOUR);
        checks.duration(&["shutdown_timeout"], self.shutdown_timeout, Duration::ZERO, HOUR);
        checks.duration(&["session_lifetime"], self.session_lifetime, MILLISECOND, TEN_YEARS);
        checks.duration(&["idle_timeout"], self.idle_timeout, MILLISECOND, TEN_YEARS);
        checks.duration(&["rotation_grace"], self.rotation_grace, Duration::ZERO, Duration::from_secs(120));
        checks.duration(&["retry_window"], self.retry_window, Duration::ZERO, 30 * DAY);
        checks.number(&["max_sessions_per_user"], self.max_sessions_per_user.into(), 1, 100_000);

        self.check_server_keys(checks);
        self.generic_tokens.as_purpose().check(&["generic_tokens"], checks);
        for (purpose, policy) in &self.purposes {
            let path = ["purposes", purpose];
            let chars = purpose.chars().count();
            if chars == 0 || chars > PURPOSE_MAX_CHARS || purpose.chars().any(char::is_control) {
                let message =
                    "the name of a purpose has 1 to 64 characters, none of them a control character";
                checks.wrong(&path, message.to_owned());
            }
            policy.check(&path, checks);
        }

        if let Err(message) = check_log_filter(&self.log_filter) {
            checks.wrong(&["log_filter"], message);
        }
    }
}

impl GenericTokenPolicy {
    fn as_purpose(self) -> PurposePolicy {
        PurposePolicy {
            lifetime: Some(self.lifetime),
            max_lifetime: Some(self.max_lifetime),
            max_attempts: Some(self.max_attempts),
            max_attempts_cap: Some(self.max_attempts_cap),
            window_attempts: Some(self.window_attempts),
            window: Some(self.window),
        }
    }
}

impl PurposePolicy {
    /// Of a value and its limit, the one that the purpose sets itself wins over the one that it inherits.
    fn over(&self, base: &GenericTokenPolicy) -> GenericTokenPolicy {
        let max_lifetime =
            self.max_lifetime.unwrap_or_else(|| base.max_lifetime.max(self.lifetime.unwrap_or_default()));
        let max_attempts_cap = self
            .max_attempts_cap
            .unwrap_or_else(|| base.max_attempts_cap.max(self.max_attempts.unwrap_or_default()));
        GenericTokenPolicy {
            lifetime: self.lifetime.unwrap_or(base.lifetime).min(max_lifetime),
            max_lifetime,
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts).min(max_attempts_cap),
            max_attempts_cap,
            window_attempts: self.window_attempts.unwrap_or(base.window_attempts),
            window: self.window.unwrap_or(base.window),
        }
    }

    fn check(&self, table: &[&str], checks: &mut Checks) {
        let durations =
            [("lifetime", self.lifetime), ("max_lifetime", self.max_lifetime), ("window", self.window)];
        for (field, value) in durations {
            if let Some(value) = value {
                checks.duration(&[table, &[field]].concat(), value, MILLISECOND, TEN_YEARS);
            }
        }
        let counts = [
            ("max_attempts", self.max_attempts, 1000),
            ("max_attempts_cap", self.max_attempts_cap, 1000),
            ("window_attempts", self.window_attempts, 1_000_000),
        ];
        for (field, value, max) in counts {
            if let Some(value) = value {
                checks.number(&[table, &[field]].concat(), value.into(), 1, max);
            }
        }
        if let (Some(lifetime), Some(max)) = (self.lifetime, self.max_lifetime)
            && lifetime > max
        {
            let message = format!(
                "{} is longer than max_lifetime, which is {}",
                duration_text(lifetime),
                duration_text(max)
            );
            checks.wrong(&[table, &["lifetime"]].concat(), message);
        }
        if let (Some(attempts), Some(cap)) = (self.max_attempts, self.max_attempts_cap)
            && attempts > cap
        {
            let message = format!("{attempts} is more than max_attempts_cap, which is {cap}");
            checks.wrong(&[table, &["max_attempts"]].concat(), message);
        }
    }
}

/// What is out of its limits, by path.
#[derive(Default)]
struct Checks(Vec<(Vec<String>, String)>);

impl Checks {
    fn wrong(&mut self, path: &[&str], message: String) {
        self.0.push((path.iter().map(ToString::to_string).collect(), message));
    }

    fn number(&mut self, path: &[&str], value: u64, min: u64, max: u64) {
        if !(min..=max).contains(&value) {
            self.wrong(path, format!("{value} is not from {min} to {max}"));
        }
    }

    fn duration(&mut self, path: &[&str], value: Duration, min: Duration, max: Duration) {
        if !(min..=max).contains(&value) {
            let max = if max == TEN_YEARS { "10 years".to_owned() } else { duration_text(max) };
            self.wrong(path, format!("{} is not from {} to {max}", duration_text(value), duration_text(min)));
        }
    }
}

/// How the text of a flag or variable becomes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The text itself.
    Text,
    /// The text itself, and no message shows it.
    Secret,
    /// A comma-separated list, and no message shows it.
    SecretList,
    /// A number, a boolean or a table, as figment reads them.
    Other,
}

/// A key: how it is spelled and what it takes.
struct Key {
    name: &'static str,
    kind: Kind,
    expects: &'static str,
}

const DURATION: &str = "a duration such as 500ms, 30s, 24h or 14d";
const COUNT: &str = "a whole number";

/// All keys. Tests hold this list, the flags and the fields together.
const KEYS: &[Key] = &[
    Key { name: "listen", kind: Kind::Text, expects: "an IP address with a port, such as 127.0.0.1:50051" },
    Key { name: "default_deadline", kind: Kind::Text, expects: DURATION },
    Key { name: "shutdown_timeout", kind: Kind::Text, expects: DURATION },
    Key {
        name: "database_url",
        kind: Kind::Secret,
        expects: "a text such as postgres://user@localhost:5432/token_registry",
    },
    Key { name: "database_pool_size", kind: Kind::Other, expects: COUNT },
    Key { name: "database_pool_wait", kind: Kind::Text, expects: DURATION },
    Key { name: "database_connect_timeout", kind: Kind::Text, expects: DURATION },
    Key { name: "statement_timeout", kind: Kind::Text, expects: DURATION },
    Key { name: "lock_timeout", kind: Kind::Text, expects: DURATION },
    Key { name: "bulk_timeout", kind: Kind::Text, expects: DURATION },
    Key { name: "session_lifetime", kind: Kind::Text, expects: DURATION },
    Key { name: "idle_timeout", kind: Kind::Text, expects: DURATION },
    Key { name: "rotation_grace", kind: Kind::Text, expects: DURATION },
    Key { name: "retry_window", kind: Kind::Text, expects: DURATION },
    Key { name: "max_sessions_per_user", kind: Kind::Other, expects: COUNT },
    Key { name: "require_known_users", kind: Kind::Other, expects: "true or false" },
    Key { name: "server_keys", kind: Kind::SecretList, expects: "a list of at most two texts" },
    Key { name: "generic_tokens.lifetime", kind: Kind::Text, expects: DURATION },
    Key { name: "generic_tokens.max_lifetime", kind: Kind::Text, expects: DURATION },
    Key { name: "generic_tokens.max_attempts", kind: Kind::Other, expects: COUNT },
    Key { name: "generic_tokens.max_attempts_cap", kind: Kind::Other, expects: COUNT },
    Key { name: "generic_tokens.window_attempts", kind: Kind::Other, expects: COUNT },
    Key { name: "generic_tokens.window", kind: Kind::Text, expects: DURATION },
    Key {
        name: "purposes",
        kind: Kind::Other,
        expects: "a table of purposes, such as {password_reset={lifetime=15m}}",
    },
    Key { name: "log_format", kind: Kind::Text, expects: "auto, text or json" },
    Key {
        name: "log_filter",
        kind: Kind::Text,
        expects: "a filter such as info or info,token_registry=debug",
    },
];

impl Key {
    fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    fn of_flag(arg: &clap::Arg) -> Option<&'static Self> {
        KEYS.iter().find(|key| Some(key.flag().as_str()) == arg.get_long())
    }

    /// The key at a path; the fields of a purpose are those of `generic_tokens`, and what lies in a list is the list's.
    fn at(path: &[&str]) -> Option<&'static Self> {
        match path {
            ["purposes", _, field, ..] | ["generic_tokens", field, ..] => {
                Self::named(&format!("generic_tokens.{field}"))
            }
            [name, ..] => Self::named(name),
            [] => None,
        }
    }

    fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    fn parse(&self, text: &str) -> Dict {
        let value = match self.kind {
            Kind::Text | Kind::Secret => Value::from(text),
            Kind::SecretList => {
                Value::from(text.split(',').map(|key| Value::from(key.trim())).collect::<Vec<_>>())
            }
            Kind::Other => text.parse().unwrap_or_else(|_| Value::from(text)),
        };
        figment::util::nest(self.name, value).into_dict().unwrap_or_default()
    }
}

impl Flags {
    /// The keys that the command line sets. A test holds it together with [`KEYS`].
    fn given(&self) -> impl Iterator<Item = (&'static Key, &str)> {
        fn shown(text: Option<&SecretString>) -> Option<&str> {
            text.map(SecretString::expose_secret)
        }
        [
            ("listen", self.listen.as_deref()),
            ("default_deadline", self.default_deadline.as_deref()),
            ("shutdown_timeout", self.shutdown_timeout.as_deref()),
            ("database_url", shown(self.database_url.as_ref())),
            ("database_pool_size", self.database_pool_size.as_deref()),
            ("database_pool_wait", self.database_pool_wait.as_deref()),
            ("database_connect_timeout", self.database_connect_timeout.as_deref()),
            ("statement_timeout", self.statement_timeout.as_deref()),
            ("lock_timeout", self.lock_timeout.as_deref()),
            ("bulk_timeout", self.bulk_timeout.as_deref()),
            ("session_lifetime", self.session_lifetime.as_deref()),
            ("idle_timeout", self.idle_timeout.as_deref()),
            ("rotation_grace", self.rotation_grace.as_deref()),
            ("retry_window", self.retry_window.as_deref()),
            ("max_sessions_per_user", self.max_sessions_per_user.as_deref()),
            ("require_known_users", self.require_known_users.as_deref()),
            ("server_keys", shown(self.server_keys.as_ref())),
            ("generic_tokens.lifetime", self.generic_tokens_lifetime.as_deref()),
            ("generic_tokens.max_lifetime", self.generic_tokens_max_lifetime.as_deref()),
            ("generic_tokens.max_attempts", self.generic_tokens_max_attempts.as_deref()),
            ("generic_tokens.max_attempts_cap", self.generic_tokens_max_attempts_cap.as_deref()),
            ("generic_tokens.window_attempts", self.generic_tokens_window_attempts.as_deref()),
            ("generic_tokens.window", self.generic_tokens_window.as_deref()),
            ("purposes", self.purposes.as_deref()),
            ("log_format", self.log_format.as_deref()),
            ("log_filter", self.log_filter.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((Key::named(name)?, text?)))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that may fail")]
fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(text.into())
}

/// One source's values.
struct Layer {
    source: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// What the environment sets.
#[derive(Default)]
struct Environment {
    /// Key, variable, text; of two variables for one key the winner is last.
    values: Vec<(&'static Key, String, String)>,
    config_file: Option<PathBuf>,
}

impl Environment {
    fn read(variables: impl IntoIterator<Item = (OsString, OsString)>, problems: &mut Vec<Problem>) -> Self {
        // Sorted, so that messages come in the same order every time; and DATABASE_URL comes before TOKEN_REGISTRY_….
        let variables: BTreeMap<String, OsString> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(ENV_PREFIX) || name == ENV_DATABASE_URL)
            .filter(|(name, _)| !name.starts_with(ENV_TEST_PREFIX))
            .collect();
        let mut environment = Self::default();
        for (name, value) in variables {
            if name == ENV_CONFIG {
                environment.config_file =
                    Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty());
                continue;
            }
            let Ok(value) = value.into_string() else {
                problems.push(Problem::new(
                    &name,
                    "not valid UTF-8",
                    Some("environment variable".to_owned()),
                ));
                continue;
            };
            let value = value.trim();
            let key = if name == ENV_DATABASE_URL {
                Key::named("database_url")
            } else {
                KEYS.iter().find(|key| key.variable() == name)
            };
            match key {
                _ if value.is_empty() => {}
                Some(key) => environment.values.push((key, name, value.to_owned())),
                None if is_kubernetes_service_variable(&name, value) => {}
                None => {
                    let known: Vec<String> =
                        KEYS.iter().map(Key::variable).chain([ENV_CONFIG.to_owned()]).collect();
                    let message = match nearest(&name, known.iter().map(String::as_str)) {
                        Some(known) => format!("no such setting; did you mean {known}?"),
                        None => "no such setting; `token-registry serve --help` lists them all".to_owned(),
                    };
                    problems.push(Problem::new(&name, message, Some("environment variable".to_owned())));
                }
            }
        }
        environment
    }
}

/// Kubernetes puts the addresses of every Service into the environment of every pod. One that is named `token-registry`
/// gives variables with our prefix, such as `TOKEN_REGISTRY_SERVICE_HOST` and `TOKEN_REGISTRY_PORT_50051_TCP_ADDR`.
fn is_kubernetes_service_variable(name: &str, value: &str) -> bool {
    let is_port = |rest: &str| {
        let mut words = rest.split('_');
        words.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!(words.next(), None | Some("PROTO" | "PORT" | "ADDR"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT") && value.contains("://")
        || name.match_indices("_PORT_").any(|(at, before)| is_port(&name[at + before.len()..]))
}

/// The configuration file, and what names it.
fn file_to_read(flags: &Flags, variable: Option<PathBuf>) -> Option<(PathBuf, String)> {
    let flag = flags.config.clone().map(|path| (path, "flag --config".to_owned()));
    flag.or_else(|| variable.map(|path| (path, format!("environment variable {ENV_CONFIG}"))))
}

fn read_file(path: &Path) -> Result<Dict, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // Not the error's own text: it shows the line, and with it maybe a secret.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("not TOML: {} at line {}, column {column}", error.message(), before.matches('\n').count() + 1)
    })?;
    let value = Value::serialize(table).map_err(|error| format!("can't be read: {}", error.kind))?;
    Ok(value.into_dict().unwrap_or_default())
}

/// The value at a path and its tag, which leads to its source; or of the nearest thing around it that has one.
fn tag_at(values: &Dict, path: &[&str]) -> Option<Tag> {
    let (first, rest) = path.split_first()?;
    match values.get(*first)? {
        Value::Dict(_, inner) if !rest.is_empty() => tag_at(inner, rest),
        value => Some(value.tag()),
    }
}

fn value_at<'a>(values: &'a Dict, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    match values.get(*first)? {
        Value::Dict(_, inner) if !rest.is_empty() => value_at(inner, rest),
        value => Some(value),
    }
}

/// Takes out what lies at a path (the whole list, for a path into one). False when there is nothing.
fn remove(values: &mut Dict, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    match values.get_mut(*first) {
        Some(Value::Dict(_, inner)) if !rest.is_empty() => remove(inner, rest),
        _ => values.remove(*first).is_some(),
    }
}

/// The names a table may hold: those of the top, of `generic_tokens`, or of a purpose.
fn known_keys(table: &[&str]) -> Vec<&'static str> {
    match table {
        [] => {
            let mut names: Vec<_> =
                KEYS.iter().map(|key| key.name.split('.').next().unwrap_or(key.name)).collect();
            names.dedup();
            names
        }
        _ => KEYS.iter().filter_map(|key| key.name.strip_prefix("generic_tokens.")).collect(),
    }
}

fn unknown_keys(values: &Dict) -> Vec<Vec<String>> {
    fn collect(unknown: &mut Vec<Vec<String>>, table: &[&str], values: &Dict) {
        let known = known_keys(table);
        for name in values.keys().filter(|name| !known.contains(&name.as_str())) {
            unknown.push([table, &[name]].concat().into_iter().map(str::to_owned).collect());
        }
    }
    let mut unknown = Vec::new();
    collect(&mut unknown, &[], values);
    if let Some(Value::Dict(_, policy)) = values.get("generic_tokens") {
        collect(&mut unknown, &["generic_tokens"], policy);
    }
    if let Some(Value::Dict(_, purposes)) = values.get("purposes") {
        for (purpose, policy) in purposes {
            if let Value::Dict(_, policy) = policy {
                collect(&mut unknown, &["purposes", purpose], policy);
            }
        }
    }
    unknown
}

fn unknown_key_message(path: &[&str]) -> String {
    let (name, table) = path.split_last().unwrap_or((&"", &[]));
    match nearest(name, known_keys(table).into_iter()) {
        Some(known) => format!("no such key; did you mean {known}?"),
        None => format!("no such key; known are {}", known_keys(table).join(", ")),
    }
}

fn wrong_type_message(values: &Dict, path: &[&str]) -> String {
    let (expects, kind) = match (path, Key::at(path)) {
        (["generic_tokens"] | ["purposes", _], _) => {
            ("a table with keys such as lifetime = \"15m\"", Kind::Other)
        }
        (_, Some(key)) => (key.expects, key.kind),
        (_, None) => return "can't be read".to_owned(),
    };
    if matches!(kind, Kind::Secret | Kind::SecretList) {
        return format!("not {expects} (its value is hidden)");
    }
    let found = match value_at(values, path) {
        Some(Value::String(_, text)) => format!("{text:?}"),
        Some(Value::Char(_, text)) => format!("{:?}", text.to_string()),
        Some(Value::Bool(_, value)) => value.to_string(),
        Some(Value::Num(_, number)) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_default(),
        Some(Value::Dict(..)) => "a table".to_owned(),
        Some(Value::Array(..)) => "a list".to_owned(),
        Some(Value::Empty(..)) | None => "nothing".to_owned(),
    };
    format!("{found} is not {expects}")
}

/// Parameters of connection strings that libpq knows and the driver doesn't; only these may be named in a message,
/// since anything else might be a piece of a password.
const FOREIGN_DATABASE_PARAMETERS: &[&str] = &[
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "gssencmode",
    "krbsrvname",
    "passfile",
    "service",
    "schema",
];

fn check_database_url(url: &SecretString) -> Result<(), String> {
    let url = url.expose_secret();
    let config: tokio_postgres::Config = url.parse().map_err(|_| {
        let foreign = FOREIGN_DATABASE_PARAMETERS
            .iter()
            .find(|name| ["?", "&", " "].iter().any(|before| url.contains(&format!("{before}{name}="))));
        match foreign {
            Some(name) => format!("the connection parameter {name} is not supported"),
            None => format!(
                "not a PostgreSQL connection string such as {DATABASE_URL_EXAMPLE} (its value is hidden; special \
                 characters in a password are written as %40 and the like)"
            ),
        }
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(format!("names no host; {DATABASE_URL_EXAMPLE} does"));
    }
    if config.get_password() == Some(HIDDEN.as_bytes()) {
        return Err(format!("the password is the placeholder {HIDDEN}; put the real one there"));
    }
    Ok(())
}

/// Made from what the driver understood rather than by cutting the text: a password may look like anything.
fn url_hiding_password(url: &SecretString) -> String {
    let Ok(config) = url.expose_secret().parse::<tokio_postgres::Config>() else {
        return HIDDEN.to_owned();
    };
    let mut text = String::from("postgres://");
    if let Some(user) = config.get_user() {
        text.push_str(&percent_encoded(user));
        if config.get_password().is_some() {
            let _ = write!(text, ":{HIDDEN}");
        }
        text.push('@');
    }
    let names = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => percent_encoded(&path.to_string_lossy()),
    });
    let names: Vec<String> = if config.get_hosts().is_empty() {
        config.get_hostaddrs().iter().map(ToString::to_string).collect()
    } else {
        names.collect()
    };
    let hosts = names.iter().enumerate().map(|(index, name)| {
        let ports = config.get_ports();
        match ports.get(index).or(ports.first()) {
            Some(port) => format!("{name}:{port}"),
            None => name.clone(),
        }
    });
    text.push_str(&hosts.collect::<Vec<_>>().join(","));
    if let Some(database) = config.get_dbname() {
        let _ = write!(text, "/{}", percent_encoded(database));
    }
    let mut separator = if config.get_dbname().is_some() { "?" } else { "/?" };
    let ssl_mode = match config.get_ssl_mode() {
        SslMode::Disable => "sslmode=disable",
        SslMode::Require => "sslmode=require",
        _ => "",
    };
    let target = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => "target_session_attrs=read-write",
        TargetSessionAttrs::ReadOnly => "target_session_attrs=read-only",
        _ => "",
    };
    for parameter in [ssl_mode, target].into_iter().filter(|parameter| !parameter.is_empty()) {
        let _ = write!(text, "{separator}{parameter}");
        separator = "&";
    }
    text
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn check_log_filter(filter: &str) -> Result<(), String> {
    let example = "a filter such as info or info,token_registry=debug";
    if filter.trim().is_empty() {
        return Err(format!("empty; {example} is wanted, or off"));
    }
    // `inof` alone is a valid filter: it logs nothing but a module of this name. Nobody means that.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in filter.split(',').map(str::trim) {
        let name = directive.to_lowercase();
        if !directive.contains(['=', '[']) && !levels.contains(&name.as_str()) && name.parse::<u8>().is_err()
        {
            let meant =
                nearest(&name, levels.into_iter()).unwrap_or("one of off, error, warn, info, debug, trace");
            return Err(format!(
                "{directive:?} is no level; did you mean {meant}? (a module takes =, as in h2=debug)"
            ));
        }
    }
    EnvFilter::try_new(filter).map(drop).map_err(|error| format!("{filter:?} is not {example}: {error}"))
}

/// The known name that somebody who typed `name` most likely meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, known) =
        known.map(|known| (edit_distance(name, known), known)).min_by_key(|(distance, _)| *distance)?;
    let variable = name.strip_prefix(ENV_PREFIX).unwrap_or(name);
    (distance <= (variable.chars().count() / 3).max(1)).then_some(known)
}

/// Levenshtein's distance, with two neighbours swapped as one step.
fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

/// A comment of lines that fit into 100 columns.
fn write_comment(text: &mut String, comment: &str) {
    let mut column = usize::MAX;
    for word in comment.split_whitespace() {
        if column.saturating_add(1 + word.len()) > 100 {
            text.push_str(if column == usize::MAX { "#" } else { "\n#" });
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push('\n');
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted_duration(value: Duration) -> String {
    quoted(&duration_text(value))
}

/// A duration in the largest unit that says it exactly: `14d`, `90s`, `250ms`.
fn duration_text(value: Duration) -> String {
    let nanos = value.as_nanos();
    let units: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    // A single day is better known as 24h.
    let fits = |unit: u128, name| nanos.is_multiple_of(unit) && (name != "d" || value != DAY);
    match units.into_iter().find(|(unit, name)| nanos > 0 && fits(*unit, *name)) {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}

/// Durations as people write them: `30s`, `24h`, `500ms`; a bare number is seconds.
mod duration {
    use std::fmt;
    use std::time::Duration;

    use humantime_serde::re::humantime;
    use serde::de::{Deserializer, Error, Visitor};

    struct Text;

    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(super::DURATION)
        }

        fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }

        fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
            u64::try_from(seconds).map(Duration::from_secs).map_err(E::custom)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            match text.trim().parse() {
                Ok(seconds) => Ok(Duration::from_secs(seconds)),
                Err(_) => humantime::parse_duration(text.trim()).map_err(E::custom),
            }
        }
    }

    pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Text)
    }

    pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        required(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicU32, Ordering};

    use clap::Parser as _;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    /// A configuration file that goes away with the test.
    struct File(PathBuf);

    impl File {
        fn new(text: &str) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name =
                format!("config-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn load(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
        let file = File::new(file);
        let mut flags = Line::parse_from([&[""], flags].concat()).flags;
        flags.config = Some(file.0.clone());
        let environment =
            environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::load_from(&flags, environment)
            .map_err(|error| error.to_string().replace(&file.0.display().to_string(), "FILE"))
    }

    fn problems(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
        let text = load(file, environment, flags).expect_err("it should be wrong");
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(first, "the configuration is wrong:");
        rest.lines().map(|line| line.strip_prefix("  ").unwrap().to_owned()).collect()
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        let config = load("", &[], &[]).unwrap();
        assert_eq!(config.to_toml_hiding_secrets(), Config::default().to_toml_hiding_secrets());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "rotation_grace = \"1s\"\nlock_timeout = \"1s\"\nretry_window = \"1s\"";
        let environment = [("TOKEN_REGISTRY_ROTATION_GRACE", "2s"), ("TOKEN_REGISTRY_LOCK_TIMEOUT", "2s")];
        let config = load(file, &environment, &["--rotation-grace", "3s"]).unwrap();
        let seconds =
            [config.rotation_grace, config.lock_timeout, config.retry_window].map(|value| value.as_secs());
        assert_eq!(seconds, [3, 2, 1]);
    }

    #[test]
    fn database_url_is_read_from_the_name_everybody_tries() {
        let host = |environment: &[(&str, &str)]| {
            let config = load("database_url = 'postgres://file/x'", environment, &[]).unwrap();
            config.database_url().unwrap().expose_secret().to_owned()
        };
        let (plain, own) =
            (("DATABASE_URL", "postgres://plain/x"), ("TOKEN_REGISTRY_DATABASE_URL", "postgres://own/x"));
        assert_eq!(host(&[]), "postgres://file/x");
        assert_eq!(host(&[plain]), "postgres://plain/x");
        assert_eq!(host(&[own, plain]), "postgres://own/x");
        assert_eq!(host(&[("DATABASE_URL", " \n")]), "postgres://file/x");
    }

    #[test]
    fn a_missing_database_is_said_with_the_name_to_set() {
        let error = Config::default().database_url().unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL=postgres://"), "{error}");
    }

    #[test]
    fn a_file_may_be_named_in_the_environment() {
        let file = File::new("log_filter = 'warn'");
        let variable = (OsString::from(ENV_CONFIG), file.0.clone().into_os_string());
        assert_eq!(Config::load_from(&Flags::default(), [variable]).unwrap().log_filter, "warn");
        let missing = (OsString::from(ENV_CONFIG), OsString::from("/nowhere/registry.toml"));
        let error = Config::load_from(&Flags::default(), [missing]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/registry.toml: can't be read: No such file"), "{error}");
        assert!(error.ends_with("(environment variable TOKEN_REGISTRY_CONFIG)"), "{error}");
    }

    #[test]
    fn every_key_can_be_set_in_every_source() {
        let values = [
            ("listen", "[::1]:1"),
            ("default_deadline", "1s"),
            ("shutdown_timeout", "0s"),
            ("database_url", "postgres://ada:(hidden1)@db:1/x"),
            ("database_pool_size", "2"),
            ("database_pool_wait", "1s"),
            ("database_connect_timeout", "1s"),
            ("statement_timeout", "1s"),
            ("lock_timeout", "1s"),
            ("bulk_timeout", "1s"),
            ("session_lifetime", "1h"),
            ("idle_timeout", "1m"),
            ("rotation_grace", "0s"),
            ("retry_window", "1s"),
            ("max_sessions_per_user", "2"),
            ("require_known_users", "true"),
            ("server_keys", KEY),
            ("generic_tokens.lifetime", "1m"),
            ("generic_tokens.max_lifetime", "2m"),
            ("generic_tokens.max_attempts", "2"),
            ("generic_tokens.max_attempts_cap", "3"),
            ("generic_tokens.window_attempts", "4"),
            ("generic_tokens.window", "5m"),
            ("purposes", "{login={max_attempts=3}}"),
            ("log_format", "json"),
            ("log_filter", "debug"),
        ];
        assert_eq!(
            values.map(|(name, _)| name).to_vec(),
            KEYS.iter().map(|key| key.name).collect::<Vec<_>>()
        );

        let keys = || KEYS.iter().zip(values);
        let environment: Vec<_> = keys().map(|(key, (_, value))| (key.variable(), value)).collect();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let printed = load("", &environment, &[]).unwrap().to_toml_hiding_secrets();
        let flags: Vec<_> =
            keys().flat_map(|(key, (_, value))| [format!("--{}", key.flag()), value.to_owned()]).collect();
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        assert_eq!(load("", &[], &flags).unwrap().to_toml_hiding_secrets(), printed);
        // The printed file says the same again; secrets are put back at their place.
        let file = printed
            .replace(
                "# database_url = \"postgres://ada:(hidden)@",
                "database_url = \"postgres://ada:(hidden1)@",
            )
            .replace("# server_keys = [\"(hidden)\"]", &format!("server_keys = [\"{KEY}\"]"));
        assert_eq!(load(&file, &[], &[]).unwrap().to_toml_hiding_secrets(), printed);

        // None has its default any more, so each was really read.
        let defaults = Config::default();
        let config = load(&file, &[], &[]).unwrap();
        for key in KEYS.iter().filter(|key| key.name != "purposes") {
            assert_ne!(config.value_text(key.name), defaults.value_text(key.name), "{}", key.name);
        }
        assert_eq!(config.policy("login").max_attempts, 3);
    }

    #[test]
    fn help_says_every_default() {
        let command = Line::command();
        let flags: Vec<_> = command.get_arguments().filter(|arg| arg.get_long() != Some("config")).collect();
        assert_eq!(flags.len(), KEYS.len());
        for (arg, key) in flags.into_iter().zip(KEYS) {
            assert_eq!(arg.get_long(), Some(key.flag().as_str()), "flags and keys come in one order");
            let help = arg.get_help().unwrap().to_string();
            let said = match (key.name, Config::default().value_text(key.name)) {
                ("server_keys", _) => "(default: made once and kept in the database)".to_owned(),
                (_, None) => "(no default)".to_owned(),
                (_, Some(value)) => format!("(default {})", value.trim_matches('"')),
            };
            assert!(help.ends_with(&said), "{help:?} should end with {said:?}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_together_with_their_sources() {
        let file = "listen = 'localhost'\nlock_timeout = true\nrotation_graze = '1s'\n\
                    [generic_tokens]\nmax_atempts = 3\n[purposes.login]\nlifetime = 'soon'\nwindow_attempts = 0";
        let environment = [
            ("TOKEN_REGISTRY_DATABASE_POOL_SIZE", "many"),
            ("TOKEN_REGISTRY_RETRY_WINDOW", "60d"),
            ("TOKEN_REGISTRY_ROTATION_GRASE", "5s"),
            ("TOKEN_REGISTRY_FROBNICATE", "5s"),
        ];
        let mut found =
            problems(file, &environment, &["--rotation-grace", "5m", "--require-known-users", "maybe"]);
        found.sort();
        let mut expected = [
            "TOKEN_REGISTRY_FROBNICATE: no such setting; `token-registry serve --help` lists them all (environment variable)",
            "TOKEN_REGISTRY_ROTATION_GRASE: no such setting; did you mean TOKEN_REGISTRY_ROTATION_GRACE? (environment variable)",
            "database_pool_size: \"many\" is not a whole number (environment variable TOKEN_REGISTRY_DATABASE_POOL_SIZE)",
            "generic_tokens.max_atempts: no such key; did you mean max_attempts? (file FILE)",
            "listen: \"localhost\" is not an IP address with a port, such as 127.0.0.1:50051 (file FILE)",
            "lock_timeout: true is not a duration such as 500ms, 30s, 24h or 14d (file FILE)",
            "purposes.login.lifetime: \"soon\" is not a duration such as 500ms, 30s, 24h or 14d (file FILE)",
            "purposes.login.window_attempts: 0 is not from 1 to 1000000 (file FILE)",
            "require_known_users: \"maybe\" is not true or false (flag --require-known-users)",
            "retry_window: 60d is not from 0s to 30d (environment variable TOKEN_REGISTRY_RETRY_WINDOW)",
            "rotation_grace: 5m is not from 0s to 2m (flag --rotation-grace)",
            "rotation_graze: no such key; did you mean rotation_grace? (file FILE)",
        ];
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn values_that_no_type_takes_are_refused() {
        for (key, value) in [
            ("database_pool_size", "-1"),
            ("database_pool_size", "0"),
            ("database_pool_size", "1001"),
            ("database_pool_size", "99999999999999999999999999"),
            ("max_sessions_per_user", "4294967296"),
            ("max_sessions_per_user", "1.5"),
            ("session_lifetime", "0"),
            ("session_lifetime", "-5s"),
            ("session_lifetime", "11y"),
            ("session_lifetime", "99999999999999999999y"),
            ("idle_timeout", "0s"),
            ("statement_timeout", "1us"),
            ("log_format", "xml"),
            ("log_filter", "inof"),
            ("log_filter", "warning"),
            ("log_filter", "info,h2=loud"),
            ("purposes", "login"),
            ("purposes", "{login=5}"),
            ("purposes", "{login={lifetime=1h,max_lifetime=1m}}"),
            ("generic_tokens.lifetime", "8d"),
            ("generic_tokens.max_attempts", "11"),
        ] {
            let key = Key::named(key).unwrap();
            let found = problems("", &[(&key.variable(), value)], &[]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(key.name), "{found:?}");
            assert!(found[0].ends_with(&format!("(environment variable {})", key.variable())), "{found:?}");
        }
    }

    #[test]
    fn durations_are_texts_or_seconds() {
        for (text, millis) in
            [("'250ms'", 250), ("'2m'", 120_000), ("'30'", 30_000), ("30", 30_000), ("'0'", 0), ("0", 0)]
        {
            let config = load(&format!("rotation_grace = {text}"), &[], &[]).unwrap();
            assert_eq!(config.rotation_grace.as_millis(), millis, "{text}");
        }
        assert_eq!(load("session_lifetime = '10y'", &[], &[]).unwrap().session_lifetime, TEN_YEARS);
        for text in ["0s", "1ns", "250ms", "90s", "2m", "24h", "36h", "2d", "14d", "90m"] {
            let value = humantime_serde::re::humantime::parse_duration(text).unwrap();
            assert_eq!(duration_text(value), text);
        }
    }

    #[test]
    fn the_idle_timeout_is_cut_to_the_lifetime() {
        let config = load("session_lifetime = '1h'", &[], &[]).unwrap();
        assert_eq!(config.idle_timeout, HOUR);
    }

    #[test]
    fn the_environment_may_hold_what_is_no_setting() {
        let environment = [
            ("TOKEN_REGISTRY_TEST_DATABASE", "x"),
            ("TOKEN_REGISTRY_LISTEN", ""),
            ("TOKEN_REGISTRY_FROBNICATE", ""),
            ("OTHER", "x"),
            // A Kubernetes Service named token-registry, and one named token-registry-grpc.
            ("TOKEN_REGISTRY_SERVICE_HOST", "10.0.0.1"),
            ("TOKEN_REGISTRY_SERVICE_PORT", "50051"),
            ("TOKEN_REGISTRY_SERVICE_PORT_GRPC", "50051"),
            ("TOKEN_REGISTRY_PORT", "tcp://10.0.0.1:50051"),
            ("TOKEN_REGISTRY_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("TOKEN_REGISTRY_PORT_50051_TCP_PROTO", "tcp"),
            ("TOKEN_REGISTRY_PORT_50051_TCP_PORT", "50051"),
            ("TOKEN_REGISTRY_GRPC_PORT_50051_TCP_ADDR", "10.0.0.1"),
            ("TOKEN_REGISTRY_GRPC_PORT", "tcp://10.0.0.1:50051"),
        ];
        load("", &environment, &[]).unwrap();
        assert_eq!(problems("", &[("TOKEN_REGISTRY_PORT", "50051")], &[]).len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt as _;
        let variable = (OsString::from("TOKEN_REGISTRY_LISTEN"), OsString::from_vec(vec![0xff]));
        let error = Config::load_from(&Flags::default(), [variable]).unwrap_err().to_string();
        assert!(error.contains("TOKEN_REGISTRY_LISTEN: not valid UTF-8"), "{error}");
    }

    #[test]
    fn server_keys_are_a_list() {
        let two = format!("{KEY}, {KEY}X");
        let config = load("", &[("TOKEN_REGISTRY_SERVER_KEYS", &two)], &[]).unwrap();
        assert_eq!(config.server_keys.len(), 2);
        assert_eq!(config.server_keys[1].expose_secret(), format!("{KEY}X"));
        // Digits only are a text too.
        let digits = "1".repeat(32);
        assert_eq!(load("", &[("TOKEN_REGISTRY_SERVER_KEYS", &digits)], &[]).unwrap().server_keys.len(), 1);
        let found = problems("", &[("TOKEN_REGISTRY_SERVER_KEYS", "short,,s3cret")], &[]);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[1].starts_with("server_keys: key 1 has 5 characters, fewer than 32"), "{found:?}");
    }

    #[test]
    fn no_message_shows_a_secret() {
        let long = format!("{KEY}hunter2,,");
        for (file, environment, flags) in [
            ("", vec![("DATABASE_URL", "hunter2")], vec![]),
            ("", vec![("DATABASE_URL", "postgres://ada:hunter2@db:port/x")], vec![]),
            ("", vec![("DATABASE_URL", "host=db password=x hunter2=1")], vec![]),
            ("", vec![("DATABASE_URL", "postgres://ada:hunter2@/x")], vec![]),
            ("", vec![], vec!["--server-keys", "hunter2"]),
            ("", vec![], vec!["--server-keys", long.as_str()]),
            ("database_url = ['hunter2']", vec![], vec![]),
            ("database_url = { hunter2 = 1 }", vec![], vec![]),
            ("server_keys = 'hunter2'", vec![], vec![]),
            ("server_keys = [['hunter2']]", vec![], vec![]),
            ("database_url = 'postgres://ada:hunter2@db", vec![], vec![]),
            ("database_url = postgres://ada:hunter2@db", vec![], vec![]),
            ("database_url = hunter2", vec![], vec![]),
        ] {
            let found = problems(file, &environment, &flags);
            assert!(!found.concat().contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn what_is_not_toml_is_said_with_its_place() {
        let found = problems("log_filter = 'info'\nlisten = \n", &[], &[]);
        assert!(found[0].starts_with("FILE: not TOML: "), "{found:?}");
        assert!(found[0].contains("at line 2, column 10"), "{found:?}");
        assert!(found[0].ends_with("(flag --config)"), "{found:?}");
    }

    #[test]
    fn secrets_are_neither_printed_nor_in_debug() {
        let environment = [
            (
                "DATABASE_URL",
                "postgres://ada:hunter%402@db1:5433,db2:5433/x?sslmode=require&target_session_attrs=read-write",
            ),
            ("TOKEN_REGISTRY_SERVER_KEYS", KEY),
        ];
        let config = load("", &environment, &[]).unwrap();
        let printed = config.to_toml_hiding_secrets();
        for text in [printed.clone(), format!("{config:?}")] {
            assert!(!text.contains("hunter") && !text.contains(KEY), "{text}");
        }
        let url =
            "postgres://ada:(hidden)@db1:5433,db2:5433/x?sslmode=require&target_session_attrs=read-write";
        assert!(printed.contains(&format!("# database_url = \"{url}\"")), "{printed}");
        assert!(printed.contains("# server_keys = [\"(hidden)\"]"), "{printed}");
        // What was printed can be read, and the placeholder isn't taken for a password.
        load(&printed, &[], &[]).unwrap();
        let found = problems("", &[("DATABASE_URL", url)], &[]);
        assert!(found[0].contains("placeholder"), "{found:?}");
        let flags = Line::parse_from(["", "--server-keys", KEY, "--database-url", "hunter2"]).flags;
        assert!(!format!("{flags:?}").contains("hunter2") && !format!("{flags:?}").contains(KEY));
    }

    #[test]
    fn addresses_of_databases_are_shown_as_they_are_understood() {
        for (given, shown) in [
            ("postgres://localhost/x", "postgres://localhost:5432/x"),
            (
                "host=/run/postgresql user=ada dbname=x password='a b'",
                "postgres://ada:(hidden)@%2Frun%2Fpostgresql/x",
            ),
            ("postgresql://ada@[::1]:5432", "postgres://ada@[::1]:5432"),
        ] {
            assert_eq!(url_hiding_password(&given.into()), shown);
            let again: tokio_postgres::Config = shown.parse().unwrap();
            assert_eq!(again.get_hosts(), given.parse::<tokio_postgres::Config>().unwrap().get_hosts());
        }
    }

    #[test]
    fn an_unsupported_connection_parameter_is_named() {
        let found = problems("", &[("DATABASE_URL", "postgres://db/x?sslrootcert=/ca.pem")], &[]);
        assert!(found[0].contains("sslrootcert is not supported"), "{found:?}");
    }

    #[test]
    fn a_purpose_inherits_what_it_leaves_out() {
        let file = "[generic_tokens]\nmax_attempts = 4\n\
                    [purposes.password_reset]\nlifetime = '15m'\n\
                    [purposes.'invitation by mail']\nlifetime = '30d'\nmax_attempts = 20\n\
                    [purposes.login]\nmax_lifetime = '5m'\nmax_attempts_cap = 3";
        let config =
            load(file, &[("TOKEN_REGISTRY_PURPOSES", "{password_reset={window=1h},login={window=1h}}")], &[])
                .unwrap();
        let base = GenericTokenPolicy { max_attempts: 4, ..GenericTokenPolicy::default() };
        assert_eq!(config.policy("anything"), base);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let reset = GenericTokenPolicy { lifetime: minutes(15), window: HOUR, ..base };
        assert_eq!(config.policy("password_reset"), reset);
        let month = 30 * DAY;
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

    #[test]
    fn names_of_purposes_are_checked() {
        for name in [String::new(), "x".repeat(65), "a\\tb".to_owned()] {
            let found = problems(&format!("[purposes.\"{name}\"]\nlifetime = '1m'"), &[], &[]);
            assert!(found[0].contains("1 to 64 characters"), "{found:?}");
        }
        load(&format!("[purposes.'{}']", "ü".repeat(64)), &[], &[]).unwrap();
    }
}
