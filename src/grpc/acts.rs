//! Revocations and administrative acts: counted, and recorded with who asked for them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::Caller;
use crate::connections::Peer;
use crate::registry::{Counts, Failure, RevocationReason, SessionName};
use crate::telemetry::{AuditRecord, Metrics};

/// What a call does, as it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// The method's name.
    pub name: &'static str,
    /// Whom it concerns; none of an act on all.
    pub user_id: Option<&'a str>,
    /// Which session, of an act on one.
    pub session: Option<&'a SessionName>,
    /// What it is about, where the name alone doesn't tell.
    pub detail: Option<&'a str>,
    /// Why it ends things; of an act that revokes nothing there is none.
    pub reason: Option<RevocationReason>,
}

impl<'a> Act<'a> {
    /// An act that concerns this user.
    pub fn on(name: &'static str, user_id: &'a str) -> Self {
        Self { user_id: Some(user_id), ..Self::on_all(name) }
    }

    /// An act that concerns nobody in particular.
    pub fn on_all(name: &'static str) -> Self {
        Self { name, user_id: None, session: None, detail: None, reason: None }
    }

    /// … and this session of theirs.
    pub fn session(self, session: &'a SessionName) -> Self {
        Self { session: Some(session), ..self }
    }

    /// … and sets it to that.
    pub fn to(self, detail: &'a str) -> Self {
        Self { detail: Some(detail), ..self }
    }

    /// … and ends things for this reason.
    pub fn because(self, reason: RevocationReason) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

/// Counts of an act on sessions alone.
pub fn sessions(count: i64) -> Counts {
    Counts { sessions: count, ..Counts::default() }
}

/// Counts of an act on one-time tokens alone.
pub fn generic_tokens(count: i64) -> Counts {
    Counts { generic_tokens: count, ..Counts::default() }
}

/// Counts of an act on API keys alone.
pub fn auth_tokens(count: i64) -> Counts {
    Counts { auth_tokens: count, ..Counts::default() }
}

/// The acts of one caller.
#[derive(Debug)]
pub struct Acts {
    metrics: Arc<Metrics>,
    caller: Option<Arc<Caller>>,
    peer: Option<SocketAddr>,
}

impl Acts {
    /// The acts of the caller whose request has these extensions.
    pub fn of(metrics: &Arc<Metrics>, extensions: &tonic::Extensions) -> Self {
        let peer = extensions.get::<Peer>().and_then(|peer| peer.address);
        let caller = extensions.get::<Arc<Caller>>().cloned();
        Self { metrics: Arc::clone(metrics), caller, peer }
    }

    /// Counts and records an act by what came of it. One that was certainly not carried out is none.
    pub fn record(&self, act: Act<'_>, done: Result<Counts, &Failure>) {
        let (counts, outcome) = match done {
            Ok(counts) => (counts, "OK"),
            Err(Failure::OutcomeUnknown) => (Counts::default(), "OUTCOME_UNKNOWN"),
            Err(_) => return,
        };
        if let Some(reason) = act.reason {
            self.metrics.revoked(reason, &counts);
        }
        let record = AuditRecord {
            act: act.name,
            caller: self.caller.as_ref().map(|caller| caller.name.as_str()),
            peer: self.peer,
            user_id: act.user_id,
            session: act.session.map(SessionName::as_str),
            detail: act.detail,
            reason: act.reason.map(RevocationReason::name),
            sessions: counts.sessions,
            generic_tokens: counts.generic_tokens,
            auth_tokens: counts.auth_tokens,
            outcome,
        };
        record.write();
    }
}
