//! What is over is purged at once, beside callers and faults: whoever ends something may be told that it isn't there.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use token_registry::proto::PurgeExpiredRequest;
use tonic::Request;

use crate::arena::Arena;

/// How long a call may take. About half of it is used for steps.
const DEADLINE: Duration = Duration::from_secs(2);
/// For how long after a call that wasn't answered its last step may yet be carried out: by what the server's statements
/// are limited to, and more than faults last.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Purges by one server, again and again, for so long.
pub async fn purge_for(arena: Arc<Arena>, server: usize, time: Duration) {
    arena.is_purged();
    let until = Instant::now() + time;
    let mut page_token = String::new();
    let mut is_sure = true;
    while arena.goes_on() && Instant::now() < until {
        let mut request = Request::new(PurgeExpiredRequest {
            apply: true,
            older_than: Some(prost_types::Duration::default()),
            page_token: std::mem::take(&mut page_token),
            ..Default::default()
        });
        request.set_timeout(DEADLINE);
        match arena.operator(server).purge_expired(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let counts = answer.counts.unwrap_or_default();
                let gone = counts.sessions + counts.generic_tokens + counts.auth_tokens;
                arena.tally.purged.fetch_add(u64::try_from(gone).unwrap_or_default(), Relaxed);
                page_token = answer.next_page_token;
            }
            Err(_) => is_sure = false,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let aftermath = if is_sure { Duration::ZERO } else { AFTERMATH };
    arena.is_purged_no_more(arena.tally.now() + u64::try_from(aftermath.as_nanos()).unwrap_or_default());
}
