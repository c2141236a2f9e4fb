//! Creates and drops databases, and connects for the machinery of the tests.

use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::{POLL, SIGNAL_LIMIT, START_LIMIT};

/// A thread that creates and drops databases, one at a time.
///
/// One at a time because PostgreSQL refuses to copy a template that is in use;
/// on a thread with a runtime of its own so that it serves plain tests, tests
/// of any runtime, and destructors.
pub(super) struct Administrator {
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) drops: mpsc::UnboundedSender<String>,
}

/// Statements to run one by one, and who waits for them.
pub(super) struct Order {
    statements: Vec<String>,
    done: oneshot::Sender<Result<(), String>>,
}

impl Administrator {
    pub(super) fn start(socket: Config) -> Result<Self, String> {
        let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
        let (drops, mut dropped) = mpsc::unbounded_channel::<String>();
        let runtime = runtime()?;
        let work = async move {
            let mut client = None;
            loop {
                tokio::select! {
                    // Tests wait for their databases; for the drops nobody does.
                    biased;
                    Some(order) = ordered.recv() => {
                        let mut outcome = Ok(());
                        for statement in &order.statements {
                            outcome = outcome.and(
                                execute(&mut client, &socket, statement, START_LIMIT).await,
                            );
                        }
                        let _ = order.done.send(outcome);
                    }
                    Some(name) = dropped.recv() => {
                        let statement = format!("drop database if exists {name} with (force)");
                        // The server may well be down, and for good.
                        let _ = execute(&mut client, &socket, &statement, SIGNAL_LIMIT).await;
                    }
                    else => break,
                }
            }
        };
        thread::Builder::new()
            .name("administrator".to_owned())
            .spawn(move || runtime.block_on(work))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { orders, drops })
    }

    pub(super) fn order(&self, statements: Vec<String>) -> oneshot::Receiver<Result<(), String>> {
        let (done, outcome) = oneshot::channel();
        // An administrator that is gone shows in the outcome.
        let _ = self.orders.send(Order { statements, done });
        outcome
    }
}

/// Runs a statement on the administrator's connection, made anew when the
/// server has been down since the last one.
async fn execute(
    client: &mut Option<Client>,
    socket: &Config,
    statement: &str,
    limit: Duration,
) -> Result<(), String> {
    let work = async {
        loop {
            let connected = match client.take().filter(|client| !client.is_closed()) {
                Some(connected) => connected,
                None => connect(socket).await?,
            };
            let outcome = connected.batch_execute(statement).await;
            let closed = connected.is_closed();
            *client = Some(connected);
            match outcome {
                Ok(()) => return Ok(()),
                Err(_) if closed => {}
                // A session that has been told to leave the template has not
                // done so yet.
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(describe(&error)),
            }
        }
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(format!("PostgreSQL did not answer within {limit:?}")))
}

/// A session, served by the runtime that this is called on.
pub(super) async fn connect(config: &Config) -> Result<Client, String> {
    let (client, connection) = tokio::time::timeout(SIGNAL_LIMIT, config.connect(NoTls))
        .await
        .map_err(|_| "PostgreSQL did not answer to a connection".to_owned())?
        .map_err(|error| describe(&error))?;
    tokio::spawn(connection);
    Ok(client)
}

/// What the error says by itself is just "db error".
fn describe(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot build a runtime: {error}"))
}

/// Runs `work` to its end, whether or not the caller is on a runtime itself.
pub(super) fn on_own_runtime<T: Send>(
    work: impl AsyncFnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    thread::scope(|scope| {
        scope
            .spawn(|| runtime()?.block_on(work()))
            .join()
            .unwrap_or_else(|_| Err("the thread of a runtime panicked".to_owned()))
    })
}
