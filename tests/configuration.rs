//! What the program says to its configuration before anything is served.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

/// The program with an environment of its own, in which nothing listens where the database should be.
fn program(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-registry"));
    command.args(arguments).env_clear().env("DATABASE_URL", "postgres://127.0.0.1:1/x");
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    program(arguments, variables).output().unwrap()
}

const NEWER: (&str, &str) = ("TOKEN_REGISTRY_ROTATION_GRASE", "hunter2");

#[test]
fn a_variable_that_is_not_known_is_warned_about_once_and_stops_no_server() {
    let mut serve = program(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"], &[NEWER])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(serve.stderr.take().unwrap()).lines().map_while(Result::ok) {
        lines.push(line);
        if lines.last().is_some_and(|line| line.contains("listening")) {
            break;
        }
    }
    serve.kill().unwrap();
    serve.wait().unwrap();
    let text = lines.join("\n");
    assert!(text.contains("listening"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let warnings: Vec<_> = lines.iter().filter(|line| line.contains(NEWER.0)).collect();
    assert_eq!(warnings.len(), 1, "{text}");
    assert!(warnings[0].contains("WARN"), "{text}");
    assert!(warnings[0].contains("did you mean TOKEN_REGISTRY_ROTATION_GRACE?"), "{text}");
}

#[test]
fn config_check_takes_a_variable_that_is_not_known_for_a_mistake() {
    let checked = run(&["config", "check"], &[NEWER]);
    let said = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(64), "{said}");
    assert!(said.contains("did you mean TOKEN_REGISTRY_ROTATION_GRACE?"), "{said}");
    assert_eq!(run(&["config", "check"], &[]).status.code(), Some(0));
}

#[test]
fn a_wrong_value_of_a_known_variable_stops_the_server() {
    let variables = [NEWER, ("TOKEN_REGISTRY_ROTATION_GRACE", "soon")];
    let served = run(&["serve"], &variables);
    let said = String::from_utf8(served.stderr).unwrap();
    assert_eq!(served.status.code(), Some(64), "{said}");
    assert!(said.contains("rotation_grace: \"soon\" is not a duration"), "{said}");
    // The misspelt one may well be what was meant, so it is told as well.
    assert!(said.contains("did you mean TOKEN_REGISTRY_ROTATION_GRACE?"), "{said}");
}
