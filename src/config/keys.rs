//! All keys: how each is spelled, what it takes, its default and its help. The flags with their `--help`, the
//! environment variables, the checks and `config print` are made from this table. A new key is a row here and a field
//! of the same name in [`Config`](super::Config) (or [`GenericTokenPolicy`](super::GenericTokenPolicy)).

use std::time::Duration;

use super::kind::Kind;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// Ten years of 365.25 days, what `10y` means in a duration.
const TEN_YEARS: Duration = Duration::from_hours(87_660);

/// What every environment variable of ours begins with.
pub(super) const ENV_PREFIX: &str = "TOKEN_REGISTRY_";

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its path in the file.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As a flag or the environment would spell it.
    pub(super) default: Option<&'static str>,
    /// What it means, for `--help` and as a comment in printed files; limits and default are added.
    help: &'static str,
}

/// The keys under one heading, in the order of `--help`.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) heading: &'static str,
    pub(super) keys: &'static [Key],
}

/// What a path in the file leads to.
pub(super) enum Place {
    Key(&'static Key),
    /// A table that holds keys or further tables.
    Table,
    Unknown,
}

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>, help: &'static str) -> Key {
    Key { name, kind, default, help }
}

const fn duration(min: Duration, max: Duration) -> Kind {
    Kind::Duration { min, max }
}

const fn count(max: u32) -> Kind {
    Kind::Count { min: 1, max }
}

