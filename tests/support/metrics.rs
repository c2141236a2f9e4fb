//! What a registry says of itself to Prometheus.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::process::Process;
use super::until;

/// Has a process serve its metrics.
pub const LISTEN: (&str, &str) = ("TOKEN_REGISTRY_METRICS_LISTEN", "127.0.0.1:0");

/// Where a process serves its metrics.
pub async fn metrics_of(server: &Process) -> SocketAddr {
    let find = || {
        let said = server.said();
        let line = said.lines().find(|line| line.contains("\"message\":\"metrics are served\""))?;
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["address"].as_str()?.parse().ok()
    };
    until(async || find().is_some()).await;
    find().unwrap()
}

/// Asks for a path.
pub async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The value of a series, written as in the text; none if it isn't there or isn't whole.
pub fn value(text: &str, series: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.strip_suffix(".0").unwrap_or(value).parse().ok()
}

/// The series of calls of a method that were answered with a code.
pub fn handled(service: &str, method: &str, code: &str) -> String {
    format!(
        "grpc_server_handled_total{{grpc_type=\"unary\",grpc_service=\"tokenregistry.v1.{service}\",grpc_method=\"{method}\",grpc_code=\"{code}\"}}"
    )
}

/// The series of calls of a method that were started.
pub fn started(service: &str, method: &str) -> String {
    format!(
        "grpc_server_started_total{{grpc_type=\"unary\",grpc_service=\"tokenregistry.v1.{service}\",grpc_method=\"{method}\"}}"
    )
}
