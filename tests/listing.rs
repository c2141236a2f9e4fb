//! A user's devices, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use token_registry::proto::{
    AddRefreshTokenRequest, ClientInfo, ListRefreshTokensRequest, ListRefreshTokensResponse, RefreshToken,
    TokenState,
};
use tonic::Status;

use crate::support::sessions::{Rows, enable, opening, set_active};
use crate::support::{Registry, assert_invalid};

async fn list(
    registry: &Registry,
    request: ListRefreshTokensRequest,
) -> Result<ListRefreshTokensResponse, Status> {
    Ok(registry.whitelist.clone().list_refresh_tokens(request).await?.into_inner())
}

fn of(user_id: &str, page_size: i32, page_token: &str) -> ListRefreshTokensRequest {
    ListRefreshTokensRequest {
        user_id: user_id.into(),
        page_size,
        page_token: page_token.into(),
        ..Default::default()
    }
}

fn in_state(user_id: &str, state: TokenState) -> ListRefreshTokensRequest {
    ListRefreshTokensRequest { state: state.into(), ..of(user_id, 0, "") }
}

fn names(tokens: &[RefreshToken]) -> Vec<&str> {
    tokens.iter().map(|token| token.session.as_str()).collect()
}

/// Every page, one after the other.
async fn pages(registry: &Registry, mut request: ListRefreshTokensRequest) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let page = list(registry, request.clone()).await.unwrap();
        pages.push(page.tokens.into_iter().map(|token| token.session).collect());
        if page.next_page_token.is_empty() {
            return pages;
        }
        assert!(pages.len() < 100, "the pages have no end: {pages:?}");
        request.page_token = page.next_page_token;
    }
}

/// Opens a session that was opened so many hours ago.
async fn open(registry: &Registry, session: &str, hours_ago: u32) {
    registry.add("ada", session, "one").await.unwrap();
    let created =
        format!("session_created = '2030-01-01T12:00:00Z'::timestamptz - interval '{hours_ago} hours'");
    Rows::of(registry).await.set("ada", session, &created).await;
}

#[tokio::test]
async fn the_newest_comes_first_and_of_equally_new_ones_the_first_by_name() {
    let registry = Registry::start().await;
    for (session, hours_ago) in [("z", 2), ("b", 1), ("é", 1), ("B", 1), ("a", 3), ("new", 0)] {
        open(&registry, session, hours_ago).await;
    }
    registry.add("bob", "bob's", "one").await.unwrap();
    // A rotation doesn't make a session newer.
    registry.rotate("ada", "a", "one", "two").await.unwrap();
    let expected = ["new", "B", "b", "é", "z", "a"];
    let all = list(&registry, of("ada", 0, "")).await.unwrap();
    assert_eq!(names(&all.tokens), expected);
    assert_eq!(all.next_page_token, "");
    // Pages cut through the equal ones, and neither lose nor repeat one.
    for size in 1..=7 {
        let pages = pages(&registry, of("ada", size, "")).await;
        let wanted = usize::try_from(size).unwrap();
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == wanted), "{pages:?}");
        assert_eq!(pages.concat(), expected, "by {size}");
        assert_eq!(pages.len(), expected.len().div_ceil(wanted), "by {size}: no empty last page");
    }
}

#[tokio::test]
async fn a_listed_session_is_told_as_it_is_read() {
    let registry = Registry::start().await;
    let client = ClientInfo { ip: Some("192.0.2.1".into()), is_mobile: Some(true), ..Default::default() };
    let request = AddRefreshTokenRequest { client: Some(client), ..opening("ada", "laptop", "one") };
    registry.add_as(request).await.unwrap();
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    let listed = list(&registry, of("ada", 0, "")).await.unwrap().tokens;
    assert_eq!(listed, [registry.get("ada", "laptop").await.unwrap()]);
}

#[tokio::test]
async fn a_user_never_seen_has_an_empty_list_and_is_not_created() {
    let registry = Registry::start().await;
    let page = list(&registry, of("nobody", 0, "")).await.unwrap();
    assert_eq!(page, ListRefreshTokensResponse::default());
    assert_eq!(Rows::of(&registry).await.count("users").await, 0);
}

#[tokio::test]
async fn pages_stay_where_they_are_while_sessions_come_and_go() {
    let registry = Registry::start().await;
    for n in 0..6 {
        open(&registry, &format!("s{n}"), n).await;
    }
    let first = list(&registry, of("ada", 2, "")).await.unwrap();
    assert_eq!(names(&first.tokens), ["s0", "s1"]);
    // A newer one, one gone from the page that was read, its very last one gone, one ended and one rotated ahead.
    open(&registry, "newer", 0).await;
    let sql = registry.sql().await;
    sql.execute("delete from sessions where session in ('s0', 's1', 's3')", &[]).await.unwrap();
    registry.log_out("ada", "s2").await;
    registry.rotate("ada", "s4", "one", "two").await.unwrap();
    let rest = pages(&registry, of("ada", 2, &first.next_page_token)).await;
    assert_eq!(rest.concat(), ["s2", "s4", "s5"]);
}

