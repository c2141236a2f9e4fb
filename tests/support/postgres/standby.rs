//! A standby that follows a cluster by streaming replication, and is promoted in its place.

use std::path::Path;
use std::process::Command;

use super::{Cluster, Origin, SUPERUSER, on_own_runtime};

impl Cluster {
    /// A standby of this cluster, with its databases, on a port of its own.
    pub fn start_standby(&self) -> Self {
        Self::try_start(&Origin::Copy(self, None), &[]).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// As [`Cluster::start_standby`], on a port that another one had before.
    pub fn start_standby_at(&self, port: u16) -> Self {
        Self::try_start(&Origin::Copy(self, Some(port)), &[]).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The URL of a database that is on several clusters, a primary and its
    /// standbys.
    pub fn url_of_all(clusters: &[&Self], database: &str) -> String {
        let hosts: Vec<_> = clusters.iter().map(|cluster| cluster.address().to_string()).collect();
        format!("postgres://{SUPERUSER}@{}/{database}", hosts.join(","))
    }

    /// Acknowledges a commit from now on only when a standby has it too.
    pub async fn commit_synchronously(&self) {
        self.administrate(vec![
            "alter system set synchronous_standby_names = '*'".to_owned(),
            "select pg_reload_conf()".to_owned(),
        ])
        .await;
        // The standby may still be about to connect, and a session reads new settings between statements.
        let client = super::connect(&super::socket(&self.directory, self.port)).await.expect("a session");
        let is_so = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        while !client.query_one(is_so, &[]).await.expect("an answer").get::<_, bool>(0) {
            tokio::time::sleep(super::POLL).await;
        }
    }

    /// Makes a standby a primary. The old one is not asked, and lives on if it lives.
    pub fn promote(&self) {
        let socket = super::socket(&self.directory, self.port);
        on_own_runtime(async || {
            let client = super::connect(&socket).await?;
            client.batch_execute("select pg_promote()").await.map_err(|error| error.to_string())
        })
        .expect("a standby can be promoted");
    }

    /// How a copy is made: with what the copy needs to follow.
    pub(super) fn copying(&self, primary: &Self, data: &Path) -> Result<Command, String> {
        let mut copying = self.command("pg_basebackup")?;
        copying
            .args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"])
            .arg(format!("--username={SUPERUSER}"))
            .arg(format!("--port={}", primary.port))
            .arg("--host")
            .arg(&primary.directory)
            .arg("--pgdata")
            .arg(data);
        Ok(copying)
    }
}
