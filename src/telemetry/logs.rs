//! Logs, to standard error: text for a person on a terminal, one JSON object a line for a machine.
//!
//! What is logged is up to the configuration alone; `RUST_LOG` is not read, so that a variable left over in a shell or
//! an image doesn't make a server talk. No log line carries a secret, and a panic's line doesn't either.

use std::io::{IsTerminal as _, stderr};
use std::panic::PanicHookInfo;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::{audit, traces};
use crate::config::LogFormat;

/// The layer that writes the log. `filter` has the syntax of `EnvFilter`; what of it can't be understood is left out (the
/// configuration has been checked before). The audit events are among them unless they have a file of their own.
pub(super) fn layer(
    format: LogFormat,
    filter: &str,
    with_audit: bool,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let terminal = stderr().is_terminal();
    let logs = tracing_subscriber::fmt::layer().with_writer(stderr);
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    // https://no-color.org
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = if json {
        logs.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        logs.with_ansi(colour).boxed()
    };
    let ours = filter_fn(move |metadata| {
        shows_no_parameters(metadata)
            && metadata.target() != traces::TARGET
            && (with_audit || metadata.target() != audit::TARGET)
    });
    logs.with_filter(EnvFilter::builder().parse_lossy(filter).and(ours)).boxed()
}

/// Below `info` the database's client writes down the parameters of every statement, the server's own key among them:
/// no filter of an operator's may ask for that.
fn shows_no_parameters(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !metadata.target().starts_with("tokio_postgres")
}

/// Says where, and not what: a panic's message may have been made from a request, and with it from a secret.
pub(super) fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(%location, thread = thread.name().unwrap_or_default(), "panic; this is a bug in token-registry");
}
