//! How a call is carried out: within its deadline, and never broken off half-way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};
use tracing::Instrument as _;

use super::{observe, source, status};
use crate::registry::Failure;
use crate::store::Call;

/// Longest deadline that a caller is granted.
const DEADLINE_MAX: Duration = Duration::from_mins(5);

/// Answers a question. When its caller leaves, it is dropped: it changes nothing.
pub async fn question<T, F>(
    metadata: &MetadataMap,
    default: Duration,
    ask: impl FnOnce(Call) -> F,
) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<T, Failure>>,
{
    let call = Call::within(time_for(metadata, default)).of(source::current());
    match timeout_at(call.deadline(), ask(call)).await {
        Ok(answer) => answer.map(Response::new).map_err(status::of),
        Err(_) => Err(status::of(Failure::Overloaded)),
    }
}

/// Carries out a command in a task of its own: a caller that leaves doesn't leave it half done.
pub async fn command<T, F>(
    metadata: &MetadataMap,
    default: Duration,
    carry_out: impl FnOnce(Arc<Call>) -> F,
) -> Result<Response<T>, Status>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let call = Arc::new(Call::within(time_for(metadata, default)).of(source::current()));
    let _caller = Caller(Arc::clone(&call));
    let task = tokio::spawn(carry_out(Arc::clone(&call)).in_current_span());
    match timeout_at(call.deadline(), task).await {
        Ok(Ok(answer)) => answer.map(Response::new).map_err(status::of),
        // It panicked; the panic hook has logged where.
        Ok(Err(_)) => Err(status::fault()),
        Err(_) if call.give_up() => Err(status::of(Failure::OutcomeUnknown)),
        Err(_) => Err(status::of(Failure::Overloaded)),
    }
}

/// Waits for the answer, or leaves: then what wasn't sent to the database yet never will be.
struct Caller(Arc<Call>);

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.0.give_up();
    }
}

/// An answer with the word for it that the log shows.
pub fn named<T>(mut response: Response<T>, outcome: &'static str) -> Response<T> {
    response.extensions_mut().insert(observe::Outcome(outcome));
    response
}

/// How long a call may take: what its caller says, less the way back, so that the answer is there in time.
fn time_for(metadata: &MetadataMap, default: Duration) -> Duration {
    let asked = metadata.get("grpc-timeout").and_then(|text| parse_timeout(text.to_str().ok()?));
    match asked {
        None => default,
        Some(asked) => asked.saturating_sub((asked / 10).min(Duration::from_millis(20))).min(DEADLINE_MAX),
    }
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(n * 3600),
        'M' => Duration::from_secs(n * 60),
        'S' => Duration::from_secs(n),
        'm' => Duration::from_millis(n),
        'u' => Duration::from_micros(n),
        'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        for bad in ["", "m", "12", "123456789S", "-1S", "1x", "1ü"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_leaves_before_its_callers_deadline() {
        let mut metadata = MetadataMap::new();
        assert_eq!(time_for(&metadata, Duration::from_secs(7)), Duration::from_secs(7));
        metadata.insert("grpc-timeout", "100m".parse().unwrap());
        assert_eq!(time_for(&metadata, Duration::from_secs(7)), Duration::from_millis(90));
    }
}
