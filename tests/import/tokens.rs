//! One-time tokens: each is consumed by the value that its holder has, once.

use token_registry::proto::TokenState;
use tonic::Code;

use super::django::{Django, counts, import};
use crate::support::{Registry, assert_refused, one_time};

/// A link as the package's generator makes it, and what the package keeps of it.
const LINK: &str = "cabc12-0123456789abcdef0123456789abcdef";
const KEPT: &str = "encode(sha256('cabc12-0123456789abcdef0123456789abcdef'), 'hex')";

async fn issue_link(django: &Django, purpose: &str) {
    django
        .run(&format!(
            "insert into jwt_allauth_generictokenmodel (created, token, purpose, user_id) \
             values (clock_timestamp(), {KEPT}, '{purpose}', 1)"
        ))
        .await;
}

#[tokio::test]
async fn digests_and_plain_values_are_both_consumed_by_the_value() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    issue_link(&django, "PASS_RESET").await;
    let long = "x".repeat(255);
    for (purpose, value) in [
        ("PASS_RESET_ACCESS", "eccaeb1388224a6f8f43d4252805d4cb"),
        ("PASS_SET_ACCESS", "0123456789abcdef0123456789abcdef"),
        ("mfa_login_challenge", "168defaeea4440fc8a8d3e0899d03da1"),
        ("email-change", long.as_str()),
    ] {
        django.issue(1, purpose, value).await;
    }
    assert_eq!(django.import(&registry).await.one_time_tokens, counts(5, 5, 0, 0));
    for (purpose, value) in [
        ("PASS_RESET", LINK),
        ("PASS_RESET_ACCESS", "eccaeb1388224a6f8f43d4252805d4cb"),
        ("PASS_SET_ACCESS", "0123456789abcdef0123456789abcdef"),
        ("mfa_login_challenge", "168defaeea4440fc8a8d3e0899d03da1"),
        ("email-change", long.as_str()),
    ] {
        let token = one_time::consume(&registry, one_time::presented(purpose, value)).await.unwrap();
        assert_eq!((token.user_id.as_str(), token.purpose.as_str()), ("1", purpose));
        let again = one_time::consume(&registry, one_time::presented(purpose, value)).await;
        assert_refused(again, Code::FailedPrecondition, "TOKEN_CONSUMED");
    }
    // What was consumed here doesn't come back.
    assert_eq!(django.import(&registry).await.one_time_tokens, counts(5, 0, 0, 5));
    let again = one_time::consume(&registry, one_time::presented("PASS_RESET", LINK)).await;
    assert_refused(again, Code::FailedPrecondition, "TOKEN_CONSUMED");
}

#[tokio::test]
async fn whoever_reads_the_table_can_not_use_what_is_in_it() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    issue_link(&django, "PASS_RESET").await;
    django.import(&registry).await;
    let kept: String = django.sql.query_one(&format!("select {KEPT}"), &[]).await.unwrap().get(0);
    let stolen = one_time::consume(&registry, one_time::presented("PASS_RESET", &kept)).await;
    assert_refused(stolen, Code::NotFound, "TOKEN_NOT_FOUND");
}

#[tokio::test]
async fn a_purpose_of_ones_own_can_be_told_to_be_plain() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    let value = "0f".repeat(32);
    django.issue(1, "device", &value).await;
    let mut options = django.options();
    options.plain_purposes = vec!["device".to_owned()];
    import(&registry, &options).await.unwrap();
    one_time::consume(&registry, one_time::presented("device", &value)).await.unwrap();
}

#[tokio::test]
async fn a_short_value_is_a_code_whose_guesses_are_counted() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.issue(1, "login", "483920").await;
    django.import(&registry).await;
    let wrong = one_time::consume(&registry, one_time::of_user("1", "login", "000000")).await;
    assert_refused(wrong, Code::NotFound, "TOKEN_NOT_FOUND");
    let token = one_time::consume(&registry, one_time::of_user("1", "login", "483920")).await.unwrap();
    assert_eq!((token.attempts, token.max_attempts), (1, 5));
}

