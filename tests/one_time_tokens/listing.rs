//! A user's one-time tokens: listed page by page, and ended together.

use token_registry::proto::{GenericToken, ListGenericTokensRequest, TokenState};

use crate::support::one_time::{
    consume, digits, issue, let_expire, list, list_page, own, presented, revoke, secret, state,
};
use crate::support::{Registry, assert_invalid};

fn of(user_id: &str, purpose: Option<&str>, page_size: i32, page_token: &str) -> ListGenericTokensRequest {
    ListGenericTokensRequest {
        user_id: user_id.into(),
        purpose: purpose.map(Into::into),
        page_size,
        page_token: page_token.into(),
    }
}

fn ids(tokens: &[GenericToken]) -> Vec<i64> {
    tokens.iter().map(|token| token.base.as_ref().unwrap().id).collect()
}

async fn issued(registry: &Registry, user_id: &str, purpose: &str, count: usize) {
    for _ in 0..count {
        issue(registry, secret(user_id, purpose)).await.unwrap();
    }
}

#[tokio::test]
async fn a_user_never_seen_has_none() {
    let registry = Registry::start().await;
    let page = list_page(&registry, of("nobody", None, 0, "")).await.unwrap();
    assert!(page.tokens.is_empty() && page.next_page_token.is_empty());
}

#[tokio::test]
async fn pages_follow_each_other_newest_first_and_miss_or_repeat_nothing() {
    let registry = Registry::start().await;
    issued(&registry, "ada", "reset", 5).await;
    issued(&registry, "bob", "reset", 1).await;
    let mut expected = ids(&list(&registry, "ada").await);
    assert_eq!(expected.len(), 5);
    assert!(expected.is_sorted_by(|a, b| a > b), "newest first");

    let mut seen = Vec::new();
    let mut page_token = String::new();
    for turn in 0..3 {
        let page = list_page(&registry, of("ada", None, 2, &page_token)).await.unwrap();
        assert_eq!(page.tokens.len(), [2, 2, 1][turn]);
        seen.extend(ids(&page.tokens));
        page_token = page.next_page_token;
        assert_eq!(page_token.is_empty(), turn == 2);
        // What comes in meanwhile is before the first page, and moves nothing.
        issued(&registry, "ada", "reset", 1).await;
    }
    assert_eq!(seen, expected);

    // A page that takes all leaves none over.
    expected = ids(&list(&registry, "ada").await);
    let page = list_page(&registry, of("ada", None, 8, "")).await.unwrap();
    assert_eq!((ids(&page.tokens), page.next_page_token), (expected, String::new()));
}

