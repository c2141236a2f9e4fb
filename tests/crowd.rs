//! More comes than can be answered: who asks much is refused, and who asks little is answered beside them.

use std::time::Duration;

use futures_util::future::join_all;
use token_registry::proto::{CheckSessionRequest, CreateUserRequest, TokenState};
use tonic::{Request, Status};

use crate::callers::digest;
use crate::support::{Registry, reason, until_waiting_for_locks};

/// As many requests as fill a line, the places before it, and more.
const CONNECTIONS: usize = 50;
const REQUESTS: usize = 100;

fn file_of_callers() -> tempfile::NamedTempFile {
    let caller = |name: &str| format!("[{name}]\nroles = ['issuer']\nkeys_sha256 = ['{}']\n", digest(name));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), caller("much") + &caller("little")).unwrap();
    file
}

/// A request with the key of a caller, which is its name.
fn called_by<T>(caller: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {caller}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// Asks about a session, as this caller.
async fn check(registry: &Registry, caller: &str) -> Result<TokenState, Status> {
    let request = CheckSessionRequest { user_id: "ada".into(), session: "laptop".into() };
    let answer = registry.whitelist.clone().check_session(called_by(caller, request)).await?;
    Ok(answer.into_inner().state())
}

#[tokio::test]
async fn the_flood_of_one_caller_leaves_room_for_another() {
    let callers = file_of_callers();
    let registry = Registry::start_with(|config| {
        config.callers = Some(callers.path().into());
        config.lock_timeout = Duration::from_mins(5);
        config.statement_timeout = Duration::from_mins(5);
        config.default_deadline = Duration::from_mins(2);
    })
    .await;
    let holder = registry.sql().await;
    holder.batch_execute("begin; lock table sessions in access exclusive mode").await.unwrap();
    let (refused, mut refusals) = tokio::sync::mpsc::unbounded_channel();
    let flood: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (client, refused) = (registry.another_client(), refused.clone());
            tokio::spawn(async move {
                let checks = (0..REQUESTS).map(async |_| {
                    let answer = check(&client, "much").await;
                    if answer.is_err() {
                        let _ = refused.send(());
                    }
                    answer
                });
                join_all(checks).await
            })
        })
        .collect();
    refusals.recv().await.unwrap();

    let client = registry.another_client();
    let (mut users, few) =
        (client.users.clone(), tokio::spawn(async move { check(&client, "little").await }));
    tokio::task::yield_now().await;
    // What comes after it on the same connection is answered: so the check has come, too, and waits in line.
    let create = called_by("little", CreateUserRequest { user_id: "bert".into() });
    users.create_user(create).await.unwrap();
    until_waiting_for_locks(&registry.sql().await, 4).await;
    holder.batch_execute("rollback").await.unwrap();
    assert_eq!(few.await.unwrap().unwrap(), TokenState::Unknown);
    let (mut answered, mut turned_away) = (0, 0);
    for answer in join_all(flood).await.into_iter().flat_map(Result::unwrap) {
        match answer {
            Ok(TokenState::Unknown) => answered += 1,
            Ok(other) => panic!("{other:?}"),
            Err(status) => {
                assert_eq!(reason(&status), "OVERLOADED");
                turned_away += 1;
            }
        }
    }
    assert!(answered >= 4096 && turned_away >= 1, "{answered} answered, {turned_away} turned away");
}
