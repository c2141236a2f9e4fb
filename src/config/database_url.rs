//! The database's address: what is wrong with one, and how one is shown.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

pub(super) const EXAMPLE: &str = "postgres://user:password@localhost:5432/token_registry";
/// What stands for a secret in printed configurations.
pub(super) const HIDDEN: &str = "(hidden)";

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

/// Whether a text is a connection string that the registry can use.
///
/// # Errors
/// What is wrong with it, without a piece of it.
pub fn check(url: &SecretString) -> Result<(), String> {
    let url = url.expose_secret();
    let config: tokio_postgres::Config = url.parse().map_err(|_| {
        let foreign = FOREIGN_DATABASE_PARAMETERS
            .iter()
            .find(|name| ["?", "&", " "].iter().any(|before| url.contains(&format!("{before}{name}="))));
        match foreign {
            Some(name) => format!("the connection parameter {name} is not supported"),
            None => format!(
                "not a PostgreSQL connection string such as {EXAMPLE} (its value is hidden; special \
                 characters in a password are written as %40 and the like)"
            ),
        }
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(format!("names no host; {EXAMPLE} does"));
    }
    if config.get_ssl_mode() == SslMode::Require {
        return Err(
            "sslmode=require is not supported: the registry does not encrypt its link to the database yet \
             (let a local proxy or a mesh do it)"
                .to_owned(),
        );
    }
    if config.get_password() == Some(HIDDEN.as_bytes()) {
        return Err(format!("the password is the placeholder {HIDDEN}; put the real one there"));
    }
    Ok(())
}

/// The address with `(hidden)` for the password. Made from what the driver understood rather than by cutting the text: a password may look like anything.
#[must_use]
pub fn hiding_password(url: &SecretString) -> String {
    let Ok(config) = url.expose_secret().parse::<tokio_postgres::Config>() else {
        return HIDDEN.to_owned();
    };
    let mut text = String::from("postgres://");
    if let Some(user) = config.get_user() {
        let _ = write!(text, "{}", percent_encoded(user));
        if config.get_password().is_some() {
            let _ = write!(text, ":{HIDDEN}");
        }
        text.push('@');
    }
    let names = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => percent_encoded(&path.to_string_lossy()).to_string(),
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

fn percent_encoded(text: &str) -> PercentEncode<'_> {
    const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, &RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(hiding_password(&given.into()), shown);
            let again: tokio_postgres::Config = shown.parse().unwrap();
            assert_eq!(again.get_hosts(), given.parse::<tokio_postgres::Config>().unwrap().get_hosts());
        }
    }
}
