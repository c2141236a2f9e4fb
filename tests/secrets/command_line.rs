//! What the program prints of its configuration, right and wrong: never a secret of it.

use super::Canaries;
use crate::support::process::run;

#[test]
fn help_print_check_and_mistakes_show_no_secret() {
    let mut canaries = Canaries::default();
    let password = canaries.add("the database's password", "canary-password-of-the-database");
    let key = canaries.add("a server key", "canary-server-key-canary-server-key-canary");
    let url = format!("postgres://ada:{password}@127.0.0.1:1/registry");
    let good = [("DATABASE_URL", url.as_str()), ("TOKEN_REGISTRY_SERVER_KEYS", key.as_str())];
    // Each wrong in a way that makes the value itself the mistake.
    let broken = [
        ("DATABASE_URL", format!("postgres://ada:{password}@127.0.0.1:no-port/registry")),
        ("DATABASE_URL", format!("{password} is no URL")),
        (
            "DATABASE_URL",
            format!("postgres://ada:{password}@127.0.0.1/registry?sslmode={password}&{password}=1"),
        ),
        ("TOKEN_REGISTRY_SERVER_KEYS", format!("{key},{key},{key}")),
        ("TOKEN_REGISTRY_SERVER_KEYS", format!("[\"{key}\"")),
        ("TOKEN_REGISTRY_LISTEN", "nowhere".to_owned()),
    ];
    let mut environments = vec![good.to_vec()];
    for (name, value) in &broken {
        environments.push(
            good.iter().copied().filter(|(key, _)| key != name).chain([(*name, value.as_str())]).collect(),
        );
    }
    for environment in &environments {
        for arguments in [
            &["--help"][..],
            &["serve", "--help"],
            &["config", "print"],
            &["config", "check"],
            &["config", "--no-such-flag"],
            &["migrate"],
        ] {
            let ended = run(arguments, environment);
            canaries.assert_none_in(&format!("{arguments:?}"), &(ended.out + &ended.err));
        }
    }
    // On the command line, where they should not be, and are.
    for arguments in [
        vec!["config", "print", "--database-url", &url, "--server-keys", &key],
        vec!["config", "check", "--database-url", &broken[1].1, "--server-keys", &broken[3].1],
    ] {
        let ended = run(&arguments, &[]);
        canaries.assert_none_in("a command with secrets in its flags", &(ended.out + &ended.err));
    }
}
