//! Where the primary is: several hosts may be named, and after a failover it is another one.
//!
//! All hosts are asked at once, so that a dead one holds up nobody, and the one that takes writes is the primary. An old
//! primary may live on and still take itself for one: PostgreSQL counts a timeline up at every promotion, so of several
//! the newest timeline is right, and once it was seen no older one is gone back to. Links to older ones are ended at once,
//! with whatever hangs on them: with a synchronous standby an old primary acknowledges no write any more, but it never says
//! so either.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long the other hosts may take to say that they are newer, once one was found that takes writes.
const PATIENCE: Duration = Duration::from_millis(250);

/// The timeline that a server writes on, as the first eight digits of a file's name.
const TIMELINE: &str = "select pg_walfile_name(pg_current_wal_lsn())";

/// Makes connections to the primary, whichever host that is. Its clones share what they know.
#[derive(Clone)]
pub(super) struct Primary {
    tls: Option<MakeRustlsConnect>,
    /// The newest timeline that was seen.
    newest: Arc<watch::Sender<u32>>,
}

/// A connection and who it is to.
struct Link {
    client: Client,
    driver: JoinHandle<()>,
    /// 0 where the server doesn't tell.
    timeline: u32,
}

impl Primary {
    pub(super) fn new(tls: Option<MakeRustlsConnect>) -> Self {
        Self { tls, newest: Arc::new(watch::Sender::new(0)) }
    }

    /// Connects to the primary. The link lasts as long as that is the primary, and no longer than this.
    pub(super) async fn connect(&self, settings: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        // Rarely awaited and large: on the heap.
        let link = Box::pin(self.newest_of(settings, PATIENCE)).await?;
        Ok((link.client, link.driver))
    }

    /// Looks whether another host has become the primary: one whose link just hangs doesn't tell.
    pub(super) async fn look(&self, settings: &Config, patience: Duration) {
        if let Err(error) = Box::pin(self.newest_of(settings, patience)).await {
            tracing::debug!(%error, "no primary found");
        }
    }

    async fn newest_of(&self, settings: &Config, patience: Duration) -> Result<Link, Error> {
        let hosts = each_host(settings);
        let mut asked: FuturesUnordered<_> = hosts.iter().map(|host| self.link(host)).collect();
        let (mut found, mut refusal): (Option<Link>, _) = (None, None);
        let mut until = None;
        loop {
            let next = match until {
                None => asked.next().await,
                Some(until) => timeout_at(until, asked.next()).await.unwrap_or(None),
            };
            match next {
                None => break,
                Some(Err(error)) => refusal = Some(error),
                Some(Ok(link)) => {
                    until.get_or_insert(Instant::now() + patience);
                    // At once: whatever hangs on an older one has waited long enough.
                    self.take_note_of(link.timeline);
                    if found.as_ref().is_none_or(|found| found.timeline < link.timeline) {
                        found = Some(link);
                    }
                }
            }
        }
        let Some(link) = found else { return Err(refusal.expect("at least one host")) };
        let known = *self.newest.borrow();
        if link.timeline < known {
            tracing::warn!(timeline = link.timeline, known, "refused a primary from before the failover");
            return Err(link.end().await);
        }
        Ok(link)
    }

    /// Ends the links to older timelines than this.
    fn take_note_of(&self, timeline: u32) {
        self.newest.send_if_modified(|newest| {
            let is_newer = *newest < timeline;
            if is_newer {
                if 0 < *newest {
                    tracing::info!(timeline, "the database has another primary");
                }
                *newest = timeline;
            }
            is_newer
        });
    }

    async fn link(&self, host: &Config) -> Result<Link, Error> {
        match &self.tls {
            Some(tls) => self.link_by(host, tls.clone()).await,
            None => self.link_by(host, NoTls).await,
        }
    }

    async fn link_by<T>(&self, host: &Config, tls: T) -> Result<Link, Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, connection) = host.connect(tls).await?;
        let own = Arc::new(AtomicU32::new(u32::MAX));
        let mut newest = self.newest.subscribe();
        let driver = tokio::spawn({
            let own = Arc::clone(&own);
            async move {
                tokio::select! {
                    ended = connection => if let Err(error) = ended {
                        tracing::debug!(%error, "a connection to the database ended");
                    },
                    _ = newest.wait_for(|newest| own.load(Ordering::SeqCst) < *newest) => {
                        tracing::debug!("a connection to an old primary was ended");
                    }
                }
            }
        });
        // Should a newer one be seen right now: that is looked at again before the link is used.
        let timeline = timeline(&client).await?;
        own.store(timeline, Ordering::SeqCst);
        Ok(Link { client, driver, timeline })
    }
}