#[tokio::test]
async fn a_page_has_50_by_default_and_never_more_than_500() {
    let registry = Registry::start().await;
    registry.add("ada", "model", "one").await.unwrap();
    let columns = "user_id, jti, enabled, created, session_created, session_expires, idle_expires, idle_timeout, \
                   rotation_grace";
    let copies = format!(
        "insert into sessions (session, {columns}) select 'copy ' || n, {columns} \
         from sessions, generate_series(1, 501) n"
    );
    registry.sql().await.execute(&copies, &[]).await.unwrap();
    for (size, expected) in [(0, 50), (1, 1), (500, 500), (501, 500), (i32::MAX, 500)] {
        let page = list(&registry, of("ada", size, "")).await.unwrap();
        assert_eq!(page.tokens.len(), expected, "page_size {size}");
        assert_ne!(page.next_page_token, "");
    }
    let sizes: Vec<_> = pages(&registry, of("ada", 501, "")).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [500, 2]);
}

#[tokio::test]
async fn a_negative_page_size_is_invalid() {
    let registry = Registry::start().await;
    for size in [-1, i32::MIN] {
        assert_invalid(list(&registry, of("ada", size, "")).await, &["page_size"]);
    }
    let all_wrong = ListRefreshTokensRequest { state: 99, ..of("", -1, "forged") };
    let fields = ["user_id", "state", "page_size", "page_token"];
    assert_invalid(list(&registry, all_wrong).await, &fields);
}

#[tokio::test]
async fn a_filter_lists_the_sessions_in_that_state_only() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for (n, session) in ["active", "disabled", "expired", "idle", "revoked"].into_iter().enumerate() {
        open(&registry, session, u32::try_from(n).unwrap()).await;
    }
    enable(&registry, "ada", "disabled", false).await.unwrap();
    rows.expire("ada", "expired").await;
    rows.idle_out("ada", "idle").await;
    registry.log_out("ada", "revoked").await;
    for (state, expected) in [
        (TokenState::Unspecified, &["active", "disabled", "expired", "idle", "revoked"][..]),
        (TokenState::Active, &["active"]),
        (TokenState::Disabled, &["disabled"]),
        (TokenState::Expired, &["expired", "idle"]),
        (TokenState::Revoked, &["revoked"]),
        (TokenState::UserInactive, &[]),
        // No session is ever in these.
        (TokenState::Superseded, &[]),
        (TokenState::Consumed, &[]),
        (TokenState::Unknown, &[]),
    ] {
        let page = list(&registry, in_state("ada", state)).await.unwrap();
        assert_eq!(names(&page.tokens), expected, "{state:?}");
        assert_eq!(page.next_page_token, "");
    }
    // Of an inactive user every session is USER_INACTIVE, the expired ones too.
    set_active(&registry, "ada", false).await;
    assert_eq!(list(&registry, in_state("ada", TokenState::UserInactive)).await.unwrap().tokens.len(), 5);
    assert!(list(&registry, in_state("ada", TokenState::Revoked)).await.unwrap().tokens.is_empty());
}

#[tokio::test]
async fn a_filtered_list_has_full_pages_however_rare_its_sessions_are() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for n in 0..20 {
        open(&registry, &format!("s{n:02}"), n).await;
        if n % 4 != 3 {
            rows.expire("ada", &format!("s{n:02}")).await;
        }
    }
    let request = ListRefreshTokensRequest { page_size: 2, ..in_state("ada", TokenState::Active) };
    assert_eq!(pages(&registry, request).await, [vec!["s03", "s07"], vec!["s11", "s15"], vec!["s19"]]);
}

#[tokio::test]
async fn a_page_token_goes_on_with_another_page_size() {
    let registry = Registry::start().await;
    for n in 0..5 {
        open(&registry, &format!("s{n}"), n).await;
    }
    let token = list(&registry, of("ada", 1, "")).await.unwrap().next_page_token;
    let rest = list(&registry, of("ada", 3, &token)).await.unwrap();
    assert_eq!(names(&rest.tokens), ["s1", "s2", "s3"]);
    // And again: reading a page doesn't use its token up. Another replica knows it too.
    let replica = Registry::on(&registry.database_url, |_| {}).await;
    let rest = list(&replica, of("ada", 0, &token)).await.unwrap();
    assert_eq!(names(&rest.tokens), ["s1", "s2", "s3", "s4"]);
}

#[tokio::test]
async fn a_page_token_is_bound_to_its_query() {
    let registry = Registry::start().await;
    for session in ["a", "b", "c"] {
        registry.add("ada", session, "one").await.unwrap();
        registry.add("bob", session, "one").await.unwrap();
    }
    let token = list(&registry, of("ada", 1, "")).await.unwrap().next_page_token;
    assert_invalid(list(&registry, of("bob", 1, &token)).await, &["page_token"]);
    let filtered = ListRefreshTokensRequest { page_token: token, ..in_state("ada", TokenState::Active) };
    assert_invalid(list(&registry, filtered.clone()).await, &["page_token"]);
    let request = ListRefreshTokensRequest { page_size: 1, page_token: String::new(), ..filtered };
    let token = list(&registry, request).await.unwrap().next_page_token;
    assert_invalid(list(&registry, of("ada", 1, &token)).await, &["page_token"]);
    let other_state = ListRefreshTokensRequest { page_token: token, ..in_state("ada", TokenState::Disabled) };
    assert_invalid(list(&registry, other_state).await, &["page_token"]);
}

