//! What the tests stand on: a registry of their own, on a database of their own, and words for what they expect.

// Each capability uses its part of it.
#![allow(dead_code)]

pub mod certificates;
pub mod collector;
pub mod disk;
pub mod envoy;
pub mod installed;
pub mod jwt;
pub mod keys;
pub mod load;
pub mod metrics;
pub mod one_time;
pub mod people;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod sessions;
pub mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use token_registry::config::Config;
use token_registry::proto::auth_token_service_client::AuthTokenServiceClient;
use token_registry::proto::generic_token_service_client::GenericTokenServiceClient;
use token_registry::proto::maintenance_service_client::MaintenanceServiceClient;
use token_registry::proto::user_service_client::UserServiceClient;
use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use token_registry::proto::{
    AddRefreshTokenRequest, CheckRefreshTokenRequest, CheckSessionRequest, GetRefreshTokenRequest,
    RefreshToken, RevocationReason, RevokeSessionRequest, RotateRefreshTokenRequest,
    RotateRefreshTokenResponse, TokenState,
};
use token_registry::{server, store};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use postgres::{Cluster, Database};

/// A registry that runs in this process, on a fresh database of the shared cluster.
pub struct Registry {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its clients.
    pub whitelist: WhitelistServiceClient<Channel>,
    pub generic: GenericTokenServiceClient<Channel>,
    pub auth: AuthTokenServiceClient<Channel>,
    pub users: UserServiceClient<Channel>,
    pub maintenance: MaintenanceServiceClient<Channel>,
    /// Its database's URL.
    pub database_url: String,
    // Dropped in this order: the server ends before its database goes.
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    /// Kept for as long as the registry.
    database: Option<Database>,
}

impl Registry {
    /// With the default configuration.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With a configuration that differs.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = fresh_database().await;
        let mut registry = Self::on(&database.url, change).await;
        registry.database = Some(database);
        registry
    }

    /// On a database that is there already: another replica, or one behind a proxy. Waits until it serves.
    pub async fn on(database_url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let (ready, is_ready) = oneshot::channel();
        let registry = Self::launch(database_url, change, move || {
            let _ = ready.send(());
        })
        .await;
        is_ready.await.expect("the registry gets ready");
        registry
    }

    /// As [`Self::on`], without waiting.
    pub async fn launch(
        database_url: &str,
        change: impl FnOnce(&mut Config),
        ready: impl FnOnce() + Send + 'static,
    ) -> Self {
        let mut config = config_for(database_url);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server::run_with_ready(listener, config, shutdown, ready).await.expect("the registry runs");
        });
        Self { stop: Some(stop), running: Some(running), ..Self::reached_at(address, database_url) }
    }

    /// The same registry by a channel of its own: another client. It ends with the one that was started.
    pub fn another_client(&self) -> Self {
        Self::reached_at(self.address, &self.database_url)
    }

    /// A registry that runs elsewhere, by its address.
    pub fn reached_at(address: SocketAddr, database_url: &str) -> Self {
        let channel = channel(address);
        Self {
            address,
            whitelist: WhitelistServiceClient::new(channel.clone()),
            generic: GenericTokenServiceClient::new(channel.clone()),
            auth: AuthTokenServiceClient::new(channel.clone()),
            users: UserServiceClient::new(channel.clone()),
            maintenance: MaintenanceServiceClient::new(channel),
            database_url: database_url.to_owned(),
            stop: None,
            running: None,
            database: None,
        }
    }

    /// Tells it to stop.
    pub fn stop(&mut self) {
        self.stop.take();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) {
        if let Some(running) = self.running.take() {
            patiently(running).await.expect("the registry ends well");
        }
    }

    /// A connection to its database, to look at rows and to move their times: tests don't wait for clocks.
    pub async fn sql(&self) -> tokio_postgres::Client {
        connect(&self.database_url).await
    }

    /// All that the database holds, table by table, as a digest of its rows: equal before and after means that nothing
    /// was written.
    pub async fn contents(&self) -> Vec<(String, String)> {
        let sql = self.sql().await;
        let tables = "select tablename::text from pg_tables where schemaname = 'public' order by 1";
        let mut contents = Vec::new();
        for table in sql.query(tables, &[]).await.expect("the tables") {
            let table: String = table.get(0);
            let digest = format!(
                "select count(*) || ' rows ' || coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {table} t"
            );
            let digest: String = sql.query_one(&digest, &[]).await.expect("its rows").get(0);
            contents.push((table, digest));
        }
        contents
    }

    /// Opens a session with everything default.
    pub async fn add(&self, user_id: &str, session: &str, jti: &str) -> Result<RefreshToken, Status> {
        self.add_as(AddRefreshTokenRequest {
            user_id: user_id.into(),
            session: session.into(),
            jti: jti.into(),
            ..Default::default()
        })
        .await
    }

    /// Opens a session.
    pub async fn add_as(&self, request: AddRefreshTokenRequest) -> Result<RefreshToken, Status> {
        let added = self.whitelist.clone().add_refresh_token(request).await?;
        Ok(added.into_inner().token.expect("a token"))
    }

    /// Rotates, with a successor of the caller's own.
    pub async fn rotate(
        &self,
        user_id: &str,
        session: &str,
        jti: &str,
        new_jti: &str,
    ) -> Result<RotateRefreshTokenResponse, Status> {
        self.rotate_as(RotateRefreshTokenRequest {
            user_id: user_id.into(),
            session: session.into(),
            jti: jti.into(),
            new_jti: Some(new_jti.into()),
            client: None,
        })
        .await
    }

    /// Rotates.
    pub async fn rotate_as(
        &self,
        request: RotateRefreshTokenRequest,
    ) -> Result<RotateRefreshTokenResponse, Status> {
        self.whitelist.clone().rotate_refresh_token(request).await.map(Response::into_inner)
    }

    /// The state of a session.
    pub async fn check_session(&self, user_id: &str, session: &str) -> TokenState {
        let request = CheckSessionRequest { user_id: user_id.into(), session: session.into() };
        self.whitelist
            .clone()
            .check_session(request)
            .await
            .expect("a question is answered")
            .into_inner()
            .state()
    }

    /// The state of a jti.
    pub async fn check_token(&self, user_id: &str, session: &str, jti: &str) -> TokenState {
        let request =
            CheckRefreshTokenRequest { user_id: user_id.into(), session: session.into(), jti: jti.into() };
        let answer = self.whitelist.clone().check_refresh_token(request).await;
        answer.expect("a question is answered").into_inner().state()
    }

    /// A session's row.
    pub async fn get(&self, user_id: &str, session: &str) -> Result<RefreshToken, Status> {
        let request = GetRefreshTokenRequest { user_id: user_id.into(), session: session.into() };
        let got = self.whitelist.clone().get_refresh_token(request).await?;
        Ok(got.into_inner().token.expect("a token"))
    }

    /// Logs out of a session; answers how many were revoked.
    pub async fn log_out(&self, user_id: &str, session: &str) -> i64 {
        let request = RevokeSessionRequest {
            user_id: user_id.into(),
            session: session.into(),
            reason: RevocationReason::Logout.into(),
        };
        self.whitelist.clone().revoke_session(request).await.expect("a revocation").into_inner().revoked_count
    }
}