#[rustfmt::skip] // It reads as a table.
pub(super) static SECTIONS: &[Section] = &[
    Section { heading: "Server", keys: &[
        key("listen", Kind::Address, Some("127.0.0.1:50051"),
            "Address and port of the gRPC server; 0.0.0.0:50051 opens it to the network, which needs a \
             certificate, or plaintext set to everywhere"),
        key("metrics_listen", Kind::Address, None,
            "Address and port where Prometheus may ask for /metrics, such as 127.0.0.1:9464; nowhere when not set"),
        key("worker_threads", count(1024), None,
            "Threads that carry out calls; as many as processors when not set"),
        key("default_deadline", duration(MILLISECOND, HOUR), Some("10s"),
            "Deadline of calls that bring none"),
        key("max_connections", count(1_000_000), Some("4096"),
            "Connections to hold at most; further ones wait. Fewer if the process may not open so many files"),
        key("peer_timeout", duration(MILLISECOND, HOUR), Some("10s"),
            "How long a peer may take to begin, to send a request that it has begun, and to take a long answer"),
        key("shutdown_timeout", duration(Duration::ZERO, HOUR), Some("30s"),
            "How long calls under way may take to end after SIGTERM"),
    ] },
    Section { heading: "Callers", keys: &[
        key("tls_certificate", Kind::Path, None,
            "The server's certificate and those between it and its authority, as PEM; with it connections \
             are encrypted; read again when it changes"),
        key("tls_key", Kind::Path, None,
            "The certificate's key, as PEM"),
        key("tls_client_ca", Kind::Path, None,
            "Authorities of callers' certificates, as PEM; callers must show one then, or bring a key"),
        key("tls_client_crl", Kind::Path, None,
            "Revocation lists of those authorities, one of each, as PEM; read again when they change"),
        key("plaintext", Kind::Choice(&["loopback", "everywhere"]), Some("loopback"),
            "From where unencrypted calls are served; everywhere is for a registry behind something that \
             encrypts"),
        key("callers", Kind::Path, None,
            "File of callers, their keys, certificates and roles, read again when it changes; without one \
             everybody who reaches the server may call everything"),
        key("jwt.keys", Kind::FileOrHttpsUrl, None,
            "Public keys of callers' JWTs (a JSON Web Key Set): a file, read again when it changes, or an \
             https address; no JWT is taken when not set"),
        key("jwt.issuer", Kind::Text, None,
            "Who must have issued a JWT (iss)"),
        key("jwt.audience", Kind::Text, None,
            "For whom a JWT must be meant (aud): the name of this registry at the issuer"),
        key("jwt.claim", Kind::Text, Some("sub"),
            "The claim of a JWT that names the caller"),
        key("jwt.leeway", duration(Duration::ZERO, Duration::from_mins(5)), Some("30s"),
            "How far the issuer's clock may be off"),
        key("jwt.refresh", duration(Duration::from_secs(10), HOUR), Some("5m"),
            "How often an address is asked for the keys; an unknown one asks at once, but not within 10s"),
        key("jwt.max_age", duration(MINUTE, Duration::from_hours(30 * 24)), Some("24h"),
            "How long keys stay in force when the address doesn't answer any more"),
    ] },
    Section { heading: "Database", keys: &[
        key("database_url", Kind::DatabaseUrl, None,
            "The PostgreSQL database; better in the environment as DATABASE_URL, since other users \
             of the machine can read command lines"),
        key("database_pool_size", count(1000), Some("16"),
            "Connections to hold at most"),
        key("database_pool_wait", duration(MILLISECOND, MINUTE), Some("250ms"),
            "How long a request waits for a free connection before it is refused as overloaded"),
        key("database_connect_timeout", duration(MILLISECOND, MINUTE), Some("3s"),
            "How long making a connection may take"),
        key("gathering", Kind::Switch, Some("true"),
            "Whether requests that arrive while a round trip is under way go together in the next \
             one; off is for comparison"),
        key("statement_timeout", duration(MILLISECOND, HOUR), Some("5s"),
            "How long a statement may take"),
        key("lock_timeout", duration(MILLISECOND, HOUR), Some("500ms"),
            "How long a statement waits for a row that another one holds"),
        key("bulk_timeout", duration(MILLISECOND, HOUR), Some("30s"),
            "How long a statement over everything of a user may take, such as a deletion"),
    ] },
    Section { heading: "Sessions", keys: &[
        key("session_lifetime", duration(MILLISECOND, TEN_YEARS), Some("30d"),
            "How long a session lives at most"),
        key("idle_timeout", duration(MILLISECOND, TEN_YEARS), Some("14d"),
            "How long a session lives without a rotation; cut to the session lifetime"),
        key("rotation_grace", duration(Duration::ZERO, Duration::from_mins(2)), Some("30s"),
            "How long after a rotation the previous token is answered with the current one; 0s is \
             strict"),
        key("retry_window", duration(Duration::ZERO, Duration::from_hours(30 * 24)), Some("24h"),
            "How long the very same rotation may be sent again and gets the same answer"),
        key("max_sessions_per_user", count(100_000), Some("1000"),
            "Live sessions of one user; one more revokes the oldest"),
        key("require_known_users", Kind::Switch, Some("false"),
            "Whether users must be created before a login; without it the first login creates them"),
    ] },
    Section { heading: "One-time tokens", keys: &[
        key("server_keys", Kind::ServerKeys, None,
            "HMAC keys of codes: the current one, then the previous one, 32 characters or more each, \
             as from openssl rand -base64 32; better in the environment; without any, one is made and \
             kept in the database"),
        key("generic_tokens.lifetime", duration(MILLISECOND, TEN_YEARS), Some("1h"),
            "How long a token lives when the caller doesn't say; at most the longest lifetime"),
        key("generic_tokens.max_lifetime", duration(MILLISECOND, TEN_YEARS), Some("7d"),
            "The longest lifetime a caller may ask for"),
        key("generic_tokens.max_attempts", count(1000), Some("5"),
            "Guesses at one code when the caller doesn't say; at most the cap"),
        key("generic_tokens.max_attempts_cap", count(1000), Some("10"),
            "The most guesses at one code a caller may ask for"),
        key("generic_tokens.window_attempts", count(1_000_000), Some("100"),
            "Guesses at all codes of one user and purpose within the window"),
        key("generic_tokens.window", duration(MILLISECOND, TEN_YEARS), Some("24h"),
            "The time over which those guesses are counted"),
        key("purposes", Kind::Purposes, None,
            "Policies by purpose, such as '{password_reset={lifetime=15m},login={max_attempts=3}}'"),
    ] },
    Section { heading: "API keys", keys: &[
        key("auth_tokens.model", Kind::Choice(&["drf", "prefixed"]), Some("drf"),
            "What API keys are made as: drf is one a user, 40 hexadecimal digits as in Django REST \
             framework; prefixed is several a user, trk_ with a checksum; both authenticate"),
    ] },
    Section { heading: "Purge", keys: &[
        key("purge.interval", duration(Duration::ZERO, Duration::from_hours(30 * 24)), Some("1h"),
            "How often one of the servers removes what has been over for long; 0s: none does, see \
             token-registry purge"),
        key("purge.retention", duration(Duration::ZERO, TEN_YEARS), Some("30d"),
            "For how long sessions, one-time tokens and API keys stay after they ended"),
        key("purge.batch_size", count(10_000), Some("100"),
            "How many rows one step of the purge looks at"),
    ] },
    Section { heading: "Logs", keys: &[
        key("log_format", Kind::Choice(&["auto", "text", "json"]), Some("auto"),
            "How log lines look: auto is text on a terminal and JSON otherwise"),
        key("log_filter", Kind::LogFilter, Some("info"),
            "What is logged, such as warn or info,token_registry=debug"),
        key("audit_log", Kind::Path, None,
            "File to which revocations and administrative acts are appended as JSON lines; lines of the \
             log when not set"),
    ] },
    Section { heading: "Traces", keys: &[
        key("traces_endpoint", Kind::HttpUrl, None,
            "OpenTelemetry collector that takes traces by OTLP over gRPC, such as http://127.0.0.1:4317; \
             no traces when not set"),
        key("traces_percent", Kind::Count { min: 0, max: 100 }, Some("1"),
            "How many percent of the calls are traced whose caller hasn't decided"),
    ] },
];

