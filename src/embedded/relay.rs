//! The relay between clients and the crate's server: one session after the other, begun and ended in an orderly way.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::{debug, warn};

use super::{Backend, QUEUE_PATIENCE, STOP_PATIENCE};

/// How long a client may take to say who it is; without an end a silent one would never go away.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// `PostgreSQL` itself accepts no longer start-up packet.
const LONGEST_STARTUP_PACKET: u32 = 10_000;

/// Accepts connections until it is told to stop, and then waits a moment for them to end.
pub(super) async fn serve(
    listener: TcpListener,
    backend: &Arc<Mutex<Backend>>,
    mut stopped: watch::Receiver<()>,
) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = sessions.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    sessions.spawn(session(client, Arc::clone(backend), stopped.clone()));
                }
                Err(error) => {
                    // Most likely too many open files, of which waiting may make fewer.
                    warn!(%error, "the embedded database cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    drop(listener);
    let ending = async { while sessions.join_next().await.is_some() {} };
    if timeout(STOP_PATIENCE, ending).await.is_err() {
        warn!("a client of the embedded database is still busy; its connection is cut off");
    }
}

/// One client, from its first byte to its last.
async fn session(mut client: TcpStream, backend: Arc<Mutex<Backend>>, mut stopped: watch::Receiver<()>) {
    let opened = async {
        let Ok(Ok(Some(opening))) = timeout(OPENING_PATIENCE, read_opening(&mut client)).await else {
            debug!("a connection which asks for no session was closed");
            return None;
        };
        let Ok(turn) = timeout(QUEUE_PATIENCE, backend.lock_owned()).await else {
            refuse(
                &mut client,
                "53300",
                "the embedded database serves one connection at a time, and one is open",
                "Set the size of the connection pool to 1, or close the other program which is \
                 connected. Use an installed PostgreSQL where more connections are needed.",
            )
            .await;
            return None;
        };
        Some((opening, turn))
    };
    let opened = tokio::select! {
        opened = opened => opened,
        _ = stopped.changed() => None,
    };
    // The turn is kept to the end of this function: until the backend has ended the session.
    let Some((opening, mut turn)) = opened else {
        return;
    };
    // Both sides speak in small messages, and wait for the answer.
    let _ = client.set_nodelay(true);
    let begun = tokio::select! {
        begun = turn.begin(&opening) => begun,
        _ = stopped.changed() => return,
    };
    match begun {
        Ok(server) => relay(client, server, stopped).await,
        Err(error) => {
            warn!(%error, "the embedded database did not begin a session");
            let message = format!("the embedded database did not begin a session: {error}");
            let hint = "Check the start-up options of the connection, or start the program again.";
            refuse(&mut client, "57P03", &message, hint).await;
        }
    }
}

/// Reads how the client introduces itself: its start-up packet, or nothing where it wants
/// something else. Whatever is not the `PostgreSQL` protocol ends here, and so does a cancel
/// request, which would otherwise wait for the very session it is meant to interrupt.
async fn read_opening(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    // A client may ask for each kind of encryption once.
    for _ in 0..3 {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        match code {
            SSL_REQUEST | GSS_REQUEST => client.write_all(b"N").await?,
            version if version >> 16 == 3 && (9..=LONGEST_STARTUP_PACKET).contains(&length) => {
                let mut packet = [length.to_be_bytes(), code.to_be_bytes()].concat();
                let head = packet.len();
                packet.resize(length as usize, 0);
                client.read_exact(&mut packet[head..]).await?;
                return Ok(Some(packet));
            }
            // Among others a cancel request.
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Tells the client in the words of its own protocol why it is turned away.
async fn refuse(client: &mut TcpStream, sqlstate: &str, message: &str, hint: &str) {
    let answer = error_response(sqlstate, message, hint);
    let telling = async {
        client.write_all(&answer).await?;
        client.shutdown().await?;
        // What the client has sent must be read: closing a connection with unread data resets
        // it, and the answer would be lost.
        tokio::io::copy(client, &mut tokio::io::sink()).await
    };
    let _ = timeout(Duration::from_secs(1), telling).await;
}

fn error_response(sqlstate: &str, message: &str, hint: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', sqlstate), (b'M', message), (b'H', hint)] {
        body.push(kind);
        body.extend(text.bytes().filter(|&byte| byte != 0));
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    let mut packet = vec![b'E'];
    packet.extend_from_slice(&length.to_be_bytes());
    packet.append(&mut body);
    packet
}

/// Carries bytes both ways until the server has ended the session.
///
/// Whatever happens to the client, the server is shown an orderly end: it reads the end of the
/// stream, and somebody takes what it still has to say. A broken connection would end it for good.
async fn relay(client: TcpStream, server: TcpStream, mut stopped: watch::Receiver<()>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut told = stopped.clone();
    let upwards = async {
        tokio::select! {
            _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
            _ = stopped.changed() => {}
        }
        let _ = to_server.shutdown().await;
        // The session ends when the server ends it, below.
        std::future::pending::<()>().await;
    };
    let downwards = async {
        let mut buffer = vec![0; 64 * 1024];
        let mut listening = true;
        loop {
            let count = match from_server.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            if listening {
                listening = tokio::select! {
                    written = to_client.write_all(&buffer[..count]) => written.is_ok(),
                    _ = told.changed() => false,
                };
            }
        }
        let _ = to_client.shutdown().await;
    };
    tokio::select! {
        () = upwards => {}
        () = downwards => {}
    }
}
