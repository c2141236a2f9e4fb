//! Tables that look otherwise: other names, other keys, other versions.

use token_registry::import::ImportError;
use token_registry::proto::TokenState;

use super::django::{Django, counts, import};
use crate::support::Registry;
use crate::support::process::run;

#[tokio::test]
async fn big_numbers_and_a_format_of_the_name() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    let big = i64::from(i32::MAX) + 7;
    django.run(&format!("insert into jwt_allauth_jauser select {big}, '!', null, false, 'big', '', '', 'b@example.org', false, true, now(), 0")).await;
    django
        .run(&format!(
            "insert into jwt_allauth_refreshtokenwhitelistmodel (id, created, jti, enabled, session, user_id) \
             values (9000000000000, now(), 'one', true, 'laptop', {big})"
        ))
        .await;
    let mut options = django.options();
    options.user_id_format = "shop/{}".to_owned();
    let report = import(&registry, &options).await.unwrap();
    assert_eq!((report.users, report.sessions), (counts(2, 2, 0, 0), counts(1, 1, 0, 0)));
    registry.rotate(&format!("shop/{big}"), "laptop", "one", "two").await.unwrap();
}

#[tokio::test]
async fn numbers_of_any_length_are_read_in_their_order() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django
        .run(
            "insert into jwt_allauth_jauser select n, '!', null, false, 'user ' || n, '', '', n || '@example.org', false, true, \
             now(), 0 from (select 2 + k * k * k * 7 from generate_series(0, 999::bigint) k) g (n); \
             insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id) \
             select now(), 'jti ' || id, true, 'session ' || id, id from jwt_allauth_jauser",
        )
        .await;
    let report = django.import(&registry).await;
    assert_eq!((report.users, report.sessions), (counts(1001, 1001, 0, 0), counts(1001, 1001, 0, 0)));
    assert_eq!(django.import(&registry).await.sessions, counts(1001, 0, 0, 1001));
}

/// Tables of an application with its own user model, with UUIDs as keys, in a schema and by names of its own.
const OTHER_NAMES: &str = "\
create schema shop;
create table shop.people (uuid uuid primary key default gen_random_uuid(), is_enabled boolean not null);
create table shop.auth_refreshtokenwhitelistmodel (id uuid primary key default gen_random_uuid(), created timestamptz not null,
  ip varchar(39), browser text, jti text not null, enabled boolean not null, session text not null,
  owner_id uuid not null references shop.people, extra integer);
insert into shop.people select ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, n % 2 = 0 from generate_series(1, 1000) n;
insert into shop.auth_refreshtokenwhitelistmodel (created, ip, browser, jti, enabled, session, owner_id)
  select now(), '::ffff:10.0.0.1', repeat('b', 100), repeat('j', 200) || uuid, true, 'session of ' || uuid, uuid from shop.people;
";

#[tokio::test]
async fn other_names_and_uuids() {
    let (django, registry) = (Django::empty().await, Registry::start().await);
    django.run(OTHER_NAMES).await;
    let mut options = django.options();
    options.names.schema = "shop".to_owned();
    options.names.table_prefix = "auth_".to_owned();
    options.names.columns = ["user.id=uuid", "user.is_active=is_enabled", "refresh.user_id=owner_id"]
        .map(|column| column.parse().unwrap())
        .to_vec();
    let report = import(&registry, &options).await.unwrap();
    // More than a page of users, and the users' table found by the foreign key.
    assert_eq!((report.users.new, report.users.new_but_ended), (1000, 500));
    assert_eq!((report.sessions.new, report.sessions.new_but_ended), (1000, 500));
    let notes = report.notes.join("\n");
    for told in ["no table shop.auth_generictokenmodel", "no column is_mobile", "extra"] {
        assert!(notes.contains(told), "{notes}");
    }
    let user = "00000000-0000-0000-0000-000000001000";
    let token = registry.get(user, &format!("session of {user}")).await.unwrap();
    let client = token.base.unwrap().client.unwrap();
    assert_eq!(client.ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(client.browser.unwrap().len(), 64, "cut to the column, not refused");
    assert_eq!(client.is_mobile, None);
    assert_eq!(import(&registry, &options).await.unwrap().sessions, counts(1000, 0, 0, 1000));
}

#[tokio::test]
async fn one_user_with_very_many_sessions_is_brought_in_parts() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django
        .run(
            "insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id) \
             select now(), 'jti ' || n, true, 'session ' || n, 1 from generate_series(1, 3500) n",
        )
        .await;
    let mut options = django.options();
    options.dry_run = true;
    for dry_run in [true, false] {
        options.dry_run = dry_run;
        let report = import(&registry, &options).await.unwrap();
        assert_eq!((report.users, report.sessions), (counts(1, 1, 0, 0), counts(3500, 3500, 0, 0)));
    }
    assert_eq!(registry.check_token("1", "session 3500", "jti 3500").await, TokenState::Active);
}