impl Connect for Primary {
    fn connect(
        &self,
        settings: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        let settings = settings.clone();
        Box::pin(async move { Self::connect(self, &settings).await })
    }
}

impl Link {
    /// Ends it; the error is what whoever uses an ended link gets.
    async fn end(self) -> Error {
        self.driver.abort();
        let _ = self.driver.await;
        self.client.batch_execute("").await.expect_err("a link without its driver")
    }
}

async fn timeline(client: &Client) -> Result<u32, Error> {
    let said = match client.simple_query(TIMELINE).await {
        Ok(said) => said,
        // A database that speaks PostgreSQL's protocol and has no such thing.
        Err(error) if error.as_db_error().is_some() => return Ok(0),
        Err(error) => return Err(error),
    };
    let digits = said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.get(..8),
        _ => None,
    });
    Ok(digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or_default())
}

/// The settings for each host alone.
fn each_host(settings: &Config) -> Vec<Config> {
    let (names, addresses) = (settings.get_hosts(), settings.get_hostaddrs());
    let hosts = names.len().max(addresses.len());
    if hosts < 2 {
        return vec![settings.clone()];
    }
    let ports = settings.get_ports();
    (0..hosts)
        .map(|n| {
            let mut one = without_hosts(settings);
            match names.get(n) {
                Some(Host::Tcp(name)) => _ = one.host(name),
                #[cfg(unix)]
                Some(Host::Unix(path)) => _ = one.host_path(path),
                None => {}
            }
            if let Some(address) = addresses.get(n) {
                one.hostaddr(*address);
            }
            if let Some(port) = ports.get(n).or(ports.first()) {
                one.port(*port);
            }
            one
        })
        .collect()
}

fn without_hosts(settings: &Config) -> Config {
    let mut one = Config::new();
    if let Some(user) = settings.get_user() {
        one.user(user);
    }
    if let Some(password) = settings.get_password() {
        one.password(password);
    }
    if let Some(database) = settings.get_dbname() {
        one.dbname(database);
    }
    if let Some(options) = settings.get_options() {
        one.options(options);
    }
    if let Some(name) = settings.get_application_name() {
        one.application_name(name);
    }
    if let Some(limit) = settings.get_connect_timeout() {
        one.connect_timeout(*limit);
    }
    if let Some(limit) = settings.get_tcp_user_timeout() {
        one.tcp_user_timeout(*limit);
    }
    one.keepalives(settings.get_keepalives()).keepalives_idle(settings.get_keepalives_idle());
    if let Some(interval) = settings.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = settings.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.ssl_mode(settings.get_ssl_mode())
        .ssl_negotiation(settings.get_ssl_negotiation())
        .channel_binding(settings.get_channel_binding())
        .target_session_attrs(settings.get_target_session_attrs());
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_keeps_everything_but_the_others() {
        let settings: Config = "postgres://ada:secret@one:1,two:2/x?options=-c%20a%3Db&connect_timeout=3\
             &tcp_user_timeout=4&keepalives_idle=5&keepalives_interval=6&keepalives_retries=7&application_name=n\
             &sslmode=disable&channel_binding=disable&target_session_attrs=read-write"
            .parse()
            .unwrap();
        let one: Config = "postgres://ada:secret@one:1/x?options=-c%20a%3Db&connect_timeout=3\
             &tcp_user_timeout=4&keepalives_idle=5&keepalives_interval=6&keepalives_retries=7&application_name=n\
             &sslmode=disable&channel_binding=disable&target_session_attrs=read-write"
            .parse()
            .unwrap();
        let hosts = each_host(&settings);
        assert_eq!(hosts[0], one);
        assert_eq!(hosts[1].get_hosts(), [Host::Tcp("two".to_owned())]);
        assert_eq!(hosts[1].get_ports(), [2]);
        assert_eq!(each_host(&one), [one]);
    }
}
