//! Real clients in other languages, as a person would run them: see `clients/`.

use std::io::Write as _;
use std::process::Command;

use crate::support::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn python_go_node_java_grpcurl_and_django_log_in_rotate_and_read_why_a_replay_is_refused() {
    let registry = Registry::start().await;
    let address = registry.address.to_string();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/run-all"))
            .arg(address)
            .output()
            .expect("clients/run-all starts")
    })
    .await
    .expect("clients/run-all ends");
    // Past the test runner's capture: which languages were run, and which this machine lacks, is for everybody to see.
    let _ = std::io::stderr().write_all(&output.stdout);
    let _ = std::io::stderr().write_all(&output.stderr);
    assert!(output.status.success(), "a client failed");
}
