//! The commands that an operator gives to a running registry: the real binary against a real server.

use serde_json::{Value, json};
use token_registry::config::AuthTokenModel;
use token_registry::proto::{
    AddRefreshTokenRequest, ClientInfo, RevocationReason, RevokeSessionRequest, TokenState,
};

use crate::support::postgres::{Cluster, FAST};
use crate::support::process::{Ended, Process, run, run_on_terminal};
use crate::support::sessions::opening;
use crate::support::{Registry, one_time, people, until};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
    (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";

/// What an operator types, the program's name and the address apart.
fn say(registry: &Registry, line: &str) -> Ended {
    let arguments: Vec<_> = line.split(' ').collect();
    run(&arguments, &[("TOKEN_REGISTRY_ADDRESS", &registry.address.to_string())])
}

/// As [`say`], of a command that succeeds: its standard output.
#[track_caller]
fn told(registry: &Registry, line: &str) -> String {
    let ended = say(registry, line);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{line}: {}", ended.out);
    ended.out
}

/// As [`told`], as JSON.
#[track_caller]
fn json(registry: &Registry, line: &str) -> Value {
    serde_json::from_str(&told(registry, &format!("{line} --output json"))).expect("JSON")
}

/// Asserts that a command failed with this exit code, and said these words on standard error alone.
#[track_caller]
fn assert_failed(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{}", ended.err);
    for word in words {
        assert!(ended.err.contains(word), "{word:?} is not in: {}", ended.err);
    }
}

/// A line's words, where two spaces or more lie between them.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

fn names(list: &Value) -> Vec<&str> {
    let sessions = list["sessions"].as_array().expect("a list");
    sessions.iter().map(|session| session["session"].as_str().expect("a name")).collect()
}

async fn log_in_with_phone(registry: &Registry, user_id: &str, session: &str) {
    let client =
        ClientInfo { ip: Some("192.0.2.7".into()), user_agent: Some(IPHONE.into()), ..ClientInfo::default() };
    let request = AddRefreshTokenRequest { client: Some(client), ..opening(user_id, session, "one") };
    registry.add_as(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shown_with_what_is_live() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    one_time::issue(&registry, one_time::secret("ada", "password_reset")).await.unwrap();
    let text = told(&registry, "user show ada");
    let lines: Vec<_> = text.lines().map(cells).collect();
    for line in [["user", "ada"], ["active", "yes"], ["live sessions", "1"], ["live one-time tokens", "1"]] {
        assert!(lines.contains(&line.to_vec()), "{line:?} is not in: {text}");
    }
    assert!(!text.contains('\u{1b}'), "colours are for terminals: {text:?}");
    let shown = json(&registry, "user show ada");
    let user = &shown["user"];
    assert_eq!(
        (&user["user_id"], &user["active"], &shown["live"]),
        (&json!("ada"), &json!(true), &json!({"sessions": 1, "generic_tokens": 1, "auth_tokens": 0}))
    );
    assert_eq!(user["credential_version"], people::version(&registry, "ada").await);
    let created = user["created"].as_str().unwrap();
    assert!(created.ends_with('Z') && created.parse::<humantime::Timestamp>().is_ok(), "{created}");
    assert_failed(&say(&registry, "user show nobody"), 1, &["there is no such user"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_sessions_are_listed_as_devices() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    log_in_with_phone(&registry, "ada", "phone").await;
    registry.rotate("ada", "phone", "one", "two").await.unwrap();
    let reason = RevocationReason::Logout.into();
    let log_out = RevokeSessionRequest { user_id: "ada".into(), session: "laptop".into(), reason };
    registry.whitelist.clone().revoke_session(log_out).await.unwrap();

    let text = told(&registry, "session list ada");
    let lines: Vec<_> = text.lines().map(cells).collect();
    assert_eq!(
        lines[0],
        ["SESSION", "STATE", "DEVICE", "BROWSER", "ADDRESS", "OPENED", "LAST ROTATED", "EXPIRES"]
    );
    assert_eq!(
        lines[1][..5],
        ["phone", "active", "Apple iPhone, iOS 17.5", "Mobile Safari 17.5", "192.0.2.7"],
        "{text}"
    );
    assert_eq!(lines[2][..2], ["laptop", "revoked (logout)"], "{text}");
    assert_eq!(lines.len(), 3, "{text}");

    let list = json(&registry, "session list ada");
    assert_eq!((names(&list), &list["more"]), (vec!["phone", "laptop"], &json!(false)));
    assert_eq!(names(&json(&registry, "session list ada --state revoked")), ["laptop"]);
    let first = json(&registry, "session list ada --limit 1");
    assert_eq!((names(&first), &first["more"]), (vec!["phone"], &json!(true)));
    assert!(told(&registry, "session list ada --limit 1").contains("--limit"));
    assert_eq!(told(&registry, "session list nobody"), "no sessions\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_shown_by_the_names_of_the_api() {
    let registry = Registry::start().await;
    log_in_with_phone(&registry, "ada", "phone").await;
    let mut shown = json(&registry, "session show ada phone");
    for (field, is_time) in [
        ("created", true),
        ("session_created", true),
        ("session_expires", true),
        ("idle_expires", true),
        ("id", false),
    ] {
        let value = shown[field].take();
        let fits = value.as_str().is_some_and(|text| text.parse::<humantime::Timestamp>().is_ok());
        assert!(if is_time { fits } else { value.is_i64() }, "{field}: {value}");
    }
    assert_eq!(
        shown,
        json!({
            "id": null, "user_id": "ada", "session": "phone", "jti": "one", "state": "active", "enabled": true,
            "created": null, "session_created": null, "session_expires": null, "idle_expires": null,
            "rotations": 0, "grace_count": 0, "revoked": null, "revocation_reason": null,
            "client": {
                "ip": "192.0.2.7", "is_mobile": true, "is_tablet": false, "is_pc": false, "is_bot": false,
                "browser": "Mobile Safari", "browser_version": "17.5", "os": "iOS", "os_version": "17.5",
                "device": "iPhone", "device_brand": "Apple", "device_model": "iPhone",
            },
        })
    );
    let text = told(&registry, "session show ada phone");
    assert!(text.lines().map(cells).any(|line| line == ["device", "Apple iPhone, iOS 17.5"]), "{text}");
    assert_failed(&say(&registry, "session show ada no-such"), 1, &["no such session"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sessions_than_a_page_holds_are_listed_too() {
    let registry = Registry::start().await;
    registry.add("ada", "model", "one").await.unwrap();
    let columns = "user_id, jti, enabled, created, session_created, session_expires, idle_expires, idle_timeout, \
                   rotation_grace";
    let copies = format!(
        "insert into sessions (session, {columns}) select 'copy ' || n, {columns} \
         from sessions, generate_series(1, 1100) n"
    );
    registry.sql().await.execute(&copies, &[]).await.unwrap();
    for (limit, listed) in [(499, 499), (500, 500), (501, 501), (1000, 1000), (2000, 1101)] {
        let list = json(&registry, &format!("session list ada --limit {limit}"));
        let mut names = names(&list);
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), list["more"].as_bool()), (listed, Some(listed < 1101)), "--limit {limit}");
    }
    assert_failed(&say(&registry, "session list ada --limit 0"), 64, &["--limit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_revoked_one_or_all_with_a_reason() {
    let registry = Registry::start().await;
    for session in ["a", "b", "c", "d"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    assert_eq!(told(&registry, "session revoke ada a --yes"), "revoked: 1\n");
    assert_eq!(told(&registry, "session revoke ada a --yes"), "there was nothing to revoke\n");
    let one = json(&registry, "session revoke ada b --reason logout -y");
    assert_eq!(one, json!({"revoked_count": 1}));
    let rest = json(&registry, "session revoke ada --all --except d --reason credential-change --yes");
    assert_eq!(rest, json!({"revoked_count": 1}));
    for (session, reason) in [
        ("a", RevocationReason::Administrative),
        ("b", RevocationReason::Logout),
        ("c", RevocationReason::CredentialChange),
        ("d", RevocationReason::Unspecified),
    ] {
        assert_eq!(registry.get("ada", session).await.unwrap().revocation_reason(), reason, "{session}");
    }
    assert_eq!(told(&registry, "session revoke ada --all --yes"), "revoked: 1\n");
    // Neither a session nor --all, or both: nobody guesses what was meant.
    for line in [
        "session revoke ada --yes",
        "session revoke ada a --all --yes",
        "session revoke ada a --except d --yes",
    ] {
        assert_failed(&say(&registry, line), 64, &["Usage"]);
    }
    assert_failed(&say(&registry, "session revoke ada a --yes --reason replay"), 64, &["administrative"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_time_tokens_are_listed_and_revoked() {
    let registry = Registry::start().await;
    let (token, value) = one_time::issue(&registry, one_time::digits("ada", "mfa", 6)).await.unwrap();
    one_time::issue(&registry, one_time::secret("ada", "password_reset")).await.unwrap();
    one_time::issue(&registry, one_time::secret("ada", "confirm_email")).await.unwrap();
    let list = json(&registry, "generic list ada --purpose mfa");
    let listed = &list["generic_tokens"][0];
    assert_eq!(
        (
            &listed["purpose"],
            &listed["state"],
            &listed["challenge"],
            &listed["max_attempts"],
            &listed["consumed"]
        ),
        (&json!("mfa"), &json!("active"), &json!(token.challenge), &json!(5), &Value::Null)
    );
    let text = told(&registry, "generic list ada");
    assert!(text.contains("0 of 5") && !text.contains(&value), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert_eq!(json(&registry, "generic revoke ada --purpose mfa --yes"), json!({"revoked_count": 1}));
    assert!(told(&registry, "generic list ada --purpose mfa").contains("revoked"));
    assert_eq!(told(&registry, "generic revoke ada --all --yes"), "revoked: 2\n");
    assert_failed(&say(&registry, "generic revoke ada --yes"), 64, &["--purpose", "--all"]);
    assert_eq!(told(&registry, "generic list nobody"), "no one-time tokens\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_listed_and_removed() {
    let registry = Registry::start_with(|config| config.auth_tokens.model = AuthTokenModel::Prefixed).await;
    let made = json(&registry, "key create ada --name backup --lifetime 90d");
    let key = made["key"].as_str().unwrap();
    let prefix = made["auth_token"]["prefix"].as_str().unwrap();
    assert!(key.starts_with(prefix) && made["auth_token"]["name"] == "backup", "{made}");
    let text = told(&registry, "key create ada");
    assert!(text.starts_with("key      trk_") && text.contains("expires  never"), "{text}");

    let list = json(&registry, "key list ada");
    assert_eq!((list["auth_tokens"].as_array().unwrap().len(), &list["more"]), (2, &json!(false)));
    assert_eq!(list["auth_tokens"][1], made["auth_token"]);
    assert_eq!(list["auth_tokens"][1]["last_used"], Value::Null);
    let text = told(&registry, "key list ada");
    let lines: Vec<_> = text.lines().map(cells).collect();
    assert_eq!(lines[0], ["PREFIX", "NAME", "STATE", "CREATED", "EXPIRES", "LAST USED"]);
    assert_eq!(lines[2][..3], [prefix, "backup", "active"], "{text}");
    assert!(!text.contains(key), "{text}");
    assert_eq!(json(&registry, "key list ada --limit 1")["more"], true);

    // Replacing one and removing one are asked for.
    let before = registry.contents().await;
    assert_failed(&say(&registry, "key create ada --name backup --replace"), 64, &["ada", "--yes"]);
    assert_failed(&say(&registry, &format!("key revoke ada {prefix}")), 64, &[prefix, "--yes"]);
    assert_eq!(registry.contents().await, before);
    json(&registry, "key create ada --name backup --replace --yes");
    assert!(
        told(&registry, "key list ada")
            .lines()
            .any(|line| line.starts_with(prefix) && line.contains("revoked"))
    );
    assert_eq!(told(&registry, &format!("key revoke ada {prefix} --yes")), "removed: 1\n");
    assert_eq!(told(&registry, &format!("key revoke ada {prefix} --yes")), "there was no such key\n");
    assert_failed(&say(&registry, "key create ada --lifetime 0s"), 64, &["lifetime"]);
    assert_eq!(told(&registry, "key list nobody"), "no keys\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_one_key_of_a_user_no_prefix_is_needed() {
    let registry = Registry::start().await;
    told(&registry, "key create ada");
    assert_failed(&say(&registry, "key create ada"), 1, &["key"]);
    assert_eq!(json(&registry, "key revoke ada --yes"), json!({"deleted_count": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_revoked_suspended_reinstated_and_deleted() {
    let registry = Registry::start().await;
    for session in ["a", "b"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    for purpose in ["mfa", "password_reset"] {
        one_time::issue(&registry, one_time::secret("ada", purpose)).await.unwrap();
    }
    let before = people::version(&registry, "ada").await;
    let revoked = json(&registry, "user revoke ada --except-session b --keep-purpose mfa --keep-keys --yes");
    assert_eq!(revoked["revoked"], json!({"sessions": 1, "generic_tokens": 1, "auth_tokens": 0}));
    assert_ne!(people::version(&registry, "ada").await, before);
    assert_eq!(registry.check_session("ada", "b").await, TokenState::Active);

    let suspended = json(&registry, "user deactivate ada --yes");
    assert_eq!((&suspended["user"]["active"], &suspended["revoked"]["sessions"]), (&json!(false), &json!(1)));
    assert!(told(&registry, "user show ada").contains("no: suspended"));
    assert!(told(&registry, "user activate ada").starts_with("ada is active; revoked sessions: 0"));

    let deleted = json(&registry, "user delete ada --yes");
    let counts = json!({"sessions": 2, "generic_tokens": 2, "auth_tokens": 0});
    assert_eq!(deleted, json!({"user_id": "ada", "deleted": counts}));
    // A misspelt name is told, not answered with zeros.
    assert_failed(&say(&registry, "user delete ada --yes"), 1, &["there is no such user"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_be_asked_nothing_is_destroyed() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    one_time::issue(&registry, one_time::secret("ada", "mfa")).await.unwrap();
    let before = registry.contents().await;
    for line in [
        "user revoke ada",
        "user deactivate ada",
        "user delete ada",
        "session revoke ada laptop",
        "session revoke ada --all",
        "generic revoke ada --all",
    ] {
        assert_failed(&say(&registry, line), 64, &["ada", "?", "--yes"]);
    }
    assert_eq!(registry.contents().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_question_comes_first_and_only_yes_is_yes() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let address = registry.address.to_string();
    let answer = |typed: &str| {
        run_on_terminal(
            &["session", "revoke", "ada", "laptop"],
            &[("TOKEN_REGISTRY_ADDRESS", &address)],
            typed,
        )
    };
    // \u{4} is Ctrl-D.
    for typed in ["n\n", "\n", "yellow\n", "\u{4}"] {
        let (code, shown) = answer(typed);
        assert_eq!(code, Some(1), "{typed:?}: {shown}");
        assert!(shown.contains("Revoke the session laptop of ada? [y/N]"), "{shown}");
        assert!(shown.contains("nothing was done"), "{shown}");
    }
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
    let (code, shown) = answer("y\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("revoked: 1"), "{shown}");
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_and_lines_are_for_terminals() {
    let registry = Registry::start().await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let address = registry.address.to_string();
    let list = ["session", "list", "ada"];
    let shown = |environment: &[(&str, &str)], arguments: &[&str]| {
        let environment = [environment, &[("TOKEN_REGISTRY_ADDRESS", address.as_str())]].concat();
        let (code, shown) = run_on_terminal(arguments, &environment, "");
        assert_eq!(code, Some(0), "{shown}");
        shown
    };
    let coloured = shown(&[], &list);
    assert!(coloured.contains("\u{1b}[") && coloured.contains('│'), "{coloured}");
    let plain = shown(&[("NO_COLOR", "1")], &list);
    assert!(!plain.contains("\u{1b}[") && plain.contains('│'), "{plain}");
    let json = shown(&[], &["session", "list", "ada", "--output", "json"]);
    assert!(serde_json::from_str::<Value>(&json).is_ok(), "{json:?}");
    let piped = told(&registry, "session list ada");
    assert!(!piped.contains('\u{1b}') && !piped.contains('│'), "{piped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_answer_is_no_wrong_command() {
    // Nobody listens.
    let nobody = run(&["user", "show", "ada", "--address", "127.0.0.1:1"], &[]);
    assert_failed(&nobody, 69, &["127.0.0.1:1", "refused"]);
    // A registry without its database.
    let server = Process::serve("postgres://nobody@127.0.0.1:1/nothing", &[]);
    let address = server.address().await.to_string();
    let without = run(&["user", "show", "ada", "--address", &address], &[]);
    assert_failed(&without, 69, &["database can't be reached"]);
    // Somebody who takes the call and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let silence = run(&["user", "show", "ada", "--address", &address, "--timeout", "100ms"], &[]);
    assert_eq!(silence.code, Some(69), "{}", silence.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_it_serves_is_said_by_the_exit_code() {
    let cluster = Cluster::start(FAST);
    let database = cluster.create_database();
    let registry = Registry::on(&database.url, |_| {}).await;
    // What is told is what the database answered last, a second ago, or not yet at all.
    until(async || {
        let asked = say(&registry, "health");
        (asked.code, asked.out.as_str(), asked.err.as_str()) == (Some(0), "serving\n", "")
    })
    .await;
    cluster.stop_immediate();
    until(async || say(&registry, "health").err.contains("not serving")).await;
    assert_failed(&say(&registry, "health"), 69, &["not serving"]);
    // A restart mends no database.
    assert_eq!(told(&registry, "health --live"), "serving\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_is_told() {
    let registry = Registry::start().await;
    let long = format!("session show {} laptop", "x".repeat(256));
    assert_failed(&say(&registry, &long), 64, &["user_id"]);
    let empty = run(&["user", "show", "", "--address", &registry.address.to_string()], &[]);
    assert_failed(&empty, 64, &["user_id"]);
    for (address, word) in [("ftp://127.0.0.1:1", "https://"), ("not an address", "not an address")] {
        assert_failed(&run(&["user", "show", "ada", "--address", address], &[]), 64, &[word]);
    }
    assert_failed(&say(&registry, "user show ada --timeout soon"), 64, &["--timeout"]);
    assert_failed(&say(&registry, "user show ada --output yaml"), 64, &["table", "json"]);
}

#[test]
fn the_address_of_a_registry_is_no_unknown_setting() {
    let ended = run(&["config", "check"], &[("TOKEN_REGISTRY_ADDRESS", "registry:50051")]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[test]
fn a_user_agent_is_printed_as_it_is_read() {
    let ended = run(&["user-agent", IPHONE], &[]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let lines: Vec<_> = ended.out.lines().map(cells).collect();
    assert!(
        lines.contains(&vec!["kind", "mobile"]) && lines.contains(&vec!["device model", "iPhone"]),
        "{}",
        ended.out
    );
    let ended = run(&["user-agent", "", "--output", "json"], &[]);
    let parsed: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        parsed,
        json!({
            "is_mobile": false, "is_tablet": false, "is_pc": false, "is_bot": false,
            "browser": "Other", "browser_version": "", "os": "Other", "os_version": "",
            "device": "Other", "device_brand": null, "device_model": null,
        })
    );
    assert_eq!(run(&["user-agent", &"x".repeat(10_240)], &[]).code, Some(0));
}

#[test]
fn a_shell_completes_commands_and_flags() {
    let script = run(&["completions", "bash"], &[]).out;
    let complete = |words: &str| {
        let program = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE='{words}'
            [[ $(complete -p token-registry) == *' -F _token_registry '* ]] || exit 1
            _token_registry token-registry \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
            echo \"${{COMPREPLY[@]}}\""
        );
        // In a file: it is longer than an argument may be.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), program).unwrap();
        let ran = std::process::Command::new("bash").arg(file.path()).output().expect("bash");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("token-registry sess"), "session");
    assert_eq!(complete("token-registry session rev"), "revoke");
    assert_eq!(complete("token-registry session revoke --rea"), "--reason");
    assert_eq!(
        complete("token-registry session revoke --reason \"\""),
        "administrative logout credential-change user-deactivated"
    );
    for shell in ["zsh", "fish"] {
        let ended = run(&["completions", shell], &[]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        assert!(ended.out.contains("deactivate"), "{shell}");
    }
}
