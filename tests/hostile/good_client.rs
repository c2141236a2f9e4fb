//! A client that does nothing wrong: what it is answered, and how soon, while others attack.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use token_registry::proto::{
    AddRefreshTokenRequest, CheckSessionRequest, RevokeSessionRequest, RotateRefreshTokenRequest, TokenState,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;

/// Calls of a connection; after them it connects anew, since connecting must go on too.
const LIVES: usize = 10;

/// A client at work.
pub struct GoodClient {
    stop: oneshot::Sender<()>,
    working: JoinHandle<Experience>,
}

/// How it fared.
#[derive(Debug, Default)]
pub struct Experience {
    /// How long each call took, a connection's first with the connecting.
    pub took: Vec<Duration>,
    /// Calls that failed, or that were answered wrongly.
    pub failed: Vec<String>,
}

impl Experience {
    /// So many in a hundred were no slower.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let place = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(place).copied().unwrap_or_default()
    }
}

impl GoodClient {
    /// Begins: logins, checks, rotations, logouts, one after the other.
    pub fn start(address: SocketAddr) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let working = tokio::spawn(async move {
            let mut experience = Experience::default();
            // A few users, so that there is something to wait for each other.
            for n in (0..7).cycle() {
                if !matches!(stopped.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
                    break;
                }
                if let Err(failed) = connection(address, n, &mut experience).await {
                    experience.failed.push(failed);
                }
            }
            experience
        });
        Self { stop, working }
    }

    /// Ends, and tells.
    pub async fn end(self) -> Experience {
        let _ = self.stop.send(());
        self.working.await.expect("the client works")
    }
}

async fn connection(address: SocketAddr, n: u32, experience: &mut Experience) -> Result<(), String> {
    let began = Instant::now();
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint.timeout(Duration::from_secs(30)).connect_timeout(Duration::from_secs(30));
    let channel = endpoint.connect().await.map_err(|error| format!("connecting: {error:?}"))?;
    let mut client = WhitelistServiceClient::new(channel);
    let mut began = Some(began);
    for _ in 0..LIVES {
        let (user_id, session) = (format!("good-{n}"), format!("{:032x}", rand::random::<u128>()));
        macro_rules! timed {
            ($call:expr) => {{
                let began = began.take().unwrap_or_else(Instant::now);
                let answer = $call.await.map_err(|status| format!("{}: {status:?}", stringify!($call)))?;
                experience.took.push(began.elapsed());
                answer.into_inner()
            }};
        }
        let add = AddRefreshTokenRequest {
            user_id: user_id.clone(),
            session: session.clone(),
            jti: "one".into(),
            ..Default::default()
        };
        timed!(client.add_refresh_token(add));
        let rotate = RotateRefreshTokenRequest {
            user_id: user_id.clone(),
            session: session.clone(),
            jti: "one".into(),
            new_jti: Some("two".into()),
            client: None,
        };
        timed!(client.rotate_refresh_token(rotate));
        let check = CheckSessionRequest { user_id: user_id.clone(), session: session.clone() };
        let live = timed!(client.check_session(check.clone())).state();
        timed!(client.revoke_session(RevokeSessionRequest { user_id, session, reason: 1 }));
        let dead = timed!(client.check_session(check)).state();
        if (live, dead) != (TokenState::Active, TokenState::Revoked) {
            return Err(format!("a session was {live:?}, and after its end {dead:?}"));
        }
    }
    Ok(())
}