/// A fresh, migrated database of the shared cluster.
pub async fn fresh_database() -> Database {
    Cluster::shared()
        .fresh_database(|url| async move {
            store::migrate(&config_for(&url)).await.expect("the schema");
        })
        .await
}

/// The default configuration on a database, with a pool that suits many registries on one cluster.
pub fn config_for(database_url: &str) -> Config {
    let mut database_url = database_url.to_owned();
    if let Some(pgbouncer) = pgbouncer::before_the_shared_cluster() {
        database_url = database_url.replace(&Cluster::shared().address().to_string(), &pgbouncer.to_string());
    }
    Config {
        database_url: Some(database_url.into()),
        // TOKEN_REGISTRY_TEST_GATHERING=false runs them all without.
        gathering: std::env::var("TOKEN_REGISTRY_TEST_GATHERING").as_deref() != Ok("false"),
        database_pool_size: 8,
        // Many tests share two cores: what is tested is what is answered, not how soon.
        database_pool_wait: Duration::from_secs(20),
        database_connect_timeout: Duration::from_secs(20),
        lock_timeout: Duration::from_secs(10),
        default_deadline: Duration::from_mins(1),
        ..Config::default()
    }
}

/// A channel to a registry.
pub fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).expect("an address").connect_lazy()
}

/// A connection to a database.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// The reason of a refusal.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "tokenregistry.v1");
    info.reason
}

/// Asserts that a call was refused, with this code and reason.
#[track_caller]
pub fn assert_refused<T>(result: Result<T, Status>, code: Code, expected: &str) -> Status {
    let Err(status) = result else { panic!("it was carried out, and should be refused with {expected}") };
    assert_eq!((status.code(), reason(&status).as_str()), (code, expected), "{status:?}");
    status
}

/// Asserts that a request was refused as invalid, with exactly these fields named.
#[track_caller]
pub fn assert_invalid<T>(result: Result<T, Status>, fields: &[&str]) -> Status {
    let status = assert_refused(result, Code::InvalidArgument, "INVALID_REQUEST");
    let details = status.get_details_bad_request().expect("BadRequest");
    let mut named: Vec<_> = details.field_violations.iter().map(|v| v.field.as_str()).collect();
    named.sort_unstable();
    let mut expected = fields.to_vec();
    expected.sort_unstable();
    assert_eq!(named, expected, "{status:?}");
    status
}

/// Waits for what has to come. The limit is there for a test that fails, not for one that succeeds.
pub async fn patiently<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), coming).await.expect("it comes at last")
}

/// Waits until something that nobody announces is so.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    patiently(async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until so many statements on the database of this connection wait for a lock.
pub async fn until_waiting_for_locks(sql: &tokio_postgres::Client, count: i64) {
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    until(async || sql.query_one(waiting, &[]).await.expect("a count").get::<_, i64>(0) >= count).await;
}

/// Asserts that a call was refused as unavailable: nothing was done, and when to try again is told.
#[track_caller]
pub fn assert_try_again<T>(result: Result<T, Status>, expected: &str) {
    let status = assert_refused(result, Code::Unavailable, expected);
    let retry = status.get_details_retry_info().expect("RetryInfo");
    assert!(retry.retry_delay.is_some_and(|delay| !delay.is_zero()), "{retry:?}");
}
