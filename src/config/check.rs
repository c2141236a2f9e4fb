//! Goes through what the sources say, key by key, and finds everything that is wrong with it.

use figment::Figment;
use figment::value::{Dict, Tag, Value};

use super::error::Problem;
use super::keys::{Place, names_in, place};
use super::kind::Kind;
use super::policy;
use super::text::nearest;

/// The values in the forms that serde wants for the fields; what is wrong goes to `problems` and is left out.
pub(super) fn check(values: &Dict, layers: &Figment, problems: &mut Vec<Problem>) -> Dict {
    Check { layers, problems }.table(&[], values)
}

struct Check<'a> {
    /// Knows the sources.
    layers: &'a Figment,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn table(&mut self, table: &[&str], values: &Dict) -> Dict {
        let mut good = Dict::new();
        for (name, value) in values {
            let path = [table, &[name]].concat();
            let checked = match place(&path) {
                Place::Key(key) => key.kind.read(value),
                Place::Table => self.inner(&path, value),
                Place::Unknown => Err(unknown(table, name)),
            };
            match checked {
                Ok(value) => _ = good.insert(name.clone(), value),
                Err(message) => self.wrong(&path, message, value.tag()),
            }
        }
        if !table.is_empty() && table != ["purposes"] {
            for (name, message) in policy::contradictions(&good) {
                self.wrong(&[table, &[name]].concat(), message, values[name].tag());
            }
        }
        good
    }

    fn inner(&mut self, path: &[&str], value: &Value) -> Result<Value, String> {
        let Value::Dict(tag, values) = value else {
            let wanted = match path {
                ["purposes"] => Kind::Purposes.wanted(),
                _ => "a table with keys such as lifetime = \"15m\"".to_owned(),
            };
            return Err(format!("{} is not {wanted}", Kind::Purposes.shown(value)));
        };
        if let ["purposes", purpose] = path
            && !policy::is_purpose(purpose)
        {
            let message = "the name of a purpose has 1 to 64 characters, none of them a control character";
            self.wrong(path, message.to_owned(), *tag);
        }
        Ok(self.table(path, values).into())
    }

    fn wrong(&mut self, path: &[&str], message: String, tag: Tag) {
        let source = self.layers.get_metadata(tag).map(|metadata| metadata.name.to_string());
        self.problems.push(Problem::new(path.join("."), message, source));
    }
}

fn unknown(table: &[&str], name: &str) -> String {
    let known = names_in(table);
    match nearest(name, known.iter().copied()) {
        Some(known) => format!("no such key; did you mean {known}?"),
        None => format!("no such key; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::keys;
    use std::time::Duration;

    use super::super::testing::{load, problems};

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
            ("traces_endpoint", "collector:4317"),
            ("traces_endpoint", "https://collector:4317"),
            ("traces_percent", "101"),
            ("purposes", "login"),
            ("purposes", "{login=5}"),
            ("purposes", "{login={lifetime=1h,max_lifetime=1m}}"),
            ("generic_tokens.lifetime", "8d"),
            ("generic_tokens.max_attempts", "11"),
        ] {
            let key = keys().find(|known| known.name == key).unwrap();
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
        assert_eq!(
            load("session_lifetime = '10y'", &[], &[]).unwrap().session_lifetime,
            Duration::from_hours(87_660)
        );
    }

    #[test]
    fn an_unsupported_connection_parameter_is_named() {
        let found = problems("", &[("DATABASE_URL", "postgres://db/x?sslcert=/me.pem")], &[]);
        assert!(found[0].contains("sslcert is not supported"), "{found:?}");
        let found = problems("", &[("DATABASE_URL", "postgres://db/x?sslmode=require")], &[]);
        assert!(found[0].contains("use sslmode=verify-full"), "{found:?}");
    }

    #[test]
    fn names_of_purposes_are_checked() {
        for name in [String::new(), "x".repeat(65), "a\\tb".to_owned()] {
            let found = problems(&format!("[purposes.\"{name}\"]\nlifetime = '1m'"), &[], &[]);
            assert!(found[0].contains("1 to 64 characters"), "{found:?}");
        }
        load(&format!("[purposes.'{}']", "ü".repeat(64)), &[], &[]).unwrap();
    }

    #[test]
    fn the_idle_timeout_is_cut_to_the_lifetime() {
        let config = load("session_lifetime = '1h'", &[], &[]).unwrap();
        assert_eq!(config.idle_timeout, Duration::from_hours(1));
    }
}
