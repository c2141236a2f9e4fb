//! Metrics: what Prometheus reads from a running registry.

use std::net::SocketAddr;

use token_registry::proto::{
    IssueGenericTokenRequest, PurgeExpiredRequest, RevokeUserSessionsRequest, SetUserActiveRequest,
};

use crate::support::metrics::{LISTEN, get, handled, metrics_of, started, value};
use crate::support::process::Process;
use crate::support::wire::exchange;
use crate::support::{Registry, assert_refused, fresh_database, until};

const COUNTED: &str = "token_registry_counted_timestamp_seconds";

/// Waits for a series without labels that isn't there from the beginning.
async fn until_told(metrics: SocketAddr, series: &str) {
    let is_told = |text: String| {
        text.lines().any(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))
    };
    until(async || is_told(get(metrics, "/metrics").await)).await;
}

#[tokio::test]
async fn prometheus_reads_calls_rotations_revocations_gathering_and_the_pool() {
    let database = fresh_database().await;
    let server = Process::serve(&database.url, &[LISTEN, ("TOKEN_REGISTRY_MAX_SESSIONS_PER_USER", "2")]);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    let metrics = metrics_of(&server).await;

    for session in ["laptop", "phone", "tablet"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.rotate("ada", "phone", "one", "two").await.unwrap();
    registry.rotate("ada", "phone", "one", "two").await.unwrap();
    registry.rotate("ada", "phone", "one", "other").await.unwrap();
    registry.rotate("ada", "phone", "zero", "two").await.unwrap_err();
    registry.rotate("ada", "phone", "two", "three").await.unwrap_err();
    assert_eq!(registry.log_out("ada", "tablet").await, 1);
    assert_eq!(registry.log_out("ada", "tablet").await, 0);
    registry.add("bert", "laptop", "one").await.unwrap();
    let everything = RevokeUserSessionsRequest {
        user_id: "bert".into(),
        reason: token_registry::proto::RevocationReason::Administrative.into(),
        ..Default::default()
    };
    registry.whitelist.clone().revoke_user_sessions(everything).await.unwrap();
    registry.add("bert", "laptop2", "one").await.unwrap();
    let issue =
        IssueGenericTokenRequest { user_id: "bert".into(), purpose: "reset".into(), ..Default::default() };
    registry.generic.clone().issue_generic_token(issue).await.unwrap();
    let suspend = SetUserActiveRequest { user_id: "bert".into(), active: Some(false) };
    registry.users.clone().set_user_active(suspend).await.unwrap();

    let text = get(metrics, "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let expected = [
        (handled("WhitelistService", "AddRefreshToken", "OK"), 5),
        (handled("WhitelistService", "RotateRefreshToken", "OK"), 3),
        (handled("WhitelistService", "RotateRefreshToken", "FailedPrecondition"), 2),
        (
            started("WhitelistService", "RotateRefreshToken"),
            5,
        ),
        (
            "grpc_server_handling_seconds_count{grpc_type=\"unary\",grpc_service=\"tokenregistry.v1.WhitelistService\",grpc_method=\"RotateRefreshToken\"}".into(),
            5,
        ),
        ("token_registry_rotations_total{result=\"rotated\"}".into(), 1),
        ("token_registry_rotations_total{result=\"retried\"}".into(), 1),
        ("token_registry_rotations_total{result=\"grace\"}".into(), 1),
        ("token_registry_rotations_total{result=\"replayed\"}".into(), 1),
        ("token_registry_rotations_total{result=\"refused\"}".into(), 1),
        ("token_registry_revoked_total{kind=\"session\",reason=\"REPLAY\"}".into(), 1),
        ("token_registry_revoked_total{kind=\"session\",reason=\"LOGOUT\"}".into(), 1),
        ("token_registry_revoked_total{kind=\"session\",reason=\"SESSION_LIMIT\"}".into(), 1),
        ("token_registry_revoked_total{kind=\"session\",reason=\"ADMINISTRATIVE\"}".into(), 1),
        ("token_registry_revoked_total{kind=\"session\",reason=\"USER_DEACTIVATED\"}".into(), 1),
        ("token_registry_revoked_total{kind=\"generic_token\",reason=\"USER_DEACTIVATED\"}".into(), 1),
        // One call at a time: all went at once.
        ("token_registry_single_requests_total{lane=\"rotate_session\",why=\"direct\"}".into(), 5),
        ("token_registry_gathered_set_size_count{lane=\"rotate_session\"}".into(), 0),
        ("token_registry_pool_connections_max{pool=\"single\"}".into(), 8),
        ("token_registry_pool_waiting{pool=\"sets\"}".into(), 0),
    ];
    for (series, expected) in expected {
        assert_eq!(value(&text, &series), Some(expected), "{series} in {text}");
    }
    assert!(value(&text, "token_registry_pool_connections{pool=\"single\"}").unwrap() >= 1, "{text}");
    // The look whether the database is there takes one now and then.
    let in_use = "token_registry_pool_connections_in_use{pool=\"single\"}";
    until(async || value(&get(metrics, "/metrics").await, in_use) == Some(0)).await;

    assert!(get(metrics, "/").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn prometheus_reads_what_there_is_and_what_the_purge_took() {
    let registry = Registry::start().await;
    for session in ["laptop", "phone", "tablet"] {
        registry.add("ada", session, "one").await.unwrap();
    }
    registry.rotate("ada", "laptop", "one", "two").await.unwrap();
    assert_eq!(registry.log_out("ada", "tablet").await, 1);
    let sql = registry.sql().await;
    sql.execute(
        "update sessions set revoked_at = revoked_at - interval '8 days' where session = 'tablet'",
        &[],
    )
    .await
    .unwrap();

    let server = Process::serve(
        &registry.database_url,
        &[LISTEN, ("TOKEN_REGISTRY_PURGE_INTERVAL", "1d"), ("TOKEN_REGISTRY_PURGE_RETENTION", "7d")],
    );
    let reached = Registry::reached_at(server.serving().await, &registry.database_url);
    let metrics = metrics_of(&server).await;
    until_told(metrics, COUNTED).await;
    let purge = PurgeExpiredRequest { apply: true, ..Default::default() };
    reached.maintenance.clone().purge_expired(purge).await.unwrap();
    let text = get(metrics, "/metrics").await;
    for (series, expected) in [
        ("token_registry_rows{kind=\"session\",state=\"ACTIVE\"}", 2),
        ("token_registry_rows{kind=\"session\",state=\"REVOKED\"}", 1),
        ("token_registry_rows{kind=\"user\",state=\"ACTIVE\"}", 1),
        ("token_registry_purge_retention_seconds", 7 * 24 * 3600),
        ("token_registry_purged_total{kind=\"session\"}", 1),
        ("token_registry_purged_total{kind=\"auth_token\"}", 0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in {text}");
    }
    let number = |series: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} in {text}")).parse().unwrap()
    };
    let days = number("token_registry_oldest_expired_age_seconds") / (24.0 * 3600.0);
    assert!((8.0..8.1).contains(&days), "{days}");
    assert!(number("token_registry_table_bytes{table=\"sessions\"}") > 0.0);
    for series in ["token_registry_table_updates_total", "token_registry_table_hot_updates_total"] {
        let _ = number(&format!("{series}{{table=\"sessions\"}}"));
    }
}

#[tokio::test]
async fn prometheus_reads_when_a_replica_has_purged() {
    let database = fresh_database().await;
    let server = Process::serve(&database.url, &[LISTEN, ("TOKEN_REGISTRY_PURGE_INTERVAL", "50ms")]);
    server.serving().await;
    let metrics = metrics_of(&server).await;
    until_told(metrics, "token_registry_purge_finished_timestamp_seconds").await;
}

#[tokio::test]
async fn requests_that_go_together_are_counted_as_a_set() {
    let database = fresh_database().await;
    let server = Process::serve(&database.url, &[LISTEN, ("TOKEN_REGISTRY_GATHERING", "true")]);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    let metrics = metrics_of(&server).await;
    let mut sessions = tokio::task::JoinSet::new();
    for n in 0..200 {
        let registry = registry.another_client();
        sessions.spawn(async move { registry.add("ada", &format!("session-{n}"), "one").await.unwrap() });
    }
    sessions.join_all().await;
    let text = get(metrics, "/metrics").await;
    let of = |series: &str| value(&text, series).unwrap_or_default();
    let lane = "{lane=\"open_session\"}";
    let sets = of(&format!("token_registry_gathered_set_size_count{lane}"));
    let members = of(&format!("token_registry_gathered_set_size_sum{lane}"));
    assert!(sets >= 1 && members >= sets, "{text}");
    assert_eq!(of(&format!("token_registry_gathered_wait_seconds_count{lane}")), sets, "{text}");
    let direct = of("token_registry_single_requests_total{lane=\"open_session\",why=\"direct\"}");
    assert_eq!(direct + members, 200, "{text}");
    assert!(of("token_registry_single_requests_total{lane=\"open_session\",why=\"left_out\"}") <= members);
}

#[tokio::test]
async fn methods_that_nobody_has_make_no_series_of_their_own() {
    let database = fresh_database().await;
    let server = Process::serve(&database.url, &[LISTEN]);
    let address = server.serving().await;
    let metrics = metrics_of(&server).await;
    // Of calls: what upkeep tells comes when it comes.
    let of_calls = |text: String| text.lines().filter(|line| line.starts_with("grpc_server_")).count();
    let series = async || of_calls(get(metrics, "/metrics").await);
    let unknown = async |path: &str| {
        let status = exchange(address, path, &[], Vec::new()).await.status();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    };
    unknown("/tokenregistry.v1.WhitelistService/NoMethod").await;
    let before = series().await;
    for n in 0..50 {
        unknown(&format!("/made.up.Service{n}/Method{n}")).await;
        unknown(&format!("/tokenregistry.v1.WhitelistService/Canary{n}")).await;
    }
    assert_eq!(series().await, before);
    let text = get(metrics, "/metrics").await;
    assert!(!text.contains("made.up") && !text.contains("Canary"), "{text}");
    let labels = "grpc_type=\"unknown\",grpc_service=\"unknown\",grpc_method=\"unknown\"";
    assert_eq!(
        value(&text, &format!("grpc_server_handled_total{{{labels},grpc_code=\"Unimplemented\"}}")),
        Some(101),
        "{text}"
    );
}

#[tokio::test]
async fn a_call_that_its_caller_gives_up_counts_as_canceled() {
    let database = fresh_database().await;
    let server = Process::serve(&database.url, &[LISTEN]);
    let registry = Registry::reached_at(server.serving().await, &database.url);
    let metrics = metrics_of(&server).await;
    registry.add("ada", "laptop", "one").await.unwrap();
    let (mut sql, watching) = (registry.sql().await, registry.sql().await);
    let lock = sql.transaction().await.unwrap();
    lock.execute("select from sessions for update", &[]).await.unwrap();
    let caller = registry.another_client();
    let given_up = tokio::spawn(async move { caller.rotate("ada", "laptop", "one", "two").await });
    crate::support::until_waiting_for_locks(&watching, 1).await;
    given_up.abort();
    let canceled = handled("WhitelistService", "RotateRefreshToken", "Canceled");
    until(async || value(&get(metrics, "/metrics").await, &canceled) == Some(1)).await;
    // What was begun is finished, and counted as what it became.
    lock.commit().await.unwrap();
    let rotated = "token_registry_rotations_total{result=\"rotated\"}";
    until(async || value(&get(metrics, "/metrics").await, rotated) == Some(1)).await;
    let rotated = registry.rotate("ada", "laptop", "never", "two").await;
    assert_refused(rotated, tonic::Code::FailedPrecondition, "TOKEN_REPLAYED");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_and_nothing_is_served() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let database = fresh_database().await;
    let mut server = Process::serve(&database.url, &[("TOKEN_REGISTRY_METRICS_LISTEN", &address)]);
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("can't serve metrics on {address}")), "{said}");
}

#[tokio::test]
async fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let database = fresh_database().await;
    let server = Process::serve(&database.url, &[LISTEN]);
    server.serving().await;
    let text = get(metrics_of(&server).await, "/metrics").await;
    for asking in [
        include_str!("../deploy/grafana/token-registry.json"),
        include_str!("../deploy/prometheus/alerts.yaml"),
    ] {
        let words = asking.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics =
            words.filter(|word| word.starts_with("grpc_server_") || word.starts_with("token_registry_"));
        // Those are there where calls are encrypted: tests/tls.rs reads them.
        let of_tls = [
            "token_registry_certificate_expires_timestamp_seconds",
            "token_registry_revocation_list_expires_timestamp_seconds",
        ];
        let metrics = metrics.filter(|word| !of_tls.contains(word));
        let mut count = 0;
        for metric in metrics {
            let family =
                ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| metric.strip_suffix(end));
            let declared = format!("# TYPE {} ", family.unwrap_or(metric));
            assert!(text.contains(&declared), "{metric} is asked for, and there is none");
            count += 1;
        }
        assert!(count > 5, "{count}");
    }
}
