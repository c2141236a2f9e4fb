//! API keys: one a user however many are made at once, and none that outlives what should have ended it.

use token_registry::proto::{CreateAuthTokenRequest, TokenState};

use super::{Arena, at_once, expected, rounds, tally, verdict};
use crate::support::keys::{authenticate, create, list, prefixed, state, wanted};
use crate::support::people::{change, revoke_credentials, set_active};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_keys_made_at_once_one_is_made_and_with_replace_one_stays() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        for replace in [false, true] {
            let user = format!("user-{round}-{replace}");
            let made = at_once((0..12).map(|n| {
                let client = arena.client(n);
                let request = CreateAuthTokenRequest { replace, ..wanted(&user) };
                async move { create(&client, request).await }
            }))
            .await;
            let answered = tally(made.iter().map(verdict));
            let all = if replace {
                expected([("OK", 12)])
            } else {
                expected([("OK", 1), ("AUTH_TOKEN_EXISTS", 11)])
            };
            assert_eq!(answered, all);
            let mut live = 0;
            for (_, key) in made.into_iter().flatten() {
                match state(&arena.client(round), &key).await {
                    TokenState::Active => live += 1,
                    other => assert_eq!(other, TokenState::Revoked),
                }
            }
            assert_eq!(live, 1, "{user}");
        }
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_one_request_get_one_key() {
    for model in [|_: &mut _| {}, prefixed] {
        let arena = Arena::open_with(model).await;
        for round in 0..rounds() {
            let request = CreateAuthTokenRequest {
                request_id: Some("once".into()),
                replace: true,
                ..wanted(&format!("user-{round}"))
            };
            let made = at_once((0..8).map(|n| {
                let (client, request) = (arena.client(n), request.clone());
                async move { create(&client, request).await.expect("a key").1 }
            }))
            .await;
            assert!(made.iter().all(|key| *key == made[0]));
            assert_eq!(list(&arena.client(0), &request.user_id, 0).await.len(), 1);
        }
        arena.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_made_beside_a_credential_change_is_ended_by_it_or_made_after_it() {
    let arena = Arena::open_with(prefixed).await;
    let client = arena.client(0);
    // The user's row is held: the creation waits for it, and the change behind the creation.
    create(&client, wanted("ada")).await.unwrap();
    let held = arena.hold("select from users where user_id = $1 for update", "ada").await;
    let creating = tokio::spawn({
        let client = arena.client(1);
        async move { create(&client, wanted("ada")).await }
    });
    held.waited_for_by(1).await;
    let changing = tokio::spawn({
        let client = arena.client(2);
        async move { revoke_credentials(&client, change("ada")).await.expect("a change").1.auth_tokens }
    });
    held.waited_for_by(2).await;
    held.release().await;
    let (_, key) = creating.await.unwrap().unwrap();
    let revoked = changing.await.unwrap();
    let now = state(&client, &key).await;
    // PostgreSQL doesn't promise who of the two gets the row first: but one did.
    assert!(
        matches!((revoked, now), (2, TokenState::Revoked) | (1, TokenState::Active)),
        "{revoked} were revoked, and the new key is {now:?}"
    );
    // Many at once, and once more when all are done: what was made before it is over.
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let made = at_once((0..16).map(|n| {
            let (client, user) = (arena.client(n), user.clone());
            async move {
                if n % 4 == 3 {
                    revoke_credentials(&client, change(&user)).await.expect("a change");
                    return None;
                }
                Some(create(&client, wanted(&user)).await.expect("a key").1)
            }
        }))
        .await;
        let (_, revoked) = revoke_credentials(&client, change(&user)).await.unwrap();
        let mut states = Vec::new();
        for key in made.iter().flatten() {
            states.push(state(&client, key).await);
        }
        assert_eq!(states, [TokenState::Revoked; 12]);
        assert!(revoked.auth_tokens <= 12);
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn beside_a_suspension_no_key_of_the_user_works() {
    let arena = Arena::open().await;
    for round in 0..rounds() {
        let user = format!("user-{round}");
        let answers = at_once((0..12).map(|n| {
            let (client, user) = (arena.client(n), user.clone());
            async move {
                if n == 5 {
                    set_active(&client, &user, Some(false)).await.expect("a suspension");
                    return None;
                }
                let request = CreateAuthTokenRequest { replace: true, ..wanted(&user) };
                match create(&client, request).await {
                    Ok((_, key)) => Some(key),
                    Err(status) => {
                        assert_eq!(crate::support::reason(&status), "USER_INACTIVE");
                        None
                    }
                }
            }
        }))
        .await;
        for key in answers.iter().flatten() {
            assert_eq!(authenticate(&arena.client(round), key).await.state(), TokenState::UserInactive);
        }
    }
    arena.close().await;
}
