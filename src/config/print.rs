//! `config print`: the configuration as a file that can be kept and read again.

use std::fmt::Write as _;

use figment::value::{Dict, Value};
use secrecy::SecretString;
use serde::{Serialize as _, Serializer};

use super::Config;
use super::database_url::{self, HIDDEN};
use super::keys::{Place, SECTIONS, place};
use super::kind::Kind;

impl Config {
    /// The whole configuration as a TOML file that can be kept and read again. Secrets are comments in which
    /// `(hidden)` stands for the value.
    #[must_use]
    pub fn to_toml_hiding_secrets(&self) -> String {
        let fields = Value::serialize(self).ok().and_then(Value::into_dict).unwrap_or_default();
        let mut values = written(&[], &fields);
        let purposes = values.remove("purposes");
        // In TOML tables come after all else.
        let (mut top, mut tables) = (String::new(), String::new());
        for section in SECTIONS {
            let (mut above, mut below, mut table) = (String::new(), String::new(), "");
            for key in section.keys.iter().filter(|key| key.name != "purposes") {
                let inner = key.name.split_once('.');
                let inner =
                    inner.and_then(|(table, name)| Some((table, name, values.get(table)?.as_table()?)));
                let (text, name, values) = match inner {
                    Some((of, name, inner)) => {
                        table = of;
                        (&mut below, name, inner)
                    }
                    None => (&mut above, key.name, &values),
                };
                write_comment(text, &key.help());
                write_key(text, name, key.kind, values.get(name));
            }
            if !above.is_empty() {
                let _ = write!(top, "\n# --- {} ---\n{above}", section.heading);
            }
            if !below.is_empty() {
                let what = if table == "generic_tokens" {
                    ": what holds where a purpose has no policy of its own"
                } else {
                    ""
                };
                let _ = write!(tables, "\n# --- {}{what} ---\n[{table}]\n{below}", section.heading);
            }
        }
        let purposes = match purposes {
            Some(toml::Value::Table(purposes)) if !purposes.is_empty() => {
                toml::Table::from_iter([("purposes".to_owned(), purposes.into())]).to_string()
            }
            _ => "# [purposes.password_reset]\n# lifetime = \"15m\"\n".to_owned(),
        };
        format!(
            "# token-registry: the configuration in effect. Secrets are left out.\n{top}{tables}\n\
             # --- One-time tokens: policies by purpose; what is left out is as in [generic_tokens] ---\n{purposes}"
        )
    }
}

/// The fields as a file has them.
fn written(table: &[&str], fields: &Dict) -> toml::Table {
    let value = |name: &String, value: &Value| match (place(&[table, &[name]].concat()), value) {
        (Place::Key(key), value) => key.kind.write(value),
        (_, Value::Dict(_, inner)) => Some(written(&[table, &[name]].concat(), inner).into()),
        _ => None,
    };
    fields.iter().filter_map(|(name, field)| Some((name.clone(), value(name, field)?))).collect()
}

/// What isn't set or can't be shown is a comment.
fn write_key(text: &mut String, name: &str, kind: Kind, value: Option<&toml::Value>) {
    let _ = match value.map(ToString::to_string) {
        Some(value) if value.contains(HIDDEN) => writeln!(text, "# {name} = {value}"),
        Some(value) => writeln!(text, "{name} = {value}"),
        None => writeln!(text, "# {name} = {:?}", kind.example()),
    };
}

