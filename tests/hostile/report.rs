//! The table of attacks.

use super::attacks::Done;
use super::good_client::Experience;

/// Its head, for [`row`].
#[allow(dead_code, reason = "the tests print rows alone")]
pub const HEAD: &str = "| attack | connections | closed by the server | sent | good client: calls | failed | p50 | p99 | memory before | at most |\n\
                        |---|---|---|---|---|---|---|---|---|---|";

/// An attack's row.
pub fn row(name: &str, done: Done, good: &Experience, [before, peak]: [u64; 2]) -> String {
    format!(
        "| {name} | {} | {} | {} | {} | {} | {:.1?} | {:.1?} | {} MiB | {} MiB |",
        done.connections,
        done.closed,
        done.sent,
        good.took.len(),
        good.failed.len(),
        good.percentile(50),
        good.percentile(99),
        before >> 20,
        peak >> 20,
    )
}
