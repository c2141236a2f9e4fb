//! The zero-install database: the core of every service on its one connection, and `token-registry dev` as a newcomer
//! starts it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use token_registry::embedded::{EmbeddedDatabase, Storage};
use token_registry::proto::{
    ClientInfo, ConsumeGenericTokenRequest, IssueGenericTokenRequest, RevokeCredentialsRequest,
    RotateRefreshTokenRequest, RotationOutcome, SetUserActiveRequest, TokenState,
};
use tonic::Code::{FailedPrecondition, NotFound};

use crate::support::{Registry, assert_refused};

async fn registry_on(database: &EmbeddedDatabase) -> Registry {
    Registry::on(database.url(), |config| config.database_pool_size = 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_core_of_every_service_holds_on_the_embedded_database() {
    let database = EmbeddedDatabase::start(Storage::Temporary).await.expect("it starts");
    let registry = registry_on(&database).await;

    registry.add("ada", "laptop", "one").await.unwrap();
    let client = ClientInfo { ip: Some("::ffff:10.0.0.1".into()), ..Default::default() };
    let rotated = registry
        .rotate_as(RotateRefreshTokenRequest {
            user_id: "ada".into(),
            session: "laptop".into(),
            jti: "one".into(),
            new_jti: Some("two".into()),
            client: Some(client),
        })
        .await
        .unwrap();
    assert_eq!(rotated.outcome(), RotationOutcome::Rotated);
    assert_eq!(rotated.token.unwrap().base.unwrap().client.unwrap().ip.as_deref(), Some("10.0.0.1"));
    let retried = registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(retried.outcome(), RotationOutcome::Retried);
    let replayed = registry.rotate("ada", "laptop", "zero", "three").await;
    assert_refused(replayed, FailedPrecondition, "TOKEN_REPLAYED");
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Revoked);

    let issue =
        IssueGenericTokenRequest { user_id: "ada".into(), purpose: "reset".into(), ..Default::default() };
    let value = registry.generic.clone().issue_generic_token(issue).await.unwrap().into_inner().value;
    let consume =
        || ConsumeGenericTokenRequest { purpose: "reset".into(), value: value.clone(), ..Default::default() };
    registry.generic.clone().consume_generic_token(consume()).await.unwrap();
    let again = registry.generic.clone().consume_generic_token(consume()).await;
    assert_refused(again, FailedPrecondition, "TOKEN_CONSUMED");

    registry.add("ada", "phone", "a").await.unwrap();
    let change = RevokeCredentialsRequest {
        user_id: "ada".into(),
        keep_auth_tokens: Some(true),
        ..Default::default()
    };
    let changed = registry.users.clone().revoke_credentials(change).await.unwrap().into_inner();
    assert_eq!(changed.revoked.unwrap().sessions, 1);
    let suspend = SetUserActiveRequest { user_id: "ada".into(), active: Some(false) };
    registry.users.clone().set_user_active(suspend).await.unwrap();
    assert_eq!(registry.check_session("ada", "phone").await, TokenState::UserInactive);
    assert_refused(registry.get("ada", "tablet").await, NotFound, "SESSION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_rotations_at_once_take_turns_on_its_one_connection() {
    let database = EmbeddedDatabase::start(Storage::Temporary).await.expect("it starts");
    let registry = registry_on(&database).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let rotations = (0..16).map(|i| {
        let new_jti = format!("two-{i}");
        let registry = registry.another_client();
        tokio::spawn(async move { registry.rotate("ada", "laptop", "one", &new_jti).await.unwrap() })
    });
    let mut live = std::collections::HashSet::new();
    let mut rotated = 0;
    for rotation in rotations.collect::<Vec<_>>() {
        let answer = rotation.await.unwrap();
        rotated += usize::from(answer.outcome() == RotationOutcome::Rotated);
        live.insert(answer.token.unwrap().jti);
    }
    assert_eq!((rotated, live.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_directory_keeps_is_there_at_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = || Storage::Directory(directory.path().join("data"));
    let database = EmbeddedDatabase::start(storage()).await.expect("it starts");
    let mut registry = registry_on(&database).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    registry.stop();
    registry.ended().await;
    database.stop().await;

    let database = EmbeddedDatabase::start(storage()).await.expect("it starts again");
    let registry = registry_on(&database).await;
    assert_eq!(registry.check_token("ada", "laptop", "one").await, TokenState::Active);
}

/// Ends the program when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_prints_an_address_that_answers_and_calls_to_paste() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_token-registry"))
        .args(["dev", "--listen", "127.0.0.1:0"])
        .env_remove("DATABASE_URL")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let stdout = child.stdout.take().expect("its output");
    let _running = Running(child);
    let lines = tokio::task::spawn_blocking(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("text");
            let is_last = line.contains("Ctrl-C");
            lines.push(line);
            if is_last {
                break;
            }
        }
        lines
    })
    .await
    .expect("it prints");
    let address =
        lines.iter().find_map(|line| line.trim().strip_prefix("address")).expect("an address").trim();
    let call = format!("{address} tokenregistry.v1.WhitelistService/AddRefreshToken");
    assert!(lines.iter().any(|line| line.starts_with("grpcurl ") && line.ends_with(&call)), "{lines:#?}");

    let registry = Registry::reached_at(address.parse().expect("an address"), "");
    registry.add("ada", "laptop", "one").await.unwrap();
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}
