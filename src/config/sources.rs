//! Where values come from: the defaults, the file, the environment, the flags. Later ones win.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::error::Problem;
use super::flags::Flags;
use super::keys::{ENV_PREFIX, Key, keys};
use super::text::nearest;

/// Variables of the test harness; never settings.
const ENV_TEST_PREFIX: &str = "TOKEN_REGISTRY_TEST_";
const ENV_CONFIG: &str = "TOKEN_REGISTRY_CONFIG";
/// Of the commands that call a registry; no setting of one.
const ENV_OF_CALLS: [&str; 6] = [
    "TOKEN_REGISTRY_ADDRESS",
    "TOKEN_REGISTRY_TOKEN",
    "TOKEN_REGISTRY_TOKEN_FILE",
    "TOKEN_REGISTRY_CA",
    "TOKEN_REGISTRY_CLIENT_CERTIFICATE",
    "TOKEN_REGISTRY_CLIENT_KEY",
];
const ENV_DATABASE_URL: &str = "DATABASE_URL";

/// One source's values, under the name that messages give it.
struct Layer {
    source: String,
    values: Dict,
}

impl Layer {
    fn one(source: String, key: &Key, text: &str) -> Self {
        let value = figment::util::nest(key.name, key.kind.parse(text));
        Self { source, values: value.into_dict().unwrap_or_default() }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The defaults alone.
pub(super) fn defaults() -> Figment {
    let defaults = keys().filter_map(|key| Some((key, key.default?)));
    defaults
        .fold(Figment::new(), |layers, (key, text)| layers.merge(Layer::one("default".to_owned(), key, text)))
}

/// All sources, one over the other.
pub(super) fn layers(flags: &Flags, environment: &Environment, problems: &mut Vec<Problem>) -> Figment {
    let mut layers = defaults();
    let by_flag = flags.config.as_ref().map(|path| (path, "flag --config".to_owned()));
    let by_variable = || Some((environment.config.as_ref()?, format!("environment variable {ENV_CONFIG}")));
    if let Some((path, named_by)) = by_flag.or_else(by_variable) {
        match read_file(path) {
            Ok(values) => {
                layers = layers.merge(Layer { source: format!("file {}", path.display()), values });
            }
            Err(message) => {
                problems.push(Problem::new(path.display().to_string(), message, Some(named_by)));
            }
        }
    }
    for (key, variable, text) in &environment.values {
        layers = layers.merge(Layer::one(format!("environment variable {variable}"), key, text));
    }
    for (key, text) in flags.given() {
        layers = layers.merge(Layer::one(format!("flag --{}", key.flag()), key, text.trim()));
    }
    layers
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

/// What the environment sets.
#[derive(Default)]
pub(super) struct Environment {
    /// Key, variable, text; of two variables for one key the winner is last.
    values: Vec<(&'static Key, String, String)>,
    /// The configuration file.
    config: Option<PathBuf>,
    /// Values that can't be texts.
    pub(super) wrong: Vec<Problem>,
    /// Variables with our prefix that are no settings, of a newer release maybe.
    pub(super) unknown: Vec<Problem>,
}

impl Environment {
    pub(super) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        // Sorted, so that messages come in the same order every time; and DATABASE_URL comes before TOKEN_REGISTRY_….
        let variables: BTreeMap<String, OsString> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(ENV_PREFIX) || name == ENV_DATABASE_URL)
            .filter(|(name, _)| !name.starts_with(ENV_TEST_PREFIX) && !ENV_OF_CALLS.contains(&name.as_str()))
            .collect();
        let mut environment = Self::default();
        for (name, value) in variables {
            environment.add(name, value);
        }
        environment
    }

    fn add(&mut self, name: String, value: OsString) {
        if name == ENV_CONFIG {
            self.config = Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty());
            return;
        }
        let source = Some("environment variable".to_owned());
        let is_named =
            |key: &&Key| key.variable() == name || name == ENV_DATABASE_URL && key.name == "database_url";
        match (keys().find(is_named), value.to_str().map(str::trim)) {
            (_, Some("")) => {}
            (Some(key), Some(text)) => self.values.push((key, name, text.to_owned())),
            (Some(_), None) => self.wrong.push(Problem::new(name, "not valid UTF-8", source)),
            (None, text) if is_kubernetes_service_variable(&name, text.unwrap_or_default()) => {}
            (None, _) => {
                let message = no_such_setting(&name);
                self.unknown.push(Problem::new(name, message, source));
            }
        }
    }
}

fn no_such_setting(variable: &str) -> String {
    // Without the prefix, which makes all look alike.
    let name = |variable: &str| variable.strip_prefix(ENV_PREFIX).unwrap_or(variable).to_owned();
    let known: Vec<String> = keys().map(|key| name(&key.variable())).chain([name(ENV_CONFIG)]).collect();
    match nearest(&name(variable), known.iter().map(String::as_str)) {
        Some(known) => format!("no such setting; did you mean {ENV_PREFIX}{known}?"),
        None => "no such setting; `token-registry serve --help` lists them all".to_owned(),
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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::super::testing::{self, File, load, problems};
    use super::super::{Config, Flags, unknown_variables};
    use super::*;

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
        assert!(unknown_variables(testing::environment(&environment)).is_empty());
        assert_eq!(unknown_variables(testing::environment(&[("TOKEN_REGISTRY_PORT", "50051")])).len(), 1);
    }

    #[test]
    fn a_variable_of_a_newer_release_is_no_error_by_itself() {
        let variables =
            [("TOKEN_REGISTRY_ROTATION_GRASE", "hunter2"), ("TOKEN_REGISTRY_FROBNICATE", "hunter2")];
        load("", &variables, &[]).unwrap();
        let unknown = unknown_variables(testing::environment(&variables));
        assert_eq!(
            unknown.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "TOKEN_REGISTRY_FROBNICATE: no such setting; `token-registry serve --help` lists them all (environment variable)",
                "TOKEN_REGISTRY_ROTATION_GRASE: no such setting; did you mean TOKEN_REGISTRY_ROTATION_GRACE? (environment variable)",
            ]
        );
        // The value of a variable that is known must be right.
        assert_eq!(problems("", &[("TOKEN_REGISTRY_ROTATION_GRACE", "hunter2")], &[]).len(), 1);
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
    fn what_is_not_toml_is_said_with_its_place() {
        let found = problems("log_filter = 'info'\nlisten = \n", &[], &[]);
        assert!(found[0].starts_with("FILE: not TOML: "), "{found:?}");
        assert!(found[0].contains("at line 2, column 10"), "{found:?}");
        assert!(found[0].ends_with("(flag --config)"), "{found:?}");
    }
}
