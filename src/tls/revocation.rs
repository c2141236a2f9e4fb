//! Revocation lists of callers' certificates, and when each should be followed by a newer one.
//!
//! A list that is over stays in force (see `docs/operating.md`): so it has to be noticed, before and when it is.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::sleep;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::{TlsError, date};

/// The longest sleep until a list is over: the clock may be set meanwhile.
const LOOK: Duration = Duration::from_mins(1);

/// When each of some lists is over, the first of them first.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends(Arc<[End]>);

#[derive(Debug)]
struct End {
    /// In seconds since 1970.
    next_update: i64,
    authority: String,
}

impl Ends {
    fn of(lists: &[CertificateRevocationListDer<'_>]) -> Self {
        let end = |list| {
            // One that can't be read is refused with all the others, by whoever verifies with them.
            let (_, list) = CertificateRevocationList::from_der(list).ok()?;
            let next_update = list.next_update()?.timestamp();
            Some(End { next_update, authority: list.issuer().to_string() })
        };
        let mut ends: Vec<_> = lists.iter().filter_map(|list| end(list)).collect();
        ends.sort_unstable_by_key(|end| end.next_update);
        Self(ends.into())
    }

    /// When the first of the lists is over, in seconds since 1970; none if there are no lists.
    pub(super) fn first(&self) -> Option<i64> {
        self.0.first().map(|end| end.next_update)
    }

    /// Has the log say of each list that it is over, as soon as it is; for as long as it is polled.
    pub(super) async fn tell(&self) -> Infallible {
        for End { next_update, authority } in &*self.0 {
            let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(*next_update).unwrap_or_default());
            while let Ok(left) = end.duration_since(SystemTime::now()) {
                // A little more than nothing, or this would turn in circles at the very end.
                sleep(left.clamp(Duration::from_millis(1), LOOK)).await;
            }
            tracing::warn!(
                %authority, next_update = %date(*next_update),
                "a revocation list is over and stays in force: what was revoked since isn't known"
            );
        }
        pending().await
    }
}

/// All lists of a file, and when each is over.
pub(super) fn read(path: &Path) -> Result<(Vec<CertificateRevocationListDer<'static>>, Ends), TlsError> {
    let of = |error| TlsError::File(path.to_owned(), error);
    let lists: Vec<_> = CertificateRevocationListDer::pem_file_iter(path)
        .map_err(of)?
        .collect::<Result<_, _>>()
        .map_err(of)?;
    if lists.is_empty() {
        return Err(TlsError::Certificate(path.to_owned(), "there is no revocation list in it"));
    }
    let ends = Ends::of(&lists);
    Ok((lists, ends))
}
