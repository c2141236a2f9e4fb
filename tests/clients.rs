//! Real clients in other languages, as a person would run them: see `clients/`.

use std::io::Write as _;
use std::process::Command;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

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

fn text(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_cookbook_shows_code_that_runs() {
    for (page, file) in [
        ("python", "clients/python/cookbook.py"),
        ("go", "clients/go/cookbook.go"),
        ("node", "clients/node/cookbook.js"),
        ("java", "clients/java/src/main/java/example/Cookbook.java"),
    ] {
        let (page, code) = (text(&format!("docs/cookbook-{page}.md")), text(file));
        // Outside and inside of fences take turns.
        let blocks: Vec<_> = page.split("\n```").skip(1).step_by(2).collect();
        assert!(blocks.len() >= 6, "{file}: connect, refusals, login, refresh, logout, check");
        for block in blocks {
            let (_language, block) = block.split_once('\n').expect("a language and code");
            assert!(code.contains(block), "not in {file}:\n{block}");
        }
    }
}

#[test]
fn the_service_config_names_every_method_and_retries_only_what_was_not_carried_out() {
    let descriptors = FileDescriptorSet::decode(token_registry::proto::DESCRIPTORS).expect("descriptors");
    let config: Value = serde_json::from_str(&text("clients/service_config.json")).expect("JSON");
    let configs = config["methodConfig"].as_array().expect("a list");
    let named = |service: &str, method: Option<&str>| {
        let is_it = |name: &Value| name["service"] == service && name["method"].as_str() == method;
        configs.iter().filter(|config| config["name"].as_array().expect("a list").iter().any(is_it)).count()
    };
    for service in descriptors.file.iter().flat_map(|file| &file.service) {
        let name = format!("tokenregistry.v1.{}", service.name());
        assert_eq!(named(&name, None), 1, "{name}");
        for method in &service.method {
            assert!(named(&name, Some(method.name())) <= 1, "{name}/{} twice", method.name());
        }
    }
    for config in configs {
        assert!(config["timeout"].as_str().is_some_and(|timeout| timeout.ends_with('s')), "{config}");
        let retried = &config["retryPolicy"]["retryableStatusCodes"];
        assert!(retried.is_null() || *retried == json!(["UNAVAILABLE"]), "{config}");
    }
}
