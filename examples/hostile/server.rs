//! A server in a process of its own, on a database of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use token_registry::config::Config;
use token_registry::store;

use crate::Failure;
use crate::attacks::RICH_USER;
use crate::postgres::{Cluster, Database};

/// How long a server may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server, killed when it is dropped.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
    panics: Arc<AtomicUsize>,
    _database: Database,
}

impl Server {
    /// Starts one.
    pub async fn start(cluster: &Cluster) -> Result<Self, Failure> {
        let database = cluster.create_database();
        let config = Config { database_url: Some(database.url.clone().into()), ..Config::default() };
        store::migrate(&config).await?;
        fill(&database.url).await?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg("serve")
            .env_clear()
            .env("DATABASE_URL", &database.url)
            .env("TOKEN_REGISTRY_LISTEN", "127.0.0.1:0")
            .env("TOKEN_REGISTRY_LOG_FORMAT", "json")
            .env(
                "TOKEN_REGISTRY_LOG_FILTER",
                "warn,token_registry::cli=info,token_registry::grpc::health=info",
            )
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = process.stderr.take().ok_or("no standard error")?;
        let (panics, (serving, served)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
        let counted = Arc::clone(&panics);
        std::thread::spawn(move || {
            let mut address = None;
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if line.contains("\"panic") {
                    eprintln!("{line}");
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                match line["message"].as_str() {
                    Some("listening") => {
                        address = line["address"].as_str().and_then(|text| text.parse().ok());
                    }
                    Some("serving") => drop(address.map(|address| serving.send(address))),
                    _ => {}
                }
            }
        });
        let address = tokio::task::spawn_blocking(move || served.recv_timeout(PATIENCE)).await??;
        Ok(Self { process, address, panics, _database: database })
    }

    /// Its process' number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Panics that it has logged.
    pub fn panics(&self) -> usize {
        self.panics.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Gives a user as many sessions as a page has.
async fn fill(url: &str) -> Result<(), Failure> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let sql = format!(
        "insert into users (user_id) values ('{RICH_USER}');
         insert into sessions (user_id, session, jti, enabled, created, session_created, session_expires, idle_expires,
                               idle_timeout, rotation_grace, browser, device, os)
         select '{RICH_USER}', n::text, 'one', true, now(), now(), now() + interval '1 day', now() + interval '1 day',
                interval '1 day', interval '30 seconds', repeat('b', 64), repeat('d', 64), repeat('o', 64)
         from generate_series(1, 500) n"
    );
    Ok(client.batch_execute(&sql).await?)
}
