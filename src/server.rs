//! Runs the registry on a listener until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tower::layer::util::{Identity, Stack};

use crate::access::{Access, AccessError};
use crate::config::Config;
use crate::connections::incoming;
use crate::grpc::{Bounds, Guard, Health, Observe, Registry};
use crate::proto;
use crate::store::{Store, StoreError};
use crate::telemetry::{Metrics, serve_metrics};
use crate::tls::{Expiry, Tls, TlsError};

/// Longest question to reflection, in bytes: a name.
const REFLECTION_MESSAGE_MAX: usize = 4096;

/// Why the registry can't run, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The database is one that the registry can't be right on, or its settings are wrong.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Certificate, key or authorities can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of callers is wrong, or the keys of JWTs are.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The listener of the metrics can't be opened, or failed.
    #[error("can't serve metrics on {0}: {1}")]
    Metrics(SocketAddr, io::Error),
    /// The network failed.
    #[error("the server can't go on: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The reflection service can't be built: a fault of ours.
    #[error("the reflection service can't be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// How many threads carry out calls where the configuration doesn't say: as many as processors.
#[must_use]
pub fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs the registry until `shutdown` comes, then finishes what is under way.
///
/// The listener is served at once: while the database can't be reached, health says `NOT_SERVING` and calls are refused
/// as unavailable.
///
/// # Errors
/// The database is one that no waiting makes right, or the network failed.
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    run_with_ready(listener, config, shutdown, || {}).await
}

/// [`run`], which tells when the database was reached and its schema is right.
///
/// # Errors
/// As [`run`].
pub async fn run_with_ready(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), ServerError> {
    let metrics = Arc::new(Metrics::default());
    let store = Arc::new(Store::new(&config, &metrics)?);
    let scraped = scraped(&config, &metrics).await?;
    let access = Access::read(&config)?.map(Arc::new);
    let tls = Tls::read(&config)?.map(Arc::new);
    // Ended with this function.
    let mut following = JoinSet::new();
    if let Some(access) = access.clone() {
        following.spawn(async move { access.follow().await });
    }
    if let Some(tls) = tls.clone() {
        metrics.add(Expiry(Arc::clone(&tls)));
        following.spawn(async move { tls.follow().await });
    }
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let health = Health::starting(reporter).await;

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = router(&store, &metrics, access, &config)?
        .add_service(health_service)
        .serve_with_incoming_shutdown(incoming(listener, tls, &config), async {
            let _ = stopped.await;
        });
    // Boxed: both are large, and so would be every future that runs a server.
    let mut serving = Box::pin(serving);
    let mut shutdown = std::pin::pin!(shutdown);

    let opening = async {
        open(&store, &config).await?;
        ready();
        let counting = async {
            // Only for those who look.
            if config.metrics_listen.is_some() {
                store.follow_statistics().await;
            }
        };
        tokio::join!(
            health.follow(&store),
            store.write_uses(),
            store.purge_when_due(&config.purge),
            counting
        );
        Ok::<(), StoreError>(())
    };
    let mut scraped = Box::pin(scraped);
    tokio::select! {
        served = &mut serving => return Ok(served?),
        failed = &mut scraped => return failed,
        opened = opening => opened?,
        () = &mut shutdown => {}
    }

    tracing::info!("stopping: finishing what is under way");
    health.draining().await;
    let _ = stop.send(());
    // A peer that holds its connection open and says nothing must not hold up the end.
    let ending = async {
        tokio::select! {
            served = serving => served?,
            failed = scraped => failed?,
        }
        store.write_uses_now().await;
        Ok::<(), ServerError>(())
    };
    if let Ok(served) = tokio::time::timeout(config.shutdown_timeout, ending).await {
        served?;
        tracing::info!("stopped");
    } else {
        tracing::warn!("stopped; some connections were still open after {:?}", config.shutdown_timeout);
    }
    Ok(())
}

/// Serves the metrics where the configuration says, for as long as it is polled.
async fn scraped(
    config: &Config,
    metrics: &Arc<Metrics>,
) -> Result<impl Future<Output = Result<(), ServerError>> + use<>, ServerError> {
    let served = match config.metrics_listen {
        None => None,
        Some(asked) => {
            let listener =
                TcpListener::bind(asked).await.map_err(|error| ServerError::Metrics(asked, error))?;
            let address = listener.local_addr().unwrap_or(asked);
            tracing::info!(%address, "metrics are served");
            Some((address, listener))
        }
    };
    let metrics = Arc::clone(metrics);
    Ok(async move {
        let Some((address, listener)) = served else { return std::future::pending().await };
        let served = serve_metrics(listener, metrics).await;
        served.map_err(|error| ServerError::Metrics(address, error))
    })
}

/// The layers around every service of whatever server.
pub type Transport = Stack<Bounds, Stack<Observe, Identity>>;

/// Those, and who may call.
type Layers = Stack<Guard, Transport>;

/// Calls under way on one connection; a client keeps further ones until there is room. RFC 9113 advises no fewer (6.5.2).
/// More would only wait here, where a flood of them makes everybody wait: at three times the rate that can be answered,
/// 100 are answered as many as 256 are, in less than half the time.
pub const CALLS_OF_A_CONNECTION: u32 = 100;

/// A server with the registry's transport settings and its layers, without services: what one hostile or slow connection
/// can take from the others is bounded.
#[must_use]
pub fn transport(metrics: &Arc<Metrics>, config: &Config) -> Server<Transport> {
    Server::builder()
        .layer(Observe::new(Arc::clone(metrics)))
        .layer(Bounds::new(config.peer_timeout))
        .max_concurrent_streams(CALLS_OF_A_CONNECTION)
        .http2_max_local_error_reset_streams(Some(256))
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
}

fn router(
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    access: Option<Arc<Access>>,
    config: &Config,
) -> Result<Router<Layers>, ServerError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that grpcurl shows why a call was refused instead of raw bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(transport(metrics, config)
        .layer(Guard::new(access))
        .add_routes(Registry::new(Arc::clone(store), Arc::clone(metrics), config).routes())
        .add_service(reflection().build_v1()?.max_decoding_message_size(REFLECTION_MESSAGE_MAX))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(REFLECTION_MESSAGE_MAX)))
}

/// Opens the store, waiting for the database as long as it takes.
async fn open(store: &Store, config: &Config) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(100);
    loop {
        match store.open(config).await {
            Ok(migrated) if migrated.from == migrated.to => {
                tracing::info!(schema = migrated.to, "the schema is up to date");
                return Ok(());
            }
            Ok(migrated) => {
                tracing::info!(from = migrated.from, to = migrated.to, "the schema was migrated");
                return Ok(());
            }
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "waiting for the database");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(error) => return Err(error),
        }
    }
}