#[tokio::test]
async fn a_forged_page_token_is_invalid() {
    let registry = Registry::start().await;
    for session in ["a", "b"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    let token = list(&registry, of("ada", 1, "")).await.unwrap().next_page_token;
    // One character changed, wherever it is.
    for place in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert_invalid(list(&registry, of("ada", 1, &forged)).await, &["page_token"]);
    }
    for forged in ["x", "2030-01-01 a", "😀", &token[1..], &token[..token.len() - 1], &format!("{token}A")]
    {
        assert_invalid(list(&registry, of("ada", 1, forged)).await, &["page_token"]);
    }
    // Of another registry, which has another key.
    let other = Registry::start().await;
    assert_invalid(list(&other, of("ada", 1, &token)).await, &["page_token"]);
}

/// What may happen to a user's sessions between two pages.
#[derive(Debug, Clone)]
enum Happening {
    Login,
    Rotation(Index),
    Logout(Index),
    /// Its row goes, as the purge lets it.
    Gone(Index),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::Login),
        any::<Index>().prop_map(Happening::Rotation),
        any::<Index>().prop_map(Happening::Logout),
        any::<Index>().prop_map(Happening::Gone),
    ]
}

/// A user's list that is read while it changes: page by page, of these sizes, with these things happening after each.
async fn read_while_it_changes(
    registry: &Registry,
    user_id: &str,
    opened: &[u32],
    pages: &[(i32, Vec<Happening>)],
    filter: bool,
) {
    let rows = Rows::of(registry).await;
    let sql = registry.sql().await;
    // By name: how old, and whether nothing happened to it that the filter would see. Some are equally old.
    let mut sessions = BTreeMap::new();
    for (n, hours) in opened.iter().enumerate() {
        let session = format!("s{n}");
        registry.add(user_id, &session, "0").await.unwrap();
        let created = format!("session_created = clock_timestamp()::date - interval '{hours} hours'");
        rows.set(user_id, &session, &created).await;
        sessions.insert(session, *hours);
    }
    let (mut present, mut untouched) = (sessions.clone(), sessions.keys().cloned().collect::<BTreeSet<_>>());
    let mut request = of(user_id, 1, "");
    if filter {
        request.state = TokenState::Active.into();
    }
    let mut listed: Vec<String> = Vec::new();
    let mut logins = 0;
    for (size, happenings) in pages.iter().cycle() {
        request.page_size = *size;
        let page = list(registry, request.clone()).await.unwrap();
        listed.extend(page.tokens.into_iter().map(|token| token.session));
        assert!(listed.len() <= opened.len(), "more than there were: {listed:?}");
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        for happening in happenings {
            let of_these = |index: &Index| {
                (!present.is_empty()).then(|| present.keys().nth(index.index(present.len())).unwrap().clone())
            };
            match happening {
                Happening::Login => {
                    logins += 1;
                    registry.add(user_id, &format!("new{logins}"), "0").await.unwrap();
                }
                Happening::Rotation(index) => {
                    if let Some(session) = of_these(index) {
                        let row = registry.get(user_id, &session).await.unwrap();
                        // Refused where it was logged out.
                        let _ = registry.rotate(user_id, &session, &row.jti, &format!("{}x", row.jti)).await;
                    }
                }
                Happening::Logout(index) => {
                    if let Some(session) = of_these(index) {
                        registry.log_out(user_id, &session).await;
                        if filter {
                            untouched.remove(&session);
                        }
                    }
                }
                Happening::Gone(index) => {
                    if let Some(session) = of_these(index) {
                        let gone = "delete from sessions where user_id = $1 and session = $2";
                        sql.execute(gone, &[&user_id, &session]).await.unwrap();
                        present.remove(&session);
                        untouched.remove(&session);
                    }
                }
            }
        }
    }
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a session is listed twice: {listed:?}");
    assert!(untouched.is_subset(&once), "{untouched:?} were there all the time: {listed:?}");
    assert!(once.iter().all(|session| sessions.contains_key(session)), "a later login: {listed:?}");
    assert!(
        listed.is_sorted_by_key(|session| (sessions[session], session.clone())),
        "not the newest first: {listed:?} of {sessions:?}"
    );
}

#[test]
fn whatever_happens_between_pages_each_session_is_listed_once_in_its_place() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let registry = runtime.block_on(Registry::start());
    let input = (vec(0_u32..4, 2..14), vec((1_i32..5, vec(happening(), 0..4)), 1..6), any::<bool>());
    let users = AtomicU32::new(0);
    let cases = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(cases).run(&input, |(opened, pages, filter)| {
        let user_id = format!("user {}", users.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(read_while_it_changes(&registry, &user_id, &opened, &pages, filter));
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}