#[tokio::test]
async fn dead_ones_stay_listed_with_their_state() {
    let registry = Registry::start().await;
    issued(&registry, "ada", "a", 1).await;
    let_expire(&registry).await;
    issued(&registry, "ada", "b", 2).await;
    let (_, value) = issue(&registry, secret("ada", "c")).await.unwrap();
    consume(&registry, presented("c", &value)).await.unwrap();
    issue(&registry, digits("ada", "d", 6)).await.unwrap();
    let states: Vec<_> = list(&registry, "ada").await.iter().map(GenericToken::state).collect();
    let expected = [
        TokenState::Active,
        TokenState::Consumed,
        TokenState::Active,
        TokenState::Revoked,
        TokenState::Expired,
    ];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn a_purpose_filters() {
    let registry = Registry::start().await;
    for purpose in ["reset", "confirm", "reset"] {
        issued(&registry, "ada", purpose, 1).await;
    }
    let page = list_page(&registry, of("ada", Some("reset"), 1, "")).await.unwrap();
    let next = list_page(&registry, of("ada", Some("reset"), 1, &page.next_page_token)).await.unwrap();
    assert_eq!(next.next_page_token, "");
    for token in [&page.tokens[0], &next.tokens[0]] {
        assert_eq!(token.purpose, "reset");
    }
    assert_ne!(ids(&page.tokens), ids(&next.tokens));
    assert!(list_page(&registry, of("ada", Some("other"), 0, "")).await.unwrap().tokens.is_empty());
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_query_only() {
    let registry = Registry::start().await;
    for user in ["ada", "bob"] {
        issued(&registry, user, "reset", 3).await;
        registry.add(user, "laptop", "one").await.unwrap();
        registry.add(user, "phone", "one").await.unwrap();
    }
    let all = list_page(&registry, of("ada", None, 1, "")).await.unwrap().next_page_token;
    let resets = list_page(&registry, of("ada", Some("reset"), 1, "")).await.unwrap().next_page_token;
    for request in [
        of("bob", None, 1, &all),
        of("ada", Some("reset"), 1, &all),
        of("ada", None, 1, &resets),
        of("ada", Some("confirm"), 1, &resets),
        of("ada", None, 1, "garbage"),
        of("ada", None, 1, "AAAA"),
        of("ada", None, 1, &all[1..]),
    ] {
        assert_invalid(list_page(&registry, request).await, &["page_token"]);
    }
    // Of another list of the same user.
    let devices = token_registry::proto::ListRefreshTokensRequest {
        user_id: "ada".into(),
        page_size: 1,
        ..Default::default()
    };
    let devices = registry.whitelist.clone().list_refresh_tokens(devices).await.unwrap().into_inner();
    assert_eq!(devices.tokens.len(), 1);
    let foreign = of("ada", None, 1, &devices.next_page_token);
    assert_invalid(list_page(&registry, foreign).await, &["page_token"]);
    // The size may change from page to page.
    assert_eq!(list_page(&registry, of("ada", None, 50, &all)).await.unwrap().tokens.len(), 2);
}

#[tokio::test]
async fn a_page_has_50_unless_told_at_most_500_and_never_a_negative_number() {
    let registry = Registry::start().await;
    issued(&registry, "ada", "reset", 1).await;
    let copies = "insert into generic_tokens (user_id, purpose, is_code, digest, challenge, created, expires, max_attempts)
        select user_id, purpose, is_code, digest, challenge || n, created, expires, max_attempts
        from generic_tokens, generate_series(1, 500) n";
    assert_eq!(registry.sql().await.execute(copies, &[]).await.unwrap(), 500);
    for (asked, answered) in [(0, 50), (1, 1), (500, 500), (501, 500), (i32::MAX, 500)] {
        let page = list_page(&registry, of("ada", None, asked, "")).await.unwrap();
        assert_eq!(page.tokens.len(), answered, "{asked}");
        assert!(!page.next_page_token.is_empty());
    }
    assert_invalid(list_page(&registry, of("ada", None, -1, "")).await, &["page_size"]);
    let bad = of("", Some(""), -1, "garbage");
    assert_invalid(list_page(&registry, bad).await, &["user_id", "purpose", "page_size", "page_token"]);
}

#[tokio::test]
async fn revoking_ends_the_live_ones_of_the_purposes_named_and_counts_them() {
    let registry = Registry::start().await;
    let mut values = Vec::new();
    for (user, purpose) in [("ada", "a"), ("ada", "b"), ("ada", "c"), ("bob", "a")] {
        let (_, value) = issue(&registry, secret(user, purpose)).await.unwrap();
        values.push((purpose, value));
    }
    assert_eq!(revoke(&registry, "ada", &["a", "b", "never-used"]).await.unwrap(), 2);
    let mut states = Vec::new();
    for (purpose, value) in &values {
        states.push(state(&registry, purpose, value).await);
    }
    let (revoked, active) = (TokenState::Revoked, TokenState::Active);
    assert_eq!(states, [revoked, revoked, active, active]);
    assert_eq!(revoke(&registry, "ada", &["a", "b"]).await.unwrap(), 0, "the same again ends nothing more");
}

#[tokio::test]
async fn revoking_without_purposes_ends_all_live_ones_and_counts_no_dead_ones() {
    let registry = Registry::start().await;
    issued(&registry, "ada", "expired", 1).await;
    let_expire(&registry).await;
    issued(&registry, "ada", "replaced once", 2).await;
    let (_, value) = issue(&registry, secret("ada", "consumed")).await.unwrap();
    consume(&registry, presented("consumed", &value)).await.unwrap();
    issue(&registry, own("ada", "code", "short")).await.unwrap();
    let (_, of_bob) = issue(&registry, secret("bob", "reset")).await.unwrap();

    assert_eq!(revoke(&registry, "ada", &[]).await.unwrap(), 2);
    let states: Vec<_> = list(&registry, "ada").await.iter().map(GenericToken::state).collect();
    let (consumed, revoked) = (TokenState::Consumed, TokenState::Revoked);
    assert_eq!(states, [revoked, consumed, revoked, revoked, TokenState::Expired]);
    assert_eq!(state(&registry, "reset", &of_bob).await, TokenState::Active);
    assert_eq!(revoke(&registry, "ada", &[]).await.unwrap(), 0);
    assert_eq!(revoke(&registry, "nobody", &[]).await.unwrap(), 0);
}

#[tokio::test]
async fn bad_purposes_to_revoke_are_named_by_their_place() {
    let registry = Registry::start().await;
    let long = "p".repeat(65);
    let bad = revoke(&registry, "", &["a", "", &long]).await;
    assert_invalid(bad, &["user_id", "purposes[1]", "purposes[2]"]);
    assert_invalid(revoke(&registry, "ada", &["p"; 101]).await, &["purposes"]);
    revoke(&registry, "ada", &["p"; 100]).await.unwrap();
}
