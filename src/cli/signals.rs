//! Signals that end a server.

use std::future::Future;
#[cfg(unix)]
use std::io;

use tokio::sync::oneshot;

use super::failure::Failure;

/// Resolves at the first SIGTERM or SIGINT. The second one ends the process at once: whoever presses Ctrl-C twice
/// doesn't want to wait for calls under way.
pub(super) fn shutdown_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut signals =
        Signals::new().map_err(|error| Failure::Running(format!("can't watch signals: {error}")))?;
    let (asked, shutdown) = oneshot::channel();
    tokio::spawn(async move {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping; calls under way may end, a second signal ends at once");
        let _ = asked.send(());
        let signal = signals.next().await;
        tracing::warn!(signal, "ended at once");
        std::process::exit(1);
    });
    Ok(async move {
        let _ = shutdown.await;
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
