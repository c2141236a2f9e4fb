//! The database's address: what it says, what is wrong with one, and how one is shown.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

pub(super) const EXAMPLE: &str = "postgres://user:password@localhost:5432/token_registry";
/// What stands for a secret in printed configurations.
pub(super) const HIDDEN: &str = "(hidden)";

/// Parameters of connection strings that libpq knows and the driver doesn't; only these may be named in a message,
/// since anything else might be a piece of a password.
const FOREIGN_DATABASE_PARAMETERS: &[&str] =
    &["sslcert", "sslkey", "sslcrl", "gssencmode", "krbsrvname", "passfile", "service", "schema"];

/// What a connection string says.
#[derive(Debug)]
pub(crate) struct DatabaseUrl {
    /// What the driver understands.
    pub(crate) settings: tokio_postgres::Config,
    /// Whose certificates are believed, if the link is to be encrypted.
    pub(crate) encryption: Option<Roots>,
}

/// Authorities whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system believes.
    System,
    /// Those in this PEM file.
    File(String),
}

/// Reads a connection string; what is wrong with it is said without a piece of it.
pub(crate) fn parse(url: &SecretString) -> Result<DatabaseUrl, String> {
    // The driver knows neither of these two.
    let mut text = url.expose_secret().to_owned();
    let (mode, roots) = (take(&mut text, "sslmode"), take(&mut text, "sslrootcert"));
    let mut settings: tokio_postgres::Config = text.parse().map_err(|_| {
        let foreign = FOREIGN_DATABASE_PARAMETERS
            .iter()
            .find(|name| ["?", "&", " "].iter().any(|before| text.contains(&format!("{before}{name}="))));
        match foreign {
            Some(name) => format!("the connection parameter {name} is not supported"),
            None => format!(
                "not a PostgreSQL connection string such as {EXAMPLE} (its value is hidden; special \
                 characters in a password are written as %40 and the like)"
            ),
        }
    })?;
    if settings.get_hosts().is_empty() && settings.get_hostaddrs().is_empty() {
        return Err(format!("names no host; {EXAMPLE} does"));
    }
    if settings.get_password() == Some(HIDDEN.as_bytes()) {
        return Err(format!("the password is the placeholder {HIDDEN}; put the real one there"));
    }
    let encryption = match mode.as_deref() {
        Some("verify-full") => {
            if !settings.get_hosts().iter().all(|host| matches!(host, Host::Tcp(_)))
                || settings.get_hosts().is_empty()
            {
                return Err("sslmode=verify-full needs the name of every host".to_owned());
            }
            settings.ssl_mode(SslMode::Require);
            Some(roots.filter(|path| path != "system").map_or(Roots::System, Roots::File))
        }
        Some("require" | "verify-ca") => {
            return Err("sslmode=require and verify-ca would encrypt without knowing to whom: use \
                        sslmode=verify-full, with sslrootcert=FILE if the server's certificate comes from an \
                        authority of your own"
                .to_owned());
        }
        _ if roots.is_some() => return Err("sslrootcert needs sslmode=verify-full".to_owned()),
        Some("disable") => {
            settings.ssl_mode(SslMode::Disable);
            None
        }
        None | Some("allow" | "prefer") => None,
        Some(_) => return Err("sslmode is disable, prefer (not encrypted either) or verify-full".to_owned()),
    };
    Ok(DatabaseUrl { settings, encryption })
}

/// Takes a parameter out of a connection string of either form.
fn take(text: &mut String, name: &str) -> Option<String> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let key = format!("{name}=");
    let before = |start: usize| text[..start].chars().next_back();
    let (start, _) = text.match_indices(&key).find(|(start, _)| {
        before(*start).is_none_or(|c| if is_url { c == '?' || c == '&' } else { c.is_whitespace() })
    })?;
    let value = &text[start + key.len()..];
    let (length, value) = if is_url {
        let length = value.find('&').map_or(value.len(), |end| end + 1);
        let raw = value[..length].trim_end_matches('&');
        (length, percent_decode_str(raw).decode_utf8_lossy().into_owned())
    } else if let Some(quoted) = value.strip_prefix('\'') {
        let length = quoted.find('\'').map_or(value.len(), |end| end + 2);
        (length, value[..length].trim_matches('\'').to_owned())
    } else {
        let length = value.find(char::is_whitespace).unwrap_or(value.len());
        (length, value[..length].to_owned())
    };
    text.replace_range(start..start + key.len() + length, "");
    text.truncate(text.trim_end_matches(['&', '?']).len());
    Some(value)
}

/// The address with `(hidden)` for the password. Made from what the driver understood rather than by cutting the text: a password may look like anything.
#[must_use]
pub fn hiding_password(url: &SecretString) -> String {
    let Ok(DatabaseUrl { settings: config, encryption }) = parse(url) else {
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
    let ssl_mode = match encryption {
        Some(Roots::System) => "sslmode=verify-full".to_owned(),
        Some(Roots::File(path)) => format!("sslmode=verify-full&sslrootcert={}", percent_encoded(&path)),
        None if config.get_ssl_mode() == SslMode::Disable => "sslmode=disable".to_owned(),
        None => String::new(),
    };
    let target = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => "target_session_attrs=read-write",
        TargetSessionAttrs::ReadOnly => "target_session_attrs=read-only",
        _ => "",
    }
    .to_owned();
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

    #[test]
    fn encryption_is_read_in_either_form() {
        for (url, expected) in [
            ("postgres://db/x", None),
            ("postgres://db/x?sslmode=prefer", None),
            ("postgres://db/x?sslmode=verify-full", Some(Roots::System)),
            ("postgres://db/x?sslrootcert=system&sslmode=verify-full", Some(Roots::System)),
            (
                "postgres://db/x?sslrootcert=%2Fa%20b.pem&sslmode=verify-full&connect_timeout=5",
                Some(Roots::File("/a b.pem".to_owned())),
            ),
            (
                "host=db sslmode=verify-full sslrootcert='/a b.pem' connect_timeout=5",
                Some(Roots::File("/a b.pem".to_owned())),
            ),
            ("sslmode=verify-full host=db", Some(Roots::System)),
        ] {
            let read = parse(&url.into()).unwrap();
            assert_eq!(read.encryption, expected, "{url}");
            assert_eq!(read.settings.get_hosts(), [Host::Tcp("db".to_owned())], "{url}");
            assert_eq!(
                read.settings.get_connect_timeout().is_some(),
                url.contains("connect_timeout"),
                "{url}"
            );
            let again = parse(&hiding_password(&url.into()).into()).unwrap();
            assert_eq!(again.encryption, expected, "{url}");
        }
    }

    #[test]
    fn encryption_that_would_not_protect_is_refused() {
        for (url, expected) in [
            ("postgres://db/x?sslmode=require", "without knowing to whom"),
            ("postgres://db/x?sslmode=verify-ca", "without knowing to whom"),
            ("postgres://db/x?sslmode=full", "sslmode is"),
            ("postgres://db/x?sslrootcert=/ca.pem", "needs sslmode=verify-full"),
            ("host=/run/postgresql sslmode=verify-full", "name of every host"),
        ] {
            let error = parse(&url.into()).unwrap_err();
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
