//! The process that is measured: the registry as it ships, with the echo beside its services.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use token_registry::config::LogFormat;
use token_registry::grpc::{Guard, Health, Registry};
use token_registry::store::Store;
use token_registry::{server, telemetry};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::Failure;
use crate::cluster::configuration;
use crate::echo::Echo;
use crate::plain::Plain;

/// What the process says when it is ready: one line of JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Ready {
    /// The registry with its transport and layer, and the echo in it.
    pub registry: SocketAddr,
    /// The echo and the plain handler, on a tonic server with nothing else.
    pub bare: SocketAddr,
    /// Whether the requests are gathered.
    pub gathered: bool,
}

/// As many as a server that ships has, or as `TOKIO_WORKER_THREADS` says, to compare.
fn threads() -> usize {
    let told = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|told| told.parse().ok());
    told.unwrap_or_else(server::worker_threads)
}

/// Serves until standard input ends, that is until the bench lets go of it or is gone.
pub fn serve(database_url: &str, ungathered: bool) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build()?;
    runtime.block_on(async {
        let mut config = configuration(database_url);
        config.gathering = !ungathered;
        config.log_filter = "warn".into();
        config.log_format = LogFormat::Text;
        let _telemetry = telemetry::start(&config)?;
        let metrics = Arc::new(telemetry::Metrics::default());
        let store = Arc::new(Store::new(&config, &metrics)?);
        store.open(&config).await?;
        // As in the server that ships: readiness follows the database all the time.
        let (reporter, _) = tonic_health::server::health_reporter();
        let (health, followed) = (Health::starting(reporter).await, Arc::clone(&store));
        tokio::spawn(async move { health.follow(&followed).await });

        let registry = TcpListener::bind("127.0.0.1:0").await?;
        let bare = TcpListener::bind("127.0.0.1:0").await?;
        let ready =
            Ready { registry: registry.local_addr()?, bare: bare.local_addr()?, gathered: config.gathering };
        let incoming = |listener| TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(
            server::transport(&metrics, &config)
                .layer(Guard::new(None))
                .add_routes(Registry::new(store, Arc::clone(&metrics), &config).routes())
                .add_service(Echo::default())
                .serve_with_incoming(incoming(registry)),
        );
        let plain = Plain::on(database_url).await?;
        let rivals = Server::builder().add_service(Echo::default()).add_service(plain);
        tokio::spawn(rivals.serve_with_incoming(incoming(bare)));
        println!("{}", serde_json::to_string(&ready)?);
        std::io::stdout().flush()?;
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        Ok(())
    })
}