#[tokio::test]
async fn everything_that_is_wrong_with_the_tables_is_told_at_once() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    django
        .run(
            "alter table jwt_allauth_refreshtokenwhitelistmodel drop column enabled; \
             alter table jwt_allauth_refreshtokenwhitelistmodel alter column created type timestamp; \
             alter table jwt_allauth_jauser rename column is_active to active; \
             alter table jwt_allauth_generictokenmodel drop column purpose",
        )
        .await;
    let before = registry.contents().await;
    let Err(ImportError::Shape(problems)) = import(&registry, &django.options()).await else {
        panic!("it must not import");
    };
    assert_eq!(problems.len(), 4, "{problems:#?}");
    let problems = problems.join("\n");
    for told in [
        "no column enabled",
        "timestamp without time zone",
        "--column user.is_active=NAME",
        "no column purpose",
    ] {
        assert!(problems.contains(told), "{problems}");
    }
    assert_eq!(registry.contents().await, before);
}

#[tokio::test]
async fn a_database_that_is_no_django_database_is_called_so() {
    let (django, registry) = (Django::empty().await, Registry::start().await);
    let error = import(&registry, &django.options()).await.unwrap_err().to_string();
    assert!(error.contains("is --from the Django database?"), "{error}");
    django.run("create schema other; create table other.my_refreshtokenwhitelistmodel (id bigint)").await;
    let error = import(&registry, &django.options()).await.unwrap_err().to_string();
    assert!(error.contains("other.my_refreshtokenwhitelistmodel"), "{error}");
}

#[tokio::test]
async fn what_can_not_be_kept_is_listed_and_the_rest_comes() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.run("alter table jwt_allauth_refreshtokenwhitelistmodel drop constraint if exists jwt_allauth_refreshto_user_id_fk; \
                alter table jwt_allauth_refreshtokenwhitelistmodel alter column session type text").await;
    let constraint: String = django.sql.query_one(
        "select conname::text from pg_constraint where contype = 'f' and conrelid = 'jwt_allauth_refreshtokenwhitelistmodel'::regclass", &[]).await.unwrap().get(0);
    django
        .run(&format!("alter table jwt_allauth_refreshtokenwhitelistmodel drop constraint \"{constraint}\""))
        .await;
    django.run("insert into jwt_allauth_refreshtokenwhitelistmodel (created, jti, enabled, session, user_id) values \
                (now(), 'good', true, 'good', 1), (now(), '', true, 'no jti', 1), (now(), 'a', true, '', 1), \
                (now(), E'b\\n', true, 'control', 1), (now(), 'c', true, repeat('x', 256), 1), \
                ('infinity', 'd', true, 'never', 1), (now(), 'e', true, 'nobody', 77)").await;
    let directory = tempfile::tempdir().unwrap();
    let mut options = django.options();
    options.names.user_table = Some("public.jwt_allauth_jauser".to_owned());
    options.report = Some(directory.path().join("report.json"));
    let report = import(&registry, &options).await.unwrap();
    assert_eq!((report.sessions.read, report.sessions.new, report.sessions.refused), (7, 1, 6));
    let file = std::fs::read_to_string(options.report.unwrap()).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let reasons: Vec<&str> =
        file["listed"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 6);
    for reason in [
        "no such user",
        "its jti must not be empty",
        "its session must not be empty",
        "control characters",
        "too long",
        "none that can be told",
    ] {
        assert!(reasons.iter().any(|told| told.contains(reason)), "{reason:?} is not in {reasons:#?}");
    }
    assert_eq!((&file["finished"], &file["sessions"]["refused"]), (&true.into(), &6.into()));
    registry.rotate("1", "good", "good", "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_is_wrong_and_never_the_password() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    let environment = [("DATABASE_URL", registry.database_url.as_str())];
    let wrong = run(&["import", "django"], &environment);
    assert_eq!(wrong.code, Some(64));
    assert!(wrong.err.contains("DJANGO_DATABASE_URL"), "{}", wrong.err);
    let wrong = run(&["import", "django", "--from", "mysql://u:geheim@h/d"], &environment);
    assert_eq!(wrong.code, Some(64));
    assert!(!wrong.err.contains("geheim"), "{}", wrong.err);
    let wrong = run(&["import", "django", "--from", "postgres://u:geheim@127.0.0.1:1/d"], &environment);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.err.contains("the Django database can't be read") && !wrong.err.contains("geheim"),
        "{}",
        wrong.err
    );
    let wrong =
        run(&["import", "django", "--from", &django.database.url, "--user-id-format", "user"], &environment);
    assert_eq!(wrong.code, Some(64), "{}", wrong.err);
    let url = django.database.url.clone();
    let done = run(&["import", "django"], &[environment[0], ("DJANGO_DATABASE_URL", url.as_str())]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    assert!(done.out.contains("sessions                30        30"), "{}", done.out);
    let forgotten = run(&["import", "forget"], &environment);
    assert_eq!(forgotten.code, Some(0), "{}", forgotten.err);
    assert_eq!(django.import(&registry).await.sessions, counts(30, 0, 0, 30));
}
