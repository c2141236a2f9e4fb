//! What keys take: how a value is read from a source, what it must keep, and how it is written.

use std::net::SocketAddr;
use std::time::Duration;

use figment::value::Value;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;

use super::database_url;
use super::text::{duration_text, nearest, parse_duration};

const SERVER_KEY_MIN_CHARS: usize = 32;
const SERVER_KEYS_MAX: usize = 2;

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Address,
    /// Limits included, as in [`Kind::Count`].
    Duration {
        min: Duration,
        max: Duration,
    },
    Count {
        min: u32,
        max: u32,
    },
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    LogFilter,
    Path,
    /// Any, but not an empty one.
    Text,
    FileOrHttpsUrl,
    /// Of a server that is reached without TLS.
    HttpUrl,
    DatabaseUrl,
    ServerKeys,
    /// A table of tables, whose keys are checked one by one.
    Purposes,
}

impl Kind {
    /// What is wanted, as the end of "… is not".
    pub(super) fn wanted(self) -> String {
        match self {
            Self::Address => "an IP address with a port, such as 127.0.0.1:50051".to_owned(),
            Self::Duration { .. } => "a duration such as 500ms, 30s, 24h or 14d".to_owned(),
            Self::Count { .. } => "a whole number".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Choice(words) => match words.split_last() {
                Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
                None => String::new(),
            },
            Self::LogFilter => "a filter such as info or info,token_registry=debug".to_owned(),
            Self::Path => "the path of a file".to_owned(),
            Self::Text => "a text of 1 to 1024 characters".to_owned(),
            Self::FileOrHttpsUrl => {
                "the path of a file or an address such as https://issuer.example.org/jwks.json".to_owned()
            }
            Self::HttpUrl => "an address such as http://127.0.0.1:4317".to_owned(),
            Self::DatabaseUrl => format!("a text such as {}", database_url::EXAMPLE),
            Self::ServerKeys => "a list of at most two texts".to_owned(),
            Self::Purposes => "a table of purposes, such as {password_reset={lifetime=15m}}".to_owned(),
        }
    }

    /// What stands for a value in `--help`.
    pub(super) fn placeholder(self) -> String {
        match self {
            Self::Address => "ADDRESS:PORT".to_owned(),
            Self::Duration { .. } => "DURATION".to_owned(),
            Self::Count { .. } => "COUNT".to_owned(),
            Self::Switch => "true|false".to_owned(),
            Self::Choice(words) => words.join("|"),
            Self::LogFilter => "FILTER".to_owned(),
            Self::Path => "FILE".to_owned(),
            Self::Text => "TEXT".to_owned(),
            Self::FileOrHttpsUrl => "FILE|URL".to_owned(),
            Self::DatabaseUrl | Self::HttpUrl => "URL".to_owned(),
            Self::ServerKeys => "KEY[,KEY]".to_owned(),
            Self::Purposes => "TABLE".to_owned(),
        }
    }