/// All keys.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// Whether keys are in a table of this name.
fn is_table(name: &str) -> bool {
    keys().any(|key| key.name.split_once('.').is_some_and(|(table, _)| table == name))
}

/// What is at a path of the file. The fields of a purpose are those of `generic_tokens`.
pub(super) fn place(path: &[&str]) -> Place {
    let name = match path {
        ["purposes"] | ["purposes", _] => return Place::Table,
        [table] if is_table(table) => return Place::Table,
        ["purposes", _, field] => &format!("generic_tokens.{field}"),
        [table, field] if is_table(table) => &format!("{table}.{field}"),
        [name] if !name.contains('.') => *name,
        _ => return Place::Unknown,
    };
    keys().find(|key| key.name == name).map_or(Place::Unknown, Place::Key)
}

/// The names that may stand in a table.
pub(super) fn names_in(table: &[&str]) -> Vec<&'static str> {
    let mut names: Vec<_> = match table {
        [] => keys().map(|key| key.name.split('.').next().unwrap_or_default()).collect(),
        [table, ..] => {
            let table = if *table == "purposes" { "generic_tokens" } else { table };
            let fields = keys().filter_map(|key| key.name.split_once('.'));
            fields.filter(|(of, _)| *of == table).map(|(_, field)| field).collect()
        }
    };
    names.dedup();
    names
}

impl Key {
    /// How the command line spells it, without the `--`.
    pub(super) fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// How the environment spells it.
    pub(super) fn variable(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    /// What it means, its limits and its default.
    pub(super) fn help(&self) -> String {
        let default = self.default.map(|default| format!("default {default}"));
        let facts: Vec<_> = [self.kind.limits(), default].into_iter().flatten().collect();
        if facts.is_empty() { self.help.to_owned() } else { format!("{} ({})", self.help, facts.join(", ")) }
    }
}
