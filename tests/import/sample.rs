//! The sample of a real database, brought whole.

use std::collections::BTreeMap;

use serde::Deserialize;
use token_registry::import::report::Counts;
use token_registry::proto::{ListRefreshTokensRequest, TokenState};
use tonic::Code;

use super::django::{Django, import};
use crate::support::{Registry, assert_refused, people};

/// What is in the sample, as its makers counted it.
#[derive(Deserialize)]
struct Expected {
    counts: BTreeMap<String, u64>,
    totals: serde_json::Value,
    users: BTreeMap<String, ExpectedUser>,
}

#[derive(Deserialize)]
struct ExpectedUser {
    is_active: bool,
    refresh: Vec<(String, String, bool)>,
    generic: Vec<(String, String)>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../data/django_expect_small.json")).expect("the sample's counts")
}

#[tokio::test]
async fn every_session_of_the_sample_is_here_as_it_was_there() {
    let (django, registry, expected) = (Django::sample().await, Registry::start().await, expected());
    let report = django.import(&registry).await;
    let of = |table: &str| expected.counts[table];
    let total = |name: &str| expected.totals[name].as_u64().unwrap();
    assert_eq!(
        report.users,
        Counts {
            read: of("jwt_allauth_jauser"),
            new: of("jwt_allauth_jauser"),
            new_but_ended: total("users_inactive"),
            ..Counts::default()
        }
    );
    assert_eq!(
        report.sessions,
        Counts {
            read: of("jwt_allauth_refreshtokenwhitelistmodel"),
            new: total("sessions_distinct"),
            new_but_ended: total("refresh_of_inactive_users"),
            // The sample is older than any session lives here.
            lifetime_from_now: total("sessions_distinct") - total("refresh_of_inactive_users"),
            ..Counts::default()
        }
    );
    let duplicates = total("generic_token_purpose_duplicates");
    assert_eq!(report.one_time_tokens.read, of("jwt_allauth_generictokenmodel"));
    assert_eq!(report.one_time_tokens.refused, duplicates);
    assert_eq!(report.one_time_tokens.new, of("jwt_allauth_generictokenmodel") - duplicates);

    let mut rotated = 0;
    for (user, there) in &expected.users {
        for (jti, session, enabled) in &there.refresh {
            let rotation = registry.rotate(user, session, jti, "the-next").await;
            if !there.is_active {
                assert_refused(rotation, Code::FailedPrecondition, "USER_INACTIVE");
            } else if *enabled {
                assert_eq!(rotation.unwrap().token.unwrap().jti, "the-next");
                rotated += 1;
            } else {
                assert_refused(rotation, Code::FailedPrecondition, "TOKEN_DISABLED");
            }
        }
        let list = ListRefreshTokensRequest { user_id: user.clone(), ..Default::default() };
        let listed = registry.whitelist.clone().list_refresh_tokens(list).await.unwrap().into_inner().tokens;
        assert_eq!(listed.len(), there.refresh.len(), "sessions of {user}");
        assert_eq!(people::get(&registry, user).await.unwrap().0.active, there.is_active);
    }
    assert!(rotated > 0);
    assert!(expected.users.values().any(|user| !user.generic.is_empty()));
}

#[tokio::test]
async fn a_session_keeps_its_device_and_its_times() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    django.import(&registry).await;
    let sql = registry.sql().await;
    // Both databases are on one server, but not in one: compared as text, column by column.
    let columns = "session, jti, enabled, created, host(ip), is_mobile, is_tablet, is_pc, is_bot, browser, browser_version, os, \
         os_version, device, device_brand, device_model";
    let there =
        format!("select row({columns})::text from jwt_allauth_refreshtokenwhitelistmodel order by session");
    let here = format!("select row({columns})::text from sessions order by session");
    let rows = async |sql: &tokio_postgres::Client, select: &str| -> Vec<String> {
        sql.query(select, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(rows(&sql, &here).await, rows(&django.sql, &there).await);
}

#[tokio::test]
async fn a_second_import_changes_nothing() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    let first = django.import(&registry).await;
    let before = registry.contents().await;
    let second = django.import(&registry).await;
    assert_eq!(registry.contents().await, before);
    for (first, second) in [
        (first.users, second.users),
        (first.sessions, second.sessions),
        (first.one_time_tokens, second.one_time_tokens),
    ] {
        assert_eq!((second.read, second.unchanged, second.refused), (first.read, first.new, first.refused));
        assert_eq!(second.written(), 0);
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_writes_nothing() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    let before = registry.contents().await;
    let mut options = django.options();
    options.dry_run = true;
    let tried = import(&registry, &options).await.unwrap();
    assert_eq!(registry.contents().await, before);
    let done = django.import(&registry).await;
    assert_eq!(
        (tried.users, tried.sessions, tried.one_time_tokens),
        (done.users, done.sessions, done.one_time_tokens)
    );
    assert!(tried.text().contains("dry run"));
}

#[tokio::test]
async fn tokens_that_are_over_there_may_be_told_from_living_ones() {
    let (django, registry) = (Django::sample().await, Registry::start().await);
    let mut options = django.options();
    options.refresh_token_lifetime = Some(std::time::Duration::from_hours(14 * 24));
    let report = import(&registry, &options).await.unwrap();
    assert_eq!(report.sessions.lifetime_from_now, 0);
    assert_eq!(report.sessions.new_but_expired, report.sessions.new - report.sessions.new_but_ended);
    assert_eq!(registry.check_session("1", "e762e2148b604288b3ce319144181c76").await, TokenState::Expired);
}
