//! What ends everything of a user, met at its narrowest moments by logins: the two are made to wait for each other.

use token_registry::proto::{
    AddRefreshTokenRequest, CreateUserRequest, RevocationReason, RevokeCredentialsRequest,
    RevokeUserSessionsRequest, SetUserActiveRequest, TokenState,
};

use super::{Arena, Held, at_once, expected, tally, verdict};
use crate::support::Registry;

const LOGINS: usize = 6;

/// What ends all sessions of a user.
#[derive(Clone, Copy, Debug)]
enum Ender {
    RevokeCredentials,
    SetUserInactive,
    RevokeUserSessions,
}

impl Ender {
    const ALL: [Self; 3] = [Self::RevokeCredentials, Self::SetUserInactive, Self::RevokeUserSessions];

    async fn call(self, registry: &Registry, user_id: String) {
        match self {
            Self::RevokeCredentials => {
                let keep_auth_tokens = Some(true);
                let request = RevokeCredentialsRequest { user_id, keep_auth_tokens, ..Default::default() };
                registry.users.clone().revoke_credentials(request).await.map(drop)
            }
            Self::SetUserInactive => {
                let request = SetUserActiveRequest { user_id, active: Some(false) };
                registry.users.clone().set_user_active(request).await.map(drop)
            }
            Self::RevokeUserSessions => {
                let reason = RevocationReason::Logout.into();
                let request = RevokeUserSessionsRequest { user_id, except_session: None, reason };
                registry.whitelist.clone().revoke_user_sessions(request).await.map(drop)
            }
        }
        .expect("it ends what there is");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_that_comes_while_everything_is_being_ended_waits_and_is_judged_afterwards() {
    let arena = Arena::open().await;
    for ender in Ender::ALL {
        let user = format!("{ender:?}");
        let client = arena.client(0);
        let request = CreateUserRequest { user_id: user.clone() };
        let known = client.users.clone().create_user(request).await.unwrap().into_inner().user.unwrap();
        client.add(&user, "there-before", "jti").await.unwrap();

        // It has looked for the sessions to end, and waits for one of them.
        let held = arena.hold("select from sessions where user_id = $1 for update", &user).await;
        let ending = tokio::spawn({
            let (client, user) = (arena.client(1), user.clone());
            async move { ender.call(&client, user).await }
        });
        held.waited_for_by(1).await;
        let logins = (0..LOGINS).map(|n| {
            let client = arena.client(n);
            let request = AddRefreshTokenRequest {
                user_id: user.clone(),
                session: format!("session-{n}"),
                jti: "jti".into(),
                credential_version: Some(known.credential_version.clone()),
                ..Default::default()
            };
            async move { client.add_as(request).await }
        });
        let mut logins = tokio::spawn(at_once(logins.collect::<Vec<_>>()));
        let all = i64::try_from(LOGINS + 1).unwrap();
        tokio::select! {
            () = held.waited_for_by(all) => {}
            _ = &mut logins => panic!("the logins didn't wait for {ender:?}"),
        }
        held.release().await;
        ending.await.unwrap();
        let answered = match ender {
            Ender::RevokeCredentials => "CREDENTIALS_CHANGED",
            Ender::SetUserInactive => "USER_INACTIVE",
            Ender::RevokeUserSessions => "OK",
        };
        assert_eq!(tally(logins.await.unwrap().iter().map(verdict)), expected([(answered, LOGINS)]));
        let live = "select count(*) from sessions where user_id = $1 and revoked_at is null";
        let stay = if answered == "OK" { all - 1 } else { 0 };
        assert_eq!(arena.count(live, &user).await, stay, "{ender:?}");
    }
    arena.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_that_has_the_users_row_first_is_ended_by_whoever_waits_for_it() {
    let arena = Arena::open().await;
    for ender in Ender::ALL {
        let user = format!("{ender:?}");
        arena.client(0).add(&user, "there-before", "jti").await.unwrap();
        // A login that holds the user's row and has not yet committed, by hand so that it stays there.
        let login = "with holder as (select user_id from users where user_id = $1 for share)
            insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires,
                                  idle_expires, idle_timeout, rotation_grace)
            select user_id, 'in-between', 'jti', true, now(), now(), now() + interval '1 day',
                   now() + interval '1 day', interval '1 day', interval '30 s' from holder";
        let held: Held<'_> = arena.hold(login, &user).await;
        let client = arena.client(1);
        tokio::join!(ender.call(&client, user.clone()), held.release_when_waited_for_by(1));
        let state = match ender {
            Ender::SetUserInactive => TokenState::UserInactive,
            _ => TokenState::Revoked,
        };
        for session in ["there-before", "in-between"] {
            assert_eq!(arena.client(0).check_session(&user, session).await, state, "{ender:?}: {session}");
        }
    }
    arena.close().await;
}