    /// A value for a printed file where the key isn't set.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::DatabaseUrl => database_url::EXAMPLE,
            Self::Address => "127.0.0.1:9464",
            Self::Path => "/path/of/a/file",
            Self::HttpUrl => "http://127.0.0.1:4317",
            Self::FileOrHttpsUrl => "https://issuer.example.org/jwks.json",
            Self::Text => "registry.example.org",
            _ => "",
        }
    }

    /// Whether `--flag` alone means true.
    pub(super) fn is_switch(self) -> bool {
        matches!(self, Self::Switch)
    }

    pub(super) fn limits(self) -> Option<String> {
        match self {
            Self::Duration { min, max } => Some(format!("{} to {}", duration_text(min), duration_text(max))),
            Self::Count { min, max } => Some(format!("{min} to {max}")),
            _ => None,
        }
    }

    /// The value that the text of a flag or variable stands for.
    pub(super) fn parse(self, text: &str) -> Value {
        match self {
            Self::ServerKeys => text.split(',').map(str::trim).collect::<Vec<_>>().into(),
            // Never fails: what isn't a table is a text then.
            Self::Purposes => text.parse().unwrap_or_else(|_| text.into()),
            _ => text.into(),
        }
    }

    /// Checks a value and brings it into the form that serde wants for the field.
    pub(super) fn read(self, value: &Value) -> Result<Value, String> {
        let wrong = || format!("{} is not {}", self.shown(value), self.wanted());
        let within = |fits: bool, value: String| {
            if fits {
                Ok(())
            } else {
                Err(format!("{value} is not from {}", self.limits().unwrap_or_default()))
            }
        };
        let text = value.as_str().map(str::trim);
        match self {
            Self::Duration { min, max } => {
                let seconds = || value.deserialize().ok().map(Duration::from_secs);
                let duration = text.map_or_else(seconds, parse_duration).ok_or_else(wrong)?;
                within((min..=max).contains(&duration), duration_text(duration))?;
                Value::serialize(duration).map_err(|_| wrong())
            }
            Self::Count { min, max } => {
                let number: Option<u64> =
                    text.map_or_else(|| value.deserialize().ok(), |text| text.parse().ok());
                let number = number.ok_or_else(wrong)?;
                within((min.into()..=max.into()).contains(&number), number.to_string())?;
                Ok(number.into())
            }
            Self::Switch => {
                let switch: Option<bool> =
                    text.map_or_else(|| value.deserialize().ok(), |text| text.parse().ok());
                switch.map(Value::from).ok_or_else(wrong)
            }
            Self::Address => {
                let address = text.and_then(|text| text.parse::<SocketAddr>().ok()).ok_or_else(wrong)?;
                Ok(address.to_string().into())
            }
            Self::Choice(words) => {
                text.filter(|text| words.contains(text)).map(Value::from).ok_or_else(wrong)
            }
            Self::LogFilter => {
                let filter = text.ok_or_else(wrong)?;
                check_log_filter(filter).map(|()| filter.into())
            }
            Self::Path => text.filter(|text| !text.is_empty()).map(Value::from).ok_or_else(wrong),
            Self::Text => {
                let fits = |text: &&str| (1..=1024).contains(&text.chars().count());
                text.filter(fits).map(Value::from).ok_or_else(wrong)
            }
            Self::FileOrHttpsUrl => {
                let is_one = |text: &&str| match text.split_once("://") {
                    None => !text.is_empty(),
                    // Without a password: addresses are shown.
                    Some(("https", _)) => text.parse::<http::Uri>().is_ok_and(|url| {
                        url.host().is_some_and(|host| !host.is_empty())
                            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                    }),
                    Some(_) => false,
                };
                text.filter(is_one).map(Value::from).ok_or_else(wrong)
            }
            Self::HttpUrl => {
                let is_one = |text: &&str| {
                    text.parse::<http::Uri>()
                        .is_ok_and(|url| url.scheme_str() == Some("http") && url.host().is_some())
                };
                text.filter(is_one).map(Value::from).ok_or_else(wrong)
            }
            Self::DatabaseUrl => {
                let url = text.ok_or_else(wrong)?;
                database_url::parse(&SecretString::from(url)).map(|_| url.into())
            }
            Self::ServerKeys => {
                let keys: Vec<String> = value.deserialize().map_err(|_| wrong())?;
                check_server_keys(&keys).map(|()| keys.into())
            }
            Self::Purposes => Err(wrong()),
        }
    }

    /// The value of a field as a printed file has it; none when it isn't set.
    pub(super) fn write(self, value: &Value) -> Option<toml::Value> {
        match self {
            Self::Duration { .. } => value.deserialize().ok().map(|value| duration_text(value).into()),
            _ => toml::Value::try_from(value).ok(),
        }
    }

    /// A value of a wrong type, for a message.
    pub(super) fn shown(self, value: &Value) -> String {
        match (self, value) {
            (Self::DatabaseUrl | Self::ServerKeys, _) => "the value (hidden)".to_owned(),
            // Somebody may have put a password there.
            (Self::FileOrHttpsUrl, Value::String(_, text)) if text.contains('@') => {
                "the value (hidden)".to_owned()
            }
            (_, Value::Dict(..)) => "a table".to_owned(),
            (_, Value::Array(..)) => "a list".to_owned(),
            _ => serde_json::to_string(value).unwrap_or_default(),
        }
    }
}

fn check_server_keys(keys: &[String]) -> Result<(), String> {
    let mut wrong = Vec::new();
    if keys.len() > SERVER_KEYS_MAX {
        wrong.push(format!("{} keys, but two are the most: current, previous", keys.len()));
    }
    for (number, key) in (1..).zip(keys) {
        let chars = key.chars().count();
        if chars < SERVER_KEY_MIN_CHARS {
            wrong.push(format!("key {number} has {chars} characters, fewer than {SERVER_KEY_MIN_CHARS}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{} (make one with: openssl rand -base64 32)", wrong.join("; ")))
}

fn check_log_filter(filter: &str) -> Result<(), String> {
    let example = Kind::LogFilter.wanted();
    if filter.is_empty() {
        return Err(format!("empty; {example} is wanted, or off"));
    }
    // `inof` alone is a valid filter: it logs nothing but a module of this name. Nobody means that.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in filter.split(',').map(str::trim) {
        let name = directive.to_lowercase();
        if !directive.contains(['=', '[']) && !levels.contains(&name.as_str()) && name.parse::<u8>().is_err()
        {
            let meant = nearest(&name, levels).unwrap_or("one of off, error, warn, info, debug, trace");
            return Err(format!(
                "{directive:?} is no level; did you mean {meant}? (a module takes =, as in h2=debug)"
            ));
        }
    }
    EnvFilter::try_new(filter).map(drop).map_err(|error| format!("{filter:?} is not {example}: {error}"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::testing::{KEY, load, problems};

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
        assert_eq!(found.len(), 1, "{found:?}");
        for part in ["3 keys, but two", "key 1 has 5 characters, fewer than 32", "key 2 has 0", "key 3 has 6"]
        {
            assert!(found[0].contains(part), "{found:?}");
        }
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
            ("", vec![("TOKEN_REGISTRY_JWT_KEYS", "https://ada:hunter2@issuer.example.org/")], vec![]),
        ] {
            let found = problems(file, &environment, &flags);
            assert!(!found.concat().contains("hunter2"), "{found:?}");
        }
    }
}
