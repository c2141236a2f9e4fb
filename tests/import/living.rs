//! Both sides at work while imports run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use token_registry::proto::TokenState;

use super::django::Django;
use crate::support::{Registry, connect};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_opened_rotated_and_ended_there_meanwhile_is_not_lost() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    let at_work = Arc::new(AtomicBool::new(true));
    let sql = connect(&django.database.url).await;
    let (first, working) = tokio::sync::oneshot::channel();
    let work = tokio::spawn({
        let at_work = Arc::clone(&at_work);
        async move {
            // Users 1, 2 and 3 log in, rotate and log out; what is left in the end is in the table.
            let mut first = Some(first);
            let mut n = 0_u64;
            while at_work.load(Ordering::Relaxed) || n < 300 {
                let user = 1 + n % 3;
                let step = match n % 20 {
                    0..=8 => format!(
                        "insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id) \
                                      values (clock_timestamp(), 'jti {n}', true, 'session {n}', {user})"
                    ),
                    9..=18 => format!(
                        "with old as (delete from jwt_allauth_refreshtokenwhitelistmodel where id = \
                                      (select max(id) from jwt_allauth_refreshtokenwhitelistmodel where user_id = {user}) returning *) \
                                      insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id) \
                                      select clock_timestamp(), 'jti {n}', true, session, user_id from old"
                    ),
                    _ => format!(
                        "delete from jwt_allauth_refreshtokenwhitelistmodel where id = \
                                  (select min(id) from jwt_allauth_refreshtokenwhitelistmodel where user_id = {user})"
                    ),
                };
                sql.batch_execute(&step).await.unwrap();
                n += 1;
                if n == 20
                    && let Some(first) = first.take()
                {
                    let _ = first.send(());
                }
            }
        }
    });
    working.await.unwrap();
    for _ in 0..5 {
        django.import(&registry).await;
    }
    at_work.store(false, Ordering::Relaxed);
    work.await.unwrap();
    let last = django.import(&registry).await;
    assert_eq!((last.sessions.kept, last.sessions.refused), (0, 0));
    let there = django.sql.query("select user_id::text, session::text, jti::text from jwt_allauth_refreshtokenwhitelistmodel where user_id in (1, 2, 3) order by 1, 2", &[]);
    let mut living = Vec::new();
    for row in there.await.unwrap() {
        let (user, session, jti): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        assert_ne!(
            registry.check_token(&user, &session, &jti).await,
            TokenState::Superseded,
            "{user} {session}"
        );
        living.push((user, session, jti));
    }
    let here = registry.sql().await.query("select user_id, session, jti from sessions where user_id in ('1', '2', '3') and revoked_at is null order by 1, 2", &[]).await.unwrap();
    let here: Vec<(String, String, String)> =
        here.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(here, living, "what lives there lives here, and nothing else");
    assert_eq!(
        registry
            .sql()
            .await
            .query_one(
                "select count(*) from sessions where user_id in ('1', '2', '3') and revoked_at is not null",
                &[]
            )
            .await
            .unwrap()
            .get::<_, i64>(0)
            .signum(),
        1
    );
}
