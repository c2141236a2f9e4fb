//! Hostile peers: whatever they send, the others are answered, and the server's memory stays where it was.
//! `cargo run --release --example hostile` does the same for longer, and prints what it sees.

mod attacks;
mod bounds;
mod good_client;
mod http2;
mod limits;
mod memory;
mod random;
mod report;
mod requests;
#[path = "../../fuzz/targets.rs"]
mod targets;

use std::time::Duration;

use attacks::Name;
use good_client::GoodClient;

use crate::support::process::Process;
use crate::support::{connect, fresh_database};

/// How much memory an attack may cost, in bytes. Generous: a debug build, and what an allocator keeps.
const MEMORY: u64 = 300 << 20;

/// A user with as many sessions as a page has.
const RICH: &str = "insert into users (user_id) values ('rich');
    insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                          idle_timeout, rotation_grace, browser, device, os)
    select 'rich', n::text, 'one', true, now(), now(), now() + interval '1 day', now() + interval '1 day',
           interval '1 day', interval '30 seconds', repeat('b', 64), repeat('d', 64), repeat('o', 64)
    from generate_series(1, 500) n";

/// Attacks a server in a process of its own, with a good client beside each attack.
async fn attacked(name: Name) {
    let database = fresh_database().await;
    connect(&database.url).await.batch_execute(RICH).await.unwrap();
    let filter = "warn,token_registry::cli=info,token_registry::grpc::health=info";
    let mut server = Process::serve(&database.url, &[("TOKEN_REGISTRY_LOG_FILTER", filter)]);
    let address = server.serving().await;
    // What a first call costs, whoever makes it.
    GoodClient::start(address).end().await;
    let before = memory::resident(server.id());
    memory::peak(server.id());
    let good = GoodClient::start(address);
    let done = attacks::run(name, address, Duration::from_millis(500)).await;
    let good = good.end().await;
    let peak = memory::peak(server.id());
    server.terminate();
    let (status, said) = server.ended();

    let name = name.text();
    println!("{}", report::row(name, done, &good, [before, peak]));
    assert!(done.sent > 0, "{name}: nothing was sent");
    assert_eq!(good.failed, Vec::<String>::new(), "{name}");
    assert!(!good.took.is_empty(), "{name}: the good client got nothing done");
    assert!(peak < before + MEMORY, "{name}: {before} bytes became {peak}");
    assert!(status.success(), "{name}: {said}");
    assert!(!said.contains("panic") && !said.contains("\"ERROR\""), "{name}: {said}");
}

macro_rules! attacks {
    ($($test:ident $name:ident,)*) => {
        const TESTED: &[Name] = &[$(Name::$name,)*];
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                attacked(Name::$name).await;
            }
        )*
    };
}

attacks! {
    half_open_connections HalfOpen,
    slow_prefaces SlowPreface,
    slow_bodies SlowBodies,
    held_bodies HeldBodies,
    rapid_resets RapidReset,
    resets_that_the_server_is_made_to_send MadeYouReset,
    too_many_streams Streams,
    a_flood_of_settings Settings,
    a_flood_of_pings Pings,
    a_flood_of_priorities Priorities,
    a_flood_of_windows Windows,
    empty_data EmptyData,
    headers_without_end Continuation,
    large_headers LargeHeaders,
    an_hpack_bomb HpackBomb,
    answers_that_nobody_reads UnreadAnswers,
    answers_through_a_tiny_window TinyWindow,
    oversized_messages Oversized,
    a_gzip_bomb GzipBomb,
    garbage Garbage,
}

#[test]
fn every_attack_is_tested() {
    assert!(attacks::ALL.iter().all(|name| TESTED.contains(name)));
}
