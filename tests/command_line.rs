//! The command line: exit codes, what is said and where, and which source of a setting wins.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use crate::support::process::{Ended, Process, run};
use crate::support::{assert_try_again, fresh_database, postgres::Cluster};

const WRONG: Option<i32> = Some(64);

/// A directory of one test's own.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("token-registry-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn assert_wrong(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, WRONG, "{}{}", ended.out, ended.err);
    assert_eq!(ended.out, "");
    for word in words {
        assert!(ended.err.contains(word), "{word:?} is not in: {}", ended.err);
    }
}

#[test]
fn help_and_version_are_no_failure_and_go_to_standard_output() {
    for arguments in [&["--help"][..], &["-h"], &["serve", "--help"], &["config", "print", "--help"]] {
        let ended = run(arguments, &[]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        assert!(ended.out.contains("Usage"), "{}", ended.out);
    }
    let version = run(&["--version"], &[]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.out.trim(), format!("token-registry {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_ends_with_64() {
    assert_eq!(run(&[], &[]).code, WRONG);
    assert_eq!(run(&["no-such-command"], &[]).code, WRONG);
    assert_wrong(&run(&["serve", "--no-such-flag"], &[]), &["--no-such-flag"]);
}

#[test]
fn a_server_without_a_database_says_what_to_set() {
    for command in ["serve", "migrate"] {
        assert_wrong(&run(&[command], &[]), &["database_url", "DATABASE_URL=postgres://"]);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_where_it_came_from() {
    let directory = Directory::new("wrong");
    let file = directory.file("registry.toml", "rotation_grace = \"1h\"\nno_such_key = 1\n");
    let environment = [("TOKEN_REGISTRY_LISTEN", "nowhere"), ("TOKEN_REGISTRY_NO_SUCH_VARIABLE", "1")];
    let wrong = run(&["config", "check", "--config", &file, "--max-sessions-per-user", "0"], &environment);
    assert_wrong(
        &wrong,
        &[
            "rotation_grace",
            &file,
            "no_such_key",
            "listen",
            "TOKEN_REGISTRY_LISTEN",
            "TOKEN_REGISTRY_NO_SUCH_VARIABLE",
            "max_sessions_per_user",
            "--max-sessions-per-user",
        ],
    );
    // The same for the server itself: it doesn't start.
    assert_wrong(&run(&["serve", "--config", &file], &environment), &["rotation_grace", "listen"]);
    assert_wrong(&run(&["config", "check", "--config", "/no/such/file"], &[]), &["/no/such/file"]);
}

#[test]
fn a_wrong_secret_is_not_repeated() {
    let environment = [
        ("DATABASE_URL", "postgres://ada:canary-password@[bad/registry"),
        ("TOKEN_REGISTRY_SERVER_KEYS", "canary-key"),
    ];
    let wrong = run(&["config", "check"], &environment);
    assert_wrong(&wrong, &["database_url", "server_keys"]);
    assert!(!wrong.err.contains("canary"), "{}", wrong.err);
}

#[test]
fn a_good_configuration_is_called_good() {
    let ended = run(&["config", "check"], &[("DATABASE_URL", "postgres://ada@localhost/registry")]);
    assert_eq!(
        (ended.code, ended.out.as_str(), ended.err.as_str()),
        (Some(0), "configuration is good\n", "")
    );
    let without = run(&["config", "check"], &[]);
    assert_eq!(without.code, Some(0));
    assert!(without.err.contains("DATABASE_URL"), "{}", without.err);
}

#[test]
fn the_printed_configuration_hides_secrets_and_loads_again() {
    let directory = Directory::new("print");
    let key = "canary-key-canary-key-canary-key-canary";
    let environment = [
        ("DATABASE_URL", "postgres://ada:canary-password@db.example/registry"),
        ("TOKEN_REGISTRY_SERVER_KEYS", key),
        ("TOKEN_REGISTRY_PURPOSES", "{password_reset={lifetime=\"15m\"}}"),
        ("TOKEN_REGISTRY_ROTATION_GRACE", "7s"),
    ];
    let printed = run(&["config", "print"], &environment);
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    assert!(!printed.out.contains("canary"), "{}", printed.out);
    let file = directory.file("printed.toml", &printed.out);
    let again = run(&["config", "print", "--config", &file], &[]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
    for line in ["rotation_grace = \"7s\"", "[purposes.password_reset]", "lifetime = \"15m\""] {
        assert!(printed.out.contains(line) && again.out.contains(line), "{line} in {}", again.out);
    }
    // But for the secrets, which the file is without.
    let settings = |text: &str| {
        let is_setting = |line: &&str| !line.starts_with('#') && !line.is_empty();
        text.lines().filter(is_setting).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut expected = settings(&printed.out);
    expected.retain(|line| !line.starts_with("database_url") && !line.starts_with("server_keys"));
    let mut found = settings(&again.out);
    found.retain(|line| !line.starts_with("database_url") && !line.starts_with("server_keys"));
    assert_eq!(found, expected);
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let directory = Directory::new("precedence");
    let file = directory.file("registry.toml", "rotation_grace = \"1s\"\nretry_window = \"1h\"\n");
    let variable = ("TOKEN_REGISTRY_ROTATION_GRACE", "2s");
    let named = ("TOKEN_REGISTRY_CONFIG", file.as_str());
    let grace = |arguments: &[&str], environment: &[(&str, &str)]| {
        let ended = run(&[&["config", "print"], arguments].concat(), environment);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let line = |key: &str| ended.out.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        (line("rotation_grace"), line("retry_window"))
    };
    let expect = |grace: &str, window: &str| {
        (format!("rotation_grace = \"{grace}\""), format!("retry_window = \"{window}\""))
    };
    assert_eq!(grace(&[], &[]).0, "rotation_grace = \"30s\"");
    assert_eq!(grace(&["--config", &file], &[]), expect("1s", "1h"));
    assert_eq!(grace(&[], &[named]), expect("1s", "1h"));
    assert_eq!(grace(&[], &[named, variable]), expect("2s", "1h"));
    assert_eq!(grace(&["--rotation-grace", "3s"], &[named, variable]), expect("3s", "1h"));
}

#[tokio::test]
async fn migrate_says_what_it_did() {
    let database = Cluster::shared().create_database();
    let environment = [("DATABASE_URL", database.url.as_str())];
    let first = run(&["migrate"], &environment);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.out.starts_with("schema 0 -> "), "{}", first.out);
    let second = run(&["migrate"], &environment);
    assert_eq!(second.code, Some(0), "{}", second.err);
    assert!(second.out.starts_with("schema is up to date"), "{}", second.out);
    // A database that can't be reached is no mistake of the configuration.
    let unreachable = run(&["migrate"], &[("DATABASE_URL", "postgres://nobody:canary@127.0.0.1:1/nothing")]);
    assert_eq!((unreachable.code, unreachable.out.as_str()), (Some(1), ""));
    assert!(unreachable.err.contains("can't be reached") && !unreachable.err.contains("canary"));
}

#[tokio::test]
async fn sigterm_ends_the_server_cleanly() {
    let database = fresh_database().await;
    let mut server = Process::serve(&database.url, &[]);
    server.serving().await;
    server.terminate();
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("\"message\":\"stopped\""), "{said}");
}

#[tokio::test]
async fn sigterm_ends_a_server_that_still_waits_for_its_database() {
    let mut server = Process::serve("postgres://nobody@127.0.0.1:1/nothing", &[]);
    server.address().await;
    server.terminate();
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test]
async fn a_server_serves_before_its_database_does() {
    let server = Process::serve("postgres://nobody@127.0.0.1:1/nothing", &[]);
    let address = server.address().await;
    let question =
        token_registry::proto::CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() };
    let mut client = token_registry::proto::whitelist_service_client::WhitelistServiceClient::new(
        crate::support::channel(address),
    );
    assert_try_again(client.check_session(question).await, "DATABASE_UNAVAILABLE");
}

#[test]
fn a_port_in_use_is_called_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended =
        run(&["serve", "--listen", &address], &[("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    for word in [address.as_str(), "another program", "--listen"] {
        assert!(ended.err.contains(word), "{}", ended.err);
    }
}

#[tokio::test]
async fn a_server_ends_with_a_message_on_a_database_of_a_newer_release() {
    let database = fresh_database().await;
    let sql = crate::support::connect(&database.url).await;
    sql.batch_execute("insert into schema_migrations values (9999, '9999_later', 'x')").await.unwrap();
    let mut server = Process::serve(&database.url, &[]);
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("schema version 9999"), "{said}");
}
