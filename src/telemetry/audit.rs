//! The audit log: every revocation and every administrative act; who, what, whom, when. No secret, and no jti.
//!
//! Its events have the target `audit`. They are one JSON object a line in a file of their own where one is configured;
//! otherwise they are lines of the ordinary log. A line is written before the call is answered, without a buffer of ours
//! in between, so a process that is killed loses none; what the disk doesn't take is said in the ordinary log.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

/// The target of all audit events.
pub(super) const TARGET: &str = "audit";

/// An act, to be recorded.
#[derive(Debug)]
pub struct Record<'a> {
    /// The method's name.
    pub act: &'static str,
    /// Who called, where callers are known.
    pub caller: Option<&'a str>,
    /// Where the call came from.
    pub peer: Option<SocketAddr>,
    /// Whom it concerns; none of an act on all.
    pub user_id: Option<&'a str>,
    /// Which session, of an act on one.
    pub session: Option<&'a str>,
    /// What it was about, where the method alone doesn't tell.
    pub detail: Option<&'a str>,
    /// Why sessions were ended.
    pub reason: Option<&'static str>,
    /// How many sessions, one-time tokens and API keys it ended or removed.
    pub sessions: i64,
    /// See `sessions`.
    pub generic_tokens: i64,
    /// See `sessions`.
    pub auth_tokens: i64,
    /// `OK`, or `OUTCOME_UNKNOWN` if it may have been carried out.
    pub outcome: &'static str,
}

impl Record<'_> {
    /// Writes it.
    pub fn write(&self) {
        tracing::info!(
            target: TARGET,
            act = self.act,
            caller = self.caller,
            peer = self.peer.map(tracing::field::display),
            user_id = self.user_id,
            session = self.session,
            detail = self.detail,
            reason = self.reason,
            sessions = self.sessions,
            generic_tokens = self.generic_tokens,
            auth_tokens = self.auth_tokens,
            outcome = self.outcome,
        );
    }
}

/// Records that a caller was refused what its roles don't permit.
pub fn denied(act: &str, caller: &str) {
    tracing::info!(target: TARGET, act, caller, outcome = "PERMISSION_DENIED");
}

/// Opens the file, to append to it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// The layer that writes the events to their file.
pub(super) fn layer(file: File) -> Box<dyn Layer<Registry> + Send + Sync> {
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_level(false)
        .with_target(false)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(Mutex::new(file))
        .with_filter(filter_fn(|metadata| metadata.target() == TARGET))
        .boxed()
}