/// A comment of lines that fit into 100 columns.
fn write_comment(text: &mut String, comment: &str) {
    let mut line = String::from("#");
    for word in comment.split_whitespace() {
        if line.len() + word.len() >= 100 {
            let _ = writeln!(text, "{line}");
            line.truncate(1);
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}

/// Serialises the field `database_url`.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(super) fn hidden_url<S: Serializer>(url: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(database_url::hiding_password).serialize(to)
}

/// Serialises the field `server_keys`.
pub(super) fn hidden_keys<S: Serializer>(keys: &[SecretString], to: S) -> Result<S::Ok, S::Error> {
    vec![HIDDEN; keys.len()].serialize(to)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::keys::keys;
    use super::super::testing::{KEY, Line, load, problems};
    use super::*;

    #[test]
    fn nothing_set_gives_the_defaults() {
        let config = load("", &[], &[]).unwrap();
        assert_eq!(config.to_toml_hiding_secrets(), Config::default().to_toml_hiding_secrets());
    }

    #[test]
    fn every_key_can_be_set_in_every_source() {
        let values = [
            ("listen", "[::1]:1"),
            ("metrics_listen", "127.0.0.1:2"),
            ("worker_threads", "3"),
            ("default_deadline", "1s"),
            ("max_connections", "2"),
            ("peer_timeout", "1s"),
            ("shutdown_timeout", "0s"),
            ("tls_certificate", "/tmp/tls.crt"),
            ("tls_key", "/tmp/tls.key"),
            ("tls_client_ca", "/tmp/ca.crt"),
            ("tls_client_crl", "/tmp/ca.crl"),
            ("plaintext", "everywhere"),
            ("callers", "/tmp/callers.toml"),
            ("jwt.keys", "https://issuer.example.org/jwks.json"),
            ("jwt.issuer", "https://issuer.example.org"),
            ("jwt.audience", "registry"),
            ("jwt.claim", "azp"),
            ("jwt.leeway", "1s"),
            ("jwt.refresh", "1m"),
            ("jwt.max_age", "1h"),
            ("database_url", "postgres://ada:(hidden1)@db:1/x"),
            ("database_pool_size", "2"),
            ("database_pool_wait", "1s"),
            ("database_connect_timeout", "1s"),
            ("gathering", "false"),
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
            ("auth_tokens.model", "prefixed"),
            ("purge.interval", "2h"),
            ("purge.retention", "1d"),
            ("purge.batch_size", "7"),
            ("log_format", "json"),
            ("log_filter", "debug"),
            ("audit_log", "/tmp/audit.jsonl"),
            ("traces_endpoint", "http://localhost:1"),
            ("traces_percent", "7"),
        ];
        assert_eq!(values.map(|(name, _)| name).to_vec(), keys().map(|key| key.name).collect::<Vec<_>>());

        let all = || keys().zip(values);
        let environment: Vec<_> = all().map(|(key, (_, value))| (key.variable(), value)).collect();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let printed = load("", &environment, &[]).unwrap().to_toml_hiding_secrets();
        let flags: Vec<_> =
            all().flat_map(|(key, (_, value))| [format!("--{}", key.flag()), value.to_owned()]).collect();
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
        let config = load(&file, &[], &[]).unwrap();
        for line in Config::default().to_toml_hiding_secrets().lines().filter(|line| line.contains(" = ")) {
            assert!(!printed.lines().any(|other| other == line), "{line}");
        }
        assert_eq!(config.policy("login").max_attempts, 3);
    }

    #[test]
    fn secrets_are_neither_printed_nor_in_debug() {
        let environment = [
            (
                "DATABASE_URL",
                "postgres://ada:hunter%402@db1:5433,db2:5433/x?sslmode=disable&target_session_attrs=read-write",
            ),
            ("TOKEN_REGISTRY_SERVER_KEYS", KEY),
        ];
        let config = load("", &environment, &[]).unwrap();
        let printed = config.to_toml_hiding_secrets();
        for text in [printed.clone(), format!("{config:?}")] {
            assert!(!text.contains("hunter") && !text.contains(KEY), "{text}");
        }
        let url =
            "postgres://ada:(hidden)@db1:5433,db2:5433/x?sslmode=disable&target_session_attrs=read-write";
        assert!(printed.contains(&format!("# database_url = \"{url}\"")), "{printed}");
        assert!(printed.contains("# server_keys = [\"(hidden)\"]"), "{printed}");
        // What was printed can be read, and the placeholder isn't taken for a password.
        load(&printed, &[], &[]).unwrap();
        let found = problems("", &[("DATABASE_URL", url)], &[]);
        assert!(found[0].contains("placeholder"), "{found:?}");
        let flags = Line::parse_from(["", "--server-keys", KEY, "--database-url", "hunter2"]).flags;
        assert!(!format!("{flags:?}").contains("hunter2") && !format!("{flags:?}").contains(KEY));
    }
}
