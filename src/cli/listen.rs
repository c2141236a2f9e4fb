//! The port that the server answers on.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::failure::Failure;

pub(super) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program uses this port already; stop it or choose another one with --listen"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not open this port; ports from 1024 on are open to everybody".to_owned()
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address; 0.0.0.0 stands for all it has".to_owned()
            }
            _ => error.to_string(),
        };
        Failure::Running(format!("can't listen on {address}: {reason}"))
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    // The port is another one when 0 was asked for.
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
