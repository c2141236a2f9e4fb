//! The database of a run: a primary, in whose place a standby takes over now and then, and the links to it.
//!
//! There are two places, that is ports. The primary is at one; a standby is made at the other from a copy, promoted, and
//! then the old primary is gone. Servers are told of both places, or of one address that moves with the primary: the
//! link, a proxy, which one of the servers reaches by way of a PgBouncer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::disk::Disk;
use crate::pgbouncer::PgBouncer;
use crate::postgres::{Cluster, free_listener};
use crate::proxy::Proxy;

/// A primary, and the ways to it.
pub struct Database {
    places: [SocketAddr; 2],
    primary: Mutex<Arc<Cluster>>,
    /// An address that moves.
    pub link: Proxy,
    pub pgbouncer: Option<PgBouncer>,
    /// A disk of the first primary's own.
    disk: Option<Disk>,
}

/// How a server reaches the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    Link,
    PgBouncer,
}

impl Database {
    /// Starts a primary, on a disk of its own if there is one. `lazy`: with what a planted bug doesn't wait for long in
    /// coming.
    pub fn start(lazy: bool, with_pgbouncer: bool, disk: Option<Disk>) -> Self {
        let settings: &[_] = &[
            // Few, so that they are soon all taken.
            ("max_connections", "100"),
            // Against torn pages after a crash of the whole machine, which isn't tried.
            ("full_page_writes", "off"),
        ];
        let lazily: &[_] = &[("wal_writer_delay", "10s"), ("wal_writer_flush_after", "1GB")];
        let settings = [settings, if lazy { lazily } else { &[] }].concat();
        let primary = match &disk {
            None => Cluster::start(&settings),
            // Its log is soon in need of a new file.
            Some(disk) => {
                let small = [("min_wal_size", "32MB"), ("max_wal_size", "32MB")];
                Cluster::start_in(disk.path(), &[&settings[..], &small].concat())
            }
        };
        let other = free_listener().expect("a port is free").1;
        let link = Proxy::start(primary.address());
        let pgbouncer =
            if with_pgbouncer { PgBouncer::before_address(&primary, link.address()) } else { None };
        Self {
            places: [primary.address(), other],
            primary: Mutex::new(Arc::new(primary)),
            link,
            pgbouncer,
            disk,
        }
    }

    /// The primary of now.
    pub fn primary(&self) -> Arc<Cluster> {
        Arc::clone(&self.primary.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How the last server and the one before it reach the database if there are so many; the others go directly.
    pub fn way(&self, server: usize, servers: usize) -> Way {
        if servers > 1 && server + 1 == servers {
            Way::Link
        } else if servers > 2 && server + 2 == servers && self.pgbouncer.is_some() {
            Way::PgBouncer
        } else {
            Way::Direct
        }
    }

    /// What a server is told.
    pub fn url(&self, way: Way) -> String {
        match (way, &self.pgbouncer) {
            (Way::PgBouncer, Some(pgbouncer)) => {
                format!("postgres://registry@{}/postgres", pgbouncer.address())
            }
            (Way::Direct, _) => {
                let [one, other] = self.places;
                format!("postgres://postgres@{one},{other}/postgres")
            }
            _ => format!("postgres://postgres@{}/postgres", self.link.address()),
        }
    }

    /// The primary's own disk, if it has one.
    pub fn disk(&self) -> Option<&Disk> {
        let primary = self.primary();
        self.disk.as_ref().filter(|disk| primary.directory().starts_with(disk.path()))
    }

    /// A standby that has every write before its caller is answered.
    pub fn start_standby(&self, runtime: &Handle) -> Cluster {
        let primary = self.primary();
        let [one, other] = self.places;
        let free = if primary.address() == one { other } else { one };
        let standby = primary.start_standby_at(free.port());
        runtime.block_on(primary.commit_synchronously());
        standby
    }

    /// Promotes a standby, and has the link lead to it. Answers the old primary, which knows of nothing.
    pub fn promote(&self, standby: Cluster) -> Arc<Cluster> {
        standby.promote();
        self.link.lead_to(standby.address());
        self.link.cut();
        self.link.heal();
        let mut primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut primary, Arc::new(standby))
    }
}