#[tokio::test]
async fn rows_with_one_value_are_one_token() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    issue_link(&django, "PASS_RESET").await;
    django.import(&registry).await;
    // Both at once, and one after the other.
    issue_link(&django, "PASS_RESET").await;
    issue_link(&django, "EMAIL_CONFIRMATION").await;
    issue_link(&django, "EMAIL_CONFIRMATION").await;
    let report = django.import(&registry).await;
    assert_eq!((report.one_time_tokens.new, report.one_time_tokens.refused), (1, 2));
    for purpose in ["PASS_RESET", "EMAIL_CONFIRMATION"] {
        one_time::consume(&registry, one_time::presented(purpose, LINK)).await.unwrap();
        let again = one_time::consume(&registry, one_time::presented(purpose, LINK)).await;
        assert_refused(again, Code::FailedPrecondition, "TOKEN_CONSUMED");
    }
}

#[tokio::test]
async fn several_of_one_purpose_stay_several() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    for value in ["168defaeea4440fc8a8d3e0899d03da1", "2fce9732682b41099fc071361549a58e"] {
        django.issue(1, "mfa_login_challenge", value).await;
    }
    django.import(&registry).await;
    for value in ["168defaeea4440fc8a8d3e0899d03da1", "2fce9732682b41099fc071361549a58e"] {
        one_time::consume(&registry, one_time::presented("mfa_login_challenge", value)).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_used_there_can_not_be_used_here() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    issue_link(&django, "PASS_RESET").await;
    django.import(&registry).await;
    django.run("delete from jwt_allauth_generictokenmodel").await;
    assert_eq!(django.import(&registry).await.one_time_tokens.ended, 1);
    let late = one_time::consume(&registry, one_time::presented("PASS_RESET", LINK)).await;
    assert_refused(late, Code::FailedPrecondition, "TOKEN_REVOKED");
}

#[tokio::test]
async fn what_the_registry_has_replaced_comes_as_replaced() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    issue_link(&django, "PASS_RESET").await;
    one_time::issue(&registry, one_time::secret("1", "PASS_RESET")).await.unwrap();
    django.import(&registry).await;
    let late = one_time::consume(&registry, one_time::presented("PASS_RESET", LINK)).await;
    assert_refused(late, Code::FailedPrecondition, "TOKEN_REVOKED");
}

#[tokio::test]
async fn what_is_over_there_is_over_here_unless_asked_for() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    issue_link(&django, "PASS_RESET").await;
    django.run("update jwt_allauth_generictokenmodel set created = created - interval '4 days'").await;
    let report = django.import(&registry).await;
    assert_eq!((report.one_time_tokens.new, report.one_time_tokens.new_but_expired), (1, 1));
    assert_eq!(
        one_time::check(&registry, "PASS_RESET", LINK, None).await.unwrap().state(),
        TokenState::Expired
    );
    let (registry, mut options) = (Registry::start().await, django.options());
    options.renew_expired_tokens = true;
    let report = import(&registry, &options).await.unwrap();
    assert_eq!((report.one_time_tokens.lifetime_from_now, report.one_time_tokens.new_but_expired), (1, 0));
    one_time::consume(&registry, one_time::presented("PASS_RESET", LINK)).await.unwrap();
}

#[tokio::test]
async fn a_secret_of_an_authenticator_is_no_one_time_token() {
    let (django, registry) = (Django::with_ada().await, Registry::start().await);
    django.issue(1, "mfa_setup_secret", "IkpCU1dZM0RQRUhQSzNQWFAi:1xVdFt:owXlnuEQjPjjXMXPzVQGq8").await;
    let report = django.import(&registry).await;
    assert_eq!((report.one_time_tokens.read, report.one_time_tokens.refused), (1, 1));
    assert!(!report.text().contains("IkpCU1"), "{}", report.text());
}
