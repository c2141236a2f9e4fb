//! How values are kept: never so that who reads the database could use one.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use token_registry::proto::{ClientInfo, IssueGenericTokenRequest};

use crate::support::Registry;
use crate::support::one_time::{consume, digits, issue, of_user, own, secret, with_id};

/// Every column of every row of the database, as text; bytes as hexadecimal digits.
async fn everything(registry: &Registry) -> String {
    let sql = registry.sql().await;
    let tables =
        sql.query("select tablename::text from pg_tables where schemaname = 'public'", &[]).await.unwrap();
    assert!(tables.len() >= 5, "the schema is where it was expected");
    let mut text = String::new();
    for table in tables {
        let table: String = table.get(0);
        for row in sql.query(&format!("select t::text from \"{table}\" t"), &[]).await.unwrap() {
            let row: String = row.get(0);
            writeln!(text, "{table}: {row}").unwrap();
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[tokio::test]
async fn no_value_is_in_the_database_in_plain() {
    let registry = Registry::start().await;
    let again = |id: &str, request| IssueGenericTokenRequest { request_id: Some(id.into()), ..request };
    let mut values = Vec::new();
    for request in [
        secret("ada", "reset"),
        again("request", secret("ada", "confirm")),
        // Ten digits: fewer might well be part of a number in the database.
        digits("ada", "mfa", 10),
        again("request", digits("ada", "step-up", 10)),
        own("ada", "invite", "Zq7-short-own"),
        own("ada", "invitation", "Zq7-a-value-of-22-or-more-characters"),
    ] {
        let purpose = request.purpose.clone();
        let (_, value) = issue(&registry, request).await.unwrap();
        values.push((purpose, value));
    }
    // Used and wrongly guessed ones leave no trace either.
    let (purpose, code) = &values[2];
    consume(&registry, of_user("ada", purpose, "0-a-wrong-guess-0")).await.unwrap_err();
    consume(&registry, with_id("claim", of_user("ada", purpose, code))).await.unwrap();
    let (purpose, value) = &values[0];
    consume(&registry, of_user("ada", purpose, value)).await.unwrap();

    let kept = everything(&registry).await;
    assert!(kept.contains("generic_tokens: ") && kept.contains("invitation"), "the dump has what it should");
    values.push((String::new(), "0-a-wrong-guess-0".to_owned()));
    for (_, value) in &values {
        assert!(!kept.contains(value.as_str()), "{value} is in the database");
        assert!(!kept.contains(&hex(value.as_bytes())), "{value} is in the database as bytes");
    }
}

#[tokio::test]
async fn a_user_agent_is_not_kept() {
    let registry = Registry::start().await;
    let user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0 Zq7marker";
    let client = ClientInfo { user_agent: Some(user_agent.into()), ..ClientInfo::default() };
    let request = IssueGenericTokenRequest { client: Some(client), ..secret("ada", "reset") };
    let (token, _) = issue(&registry, request).await.unwrap();
    let client = token.base.unwrap().client.unwrap();
    assert_eq!((client.browser.as_deref(), client.user_agent), (Some("Firefox"), None));
    assert!(!everything(&registry).await.contains("Zq7marker"));
}

/// 256 random bits can't be searched, so their SHA-256 will do. What can be searched is kept under a key, and bound to
/// its user and purpose, so that equal codes don't show.
#[tokio::test]
async fn random_secrets_are_kept_as_sha_256_and_all_else_under_a_key() {
    let registry = Registry::start().await;
    let (_, random) = issue(&registry, secret("ada", "a")).await.unwrap();
    let long = "a value of 22 or more characters";
    for request in [
        own("ada", "b", "123456"),
        own("bob", "c", "123456"),
        own("bob", "d", "123456"),
        own("ada", "e", long),
    ] {
        issue(&registry, request).await.unwrap();
    }
    let rows =
        registry.sql().await.query("select digest from generic_tokens order by purpose", &[]).await.unwrap();
    let digests: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(digests[0], Sha256::digest(&random).to_vec());
    for (digest, value) in digests[1..].iter().zip(["123456", "123456", "123456", long]) {
        assert_eq!(digest.len(), 32);
        assert_ne!(*digest, Sha256::digest(value).to_vec());
    }
    assert!(digests[1] != digests[2] && digests[2] != digests[3], "equal codes have unequal digests");
}
