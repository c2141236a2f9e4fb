//! What is kept of the client: what the caller says, what a user agent tells, and never the user agent itself.

use futures_util::future::join_all;
use token_registry::proto::{AddRefreshTokenRequest, ClientInfo, RefreshToken, RotateRefreshTokenRequest};
use tonic::Status;

use crate::support::process::Process;
use crate::support::sessions::{Rows, opening, rotation};
use crate::support::{Registry, assert_invalid, fresh_database};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
    (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";

async fn add(registry: &Registry, session: &str, client: ClientInfo) -> Result<RefreshToken, Status> {
    let request = AddRefreshTokenRequest { client: Some(client), ..opening("ada", session, "one") };
    registry.add_as(request).await
}

/// Opens a session from this client, and answers the client as it is kept.
async fn kept(registry: &Registry, session: &str, client: ClientInfo) -> ClientInfo {
    let added = client_of(add(registry, session, client).await.expect("a session"));
    let read = client_of(registry.get("ada", session).await.expect("the session"));
    assert_eq!(added, read);
    read
}

fn client_of(token: RefreshToken) -> ClientInfo {
    token.base.expect("a base").client.expect("a client")
}

fn with_ip(ip: &str) -> ClientInfo {
    ClientInfo { ip: Some(ip.into()), ..Default::default() }
}

/// What the iPhone's user agent tells.
fn iphone() -> ClientInfo {
    ClientInfo {
        is_mobile: Some(true),
        is_tablet: Some(false),
        is_pc: Some(false),
        is_bot: Some(false),
        browser: Some("Mobile Safari".into()),
        browser_version: Some("17.5".into()),
        os: Some("iOS".into()),
        os_version: Some("17.5".into()),
        device: Some("iPhone".into()),
        device_brand: Some("Apple".into()),
        device_model: Some("iPhone".into()),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_seeds_first_example_creates_a_whitelisted_refresh_token() {
    let registry = Registry::start().await;
    let user_instance = "user_instance";
    let refresh_token = registry
        .add_as(AddRefreshTokenRequest {
            user_id: user_instance.into(),
            jti: "unique_jti_string".into(),
            session: "session_id_123".into(),
            client: Some(ClientInfo {
                ip: Some("192.168.1.1".into()),
                is_mobile: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(refresh_token.user_id, user_instance);
    assert_eq!(refresh_token.jti, "unique_jti_string");
    assert_eq!(refresh_token.session, "session_id_123");
    assert!(refresh_token.enabled);
    let base = refresh_token.base.unwrap();
    assert!(base.id > 0);
    assert!(base.created.is_some());
    let told = ClientInfo { is_mobile: Some(true), ..with_ip("192.168.1.1") };
    assert_eq!(base.client.unwrap(), told);
}

#[tokio::test]
async fn what_is_not_told_stays_absent() {
    let registry = Registry::start().await;
    let token = registry.add("ada", "without a client", "one").await.unwrap();
    assert_eq!(client_of(token), ClientInfo::default());
    assert_eq!(kept(&registry, "an empty client", ClientInfo::default()).await, ClientInfo::default());
    let told = ClientInfo { is_pc: Some(false), ..Default::default() };
    assert_eq!(kept(&registry, "false is not absent", told.clone()).await, told);
}

#[tokio::test]
async fn everything_that_is_told_is_kept() {
    let registry = Registry::start().await;
    let told = ClientInfo { is_bot: Some(true), is_pc: Some(true), is_tablet: Some(true), ..iphone() };
    assert_eq!(kept(&registry, "laptop", told.clone()).await, told);
}

#[tokio::test]
async fn a_user_agent_is_read_into_the_fields_that_are_not_set() {
    let registry = Registry::start().await;
    let told = ClientInfo { user_agent: Some(IPHONE.into()), ..Default::default() };
    assert_eq!(kept(&registry, "phone", told).await, iphone());
}

#[tokio::test]
async fn what_is_set_explicitly_wins_over_the_user_agent_even_false_and_the_empty_string() {
    let registry = Registry::start().await;
    let told = ClientInfo {
        is_mobile: Some(false),
        is_bot: Some(true),
        os: Some(String::new()),
        device_brand: Some("Pear".into()),
        ..Default::default()
    };
    let asked = ClientInfo { user_agent: Some(IPHONE.into()), ..told.clone() };
    let expected = ClientInfo {
        is_mobile: told.is_mobile,
        is_bot: told.is_bot,
        os: told.os,
        device_brand: told.device_brand,
        ..iphone()
    };
    assert_eq!(kept(&registry, "phone", asked).await, expected);
}

#[tokio::test]
async fn a_rotations_user_agent_is_read_too() {
    let registry = Registry::start().await;
    registry.add("ada", "phone", "one").await.unwrap();
    let client = ClientInfo { user_agent: Some(IPHONE.into()), ..Default::default() };
    let request = RotateRefreshTokenRequest { client: Some(client), ..rotation("ada", "phone", "one") };
    assert_eq!(client_of(registry.rotate_as(request).await.unwrap().token.unwrap()), iphone());
}

#[tokio::test]
async fn a_user_agent_that_tells_nothing_is_other_and_fails_no_login() {
    let registry = Registry::start().await;
    for (n, user_agent) in ["", "\0\u{1}\u{7f}", "💩", "(((((((((", "Mozilla/5.0"].into_iter().enumerate() {
        let told = ClientInfo { user_agent: Some(user_agent.into()), ..Default::default() };
        let kept = kept(&registry, &format!("s{n}"), told).await;
        assert_eq!((kept.browser.as_deref(), kept.os.as_deref()), (Some("Other"), Some("Other")));
        assert_eq!((kept.is_mobile, kept.device_brand), (Some(false), None));
    }
}

#[tokio::test]
async fn a_user_agent_of_10_kilobytes_fails_no_login() {
    let registry = Registry::start().await;
    let long = format!("{IPHONE}{}", "x".repeat(10_000));
    let told = ClientInfo { user_agent: Some(long), ..Default::default() };
    assert_eq!(kept(&registry, "phone", told).await, iphone());
    // Characters of several bytes, so that a cut by bytes would hit the midst of one.
    for (n, unit) in ["é", "漢", "😀", "a😀"].into_iter().enumerate() {
        let told = ClientInfo { user_agent: Some(unit.repeat(2_500)), ..Default::default() };
        kept(&registry, &format!("s{n}"), told).await;
    }
}

#[tokio::test]
async fn a_user_agent_is_neither_stored_nor_told() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    let secret = "ada@example.org";
    let user_agent = format!("{IPHONE} ({secret})");
    let told = ClientInfo { user_agent: Some(user_agent), ..Default::default() };
    assert_eq!(kept(&registry, "phone", told).await.user_agent, None);
    assert!(!rows.row("ada", "phone").await.to_string().contains(secret));
}

#[tokio::test]
async fn one_host_is_kept_in_one_spelling() {
    let registry = Registry::start().await;
    let rows = Rows::of(&registry).await;
    for (n, (told, canonical)) in [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:0a00:0001", "10.0.0.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:0db8::0001", "2001:db8::1"),
        ("::1", "::1"),
        ("::", "::"),
        ("0.0.0.0", "0.0.0.0"),
        ("255.255.255.255", "255.255.255.255"),
    ]
    .into_iter()
    .enumerate()
    {
        let session = format!("s{n}");
        assert_eq!(kept(&registry, &session, with_ip(told)).await, with_ip(canonical), "{told}");
        assert_eq!(rows.value("ada", &session, "host(ip)").await, canonical, "{told}");
    }
}

#[tokio::test]
async fn an_ip_that_is_not_a_bare_address_is_invalid_and_opens_nothing() {
    let registry = Registry::start().await;
    for ip in [
        "",
        " ",
        " 10.0.0.1",
        "10.0.0.1\n",
        "fe80::1%eth0",
        "fe80::1%1",
        "10.0.0.0/24",
        "2001:db8::/32",
        "10.0.0.1:443",
        "[::1]",
        "[::1]:443",
        "010.0.0.1",
        "10.0.1",
        "256.0.0.1",
        "1::2::3",
        "10.0.0.1, 10.0.0.2",
        "localhost",
        "unknown",
        &"1".repeat(10_000),
    ] {
        let status = assert_invalid(add(&registry, "laptop", with_ip(ip)).await, &["client.ip"]);
        assert!(ip.trim().is_empty() || !status.message().contains(ip), "{ip:?} comes back");
    }
    assert_eq!(Rows::of(&registry).await.count("users").await, 0);
}

/// A client whose seven device strings are all this text.
fn all_texts(text: &str) -> ClientInfo {
    let text = Some(text.to_owned());
    ClientInfo {
        browser: text.clone(),
        browser_version: text.clone(),
        os: text.clone(),
        os_version: text.clone(),
        device: text.clone(),
        device_brand: text.clone(),
        device_model: text,
        ..Default::default()
    }
}

#[tokio::test]
async fn device_strings_too_long_for_their_columns_are_cut_at_a_character_boundary() {
    let registry = Registry::start().await;
    for (n, unit) in ["x", "é", "漢", "😀"].into_iter().enumerate() {
        for (length, expected) in [(64, 64), (65, 64), (2_000, 64)] {
            let kept = kept(&registry, &format!("{n} {length}"), all_texts(&unit.repeat(length))).await;
            assert_eq!(kept, all_texts(&unit.repeat(expected)), "{length} times {unit}");
        }
    }
    let rotated = RotateRefreshTokenRequest {
        client: Some(all_texts(&"漢".repeat(1_000))),
        ..rotation("ada", "0 64", "one")
    };
    let token = registry.rotate_as(rotated).await.unwrap().token.unwrap();
    assert_eq!(client_of(token), all_texts(&"漢".repeat(64)));
}

#[tokio::test]
async fn control_characters_in_device_strings_are_dropped_before_the_cut() {
    let registry = Registry::start().await;
    for (n, (told, expected)) in [
        ("a\0b".to_owned(), "ab".to_owned()),
        ("\u{1b}[31mred\r\n\t\u{7f}\u{85}".into(), "[31mred".into()),
        ("\n".into(), String::new()),
        (String::new(), String::new()),
        (format!("{}{}", "\0".repeat(100), "é".repeat(70)), "é".repeat(64)),
    ]
    .into_iter()
    .enumerate()
    {
        let kept = kept(&registry, &format!("s{n}"), all_texts(&told)).await;
        assert_eq!(kept, all_texts(&expected), "{told:?}");
    }
}

#[tokio::test]
async fn a_flood_of_new_user_agents_fails_no_login_and_leaves_no_device_half_told() {
    let database = fresh_database().await;
    // A process of its own: the other tests' user agents are to be read.
    let server = Process::serve(&database.url, &[]);
    let address = server.serving().await;
    // So that 400 come at once, more than may wait to be read.
    let connections: Vec<_> = (0..4).map(|_| Registry::reached_at(address, &database.url)).collect();
    let logins = join_all((0..1000_usize).map(|n| {
        let client = ClientInfo {
            user_agent: Some(format!("{IPHONE} {n}")),
            ip: Some("192.0.2.7".into()),
            ..ClientInfo::default()
        };
        let user_id = format!("user {n}");
        let request = AddRefreshTokenRequest { client: Some(client), ..opening(&user_id, "phone", "one") };
        connections[n % connections.len()].add_as(request)
    }))
    .await;
    let told = ClientInfo { ip: Some("192.0.2.7".into()), ..iphone() };
    let mut with_device = 0;
    for login in logins {
        let client = client_of(login.expect("a login"));
        if client == told {
            with_device += 1;
        } else {
            assert_eq!(client, with_ip("192.0.2.7"));
        }
    }
    // How many go without is up to the machine.
    assert!(with_device > 0);
}
