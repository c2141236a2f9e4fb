//! Imports that break off, that come at the wrong time, or from the wrong place.

use token_registry::import::ImportError;
use token_registry::proto::TokenState;

use super::django::{Django, counts, import};
use crate::support::postgres::Cluster;
use crate::support::proxy::Proxy;
use crate::support::{Registry, config_for};

/// A thousand users with a session each.
const MANY: &str = "\
insert into jwt_allauth_jauser select n, '!', null, false, 'user ' || n, '', '', n || '@example.org', false, true, now(), 0
  from generate_series(1001, 2000) n;
insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id)
  select now(), 'jti ' || n, true, 'session ' || n, n from generate_series(1001, 2000) n;
";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_drops_leaves_whole_users_and_the_next_import_goes_on() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.run(MANY).await;
    let proxy = Proxy::start(Cluster::shared().address());
    let mut options = django.options();
    options.from = django.database.url_at(proxy.address()).into();
    // The second page's last user, up to whom its sessions are asked for.
    proxy.cut_after_request_containing("1399");
    let error = import(&registry, &options).await.unwrap_err();
    assert!(matches!(error, ImportError::Source(_)), "{error}");
    assert_eq!(proxy.unanswered(), 1);
    let sql = registry.sql().await;
    let count = "select (select count(*) from users), (select count(*) from sessions)";
    let row = sql.query_one(count, &[]).await.unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (200, 199),
        "the first page whole; ada has no session"
    );
    let report = django.import(&registry).await;
    assert_eq!((report.users, report.sessions), (counts(1001, 801, 0, 200), counts(1000, 801, 0, 199)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_no_half_import() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.run(MANY).await;
    let proxy = Proxy::start(Cluster::shared().address());
    let (address, name) = (proxy.address(), registry.database_url.rsplit('/').next().unwrap().to_owned());
    let url = registry.database_url.replace(&Cluster::shared().address().to_string(), &address.to_string());
    assert!(url.ends_with(&name) && url.contains(&address.to_string()), "{url}");
    proxy.cut_after_request_containing("session 1300");
    let config = config_for(&url);
    let (report, error) =
        token_registry::import::django(&config, &django.options(), |_| {}).await.unwrap_err();
    assert!(matches!(error, ImportError::Target(_)), "{error}");
    assert!(!report.finished && report.error.is_some());
    let report = django.import(&registry).await;
    assert_eq!(report.sessions.new + report.sessions.unchanged, 1000);
    let sql = registry.sql().await;
    let sessions: i64 = sql.query_one("select count(*) from sessions", &[]).await.unwrap().get(0);
    let seen: i64 = sql.query_one("select count(*) from imported_sessions", &[]).await.unwrap().get(0);
    assert_eq!((sessions, seen), (1000, 1000));
}

#[tokio::test]
async fn one_import_at_a_time() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    let mut other = registry.sql().await;
    let held = other.transaction().await.unwrap();
    held.execute(include_str!("../../src/store/statements/import/lock.sql"), &[]).await.unwrap();
    let error = import(&registry, &django.options()).await.unwrap_err();
    assert!(matches!(error, ImportError::Busy), "{error}");
    held.rollback().await.unwrap();
    django.import(&registry).await;
}

#[tokio::test]
async fn a_wrong_database_does_not_log_everybody_out() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.run(MANY).await;
    django.import(&registry).await;
    let before = registry.contents().await;
    let wrong = Django::with_ada().await;
    let error = import(&registry, &wrong.options()).await.unwrap_err();
    assert!(matches!(error, ImportError::MostIsGone { known: 1000, gone: 1000, .. }), "{error}");
    assert_eq!(registry.contents().await, before);
    let mut options = wrong.options();
    options.accept_missing = true;
    let report = import(&registry, &options).await.unwrap();
    assert_eq!((report.users.ended, report.sessions.ended), (1000, 1000));
    assert_eq!(registry.check_session("1001", "session 1001").await, TokenState::UserInactive);
}
