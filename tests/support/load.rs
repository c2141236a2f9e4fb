//! Callers who rotate all the time and hold the registry to its word: what was acknowledged stands, what was refused as
//! unavailable was not done, and what is unknown is safe to send again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use token_registry::proto::whitelist_service_client::WhitelistServiceClient;
use token_registry::proto::{
    AddRefreshTokenRequest, GetRefreshTokenRequest, RevocationReason, RevokeSessionRequest,
    RotateRefreshTokenRequest, RotationOutcome, TokenState,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use super::{channel, patiently, until};

/// How many there were of each kind of answer.
#[derive(Default)]
pub struct Tally {
    /// Carried out.
    pub acknowledged: AtomicUsize,
    /// Certainly not carried out.
    pub unavailable: AtomicUsize,
    /// Carried out or not.
    pub unknown: AtomicUsize,
    /// No answer: the connection broke.
    pub lost: AtomicUsize,
    /// How long those took that were carried out, a connection of their own included.
    took: Mutex<Vec<Duration>>,
    /// What those were told that were not carried out, or not certainly.
    errors: Mutex<Vec<String>>,
}

/// Callers under way.
pub struct Load {
    /// What they were answered so far.
    pub tally: Arc<Tally>,
    callers: JoinSet<Acknowledged>,
    stop: Arc<AtomicBool>,
    servers: watch::Sender<Vec<SocketAddr>>,
}

/// What one caller was told.
struct Acknowledged {
    user_id: String,
    jti: String,
    /// Sessions that it opened beside its own, and whether it ended them.
    sessions: Vec<(String, bool)>,
}

/// What an error says.
enum Said {
    NotDone,
    Unknown,
}

impl Tally {
    /// Reads an error, which has to be one of those that a failing database or server may cause.
    fn read(&self, error: &Status) -> Said {
        self.errors.lock().expect("nobody panics here").push(format!(
            "{:?}: {}",
            error.code(),
            error.message()
        ));
        let reason = error.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        match (error.code(), reason.as_str()) {
            (Code::Unavailable, "DATABASE_UNAVAILABLE" | "OVERLOADED") => {
                self.unavailable.fetch_add(1, SeqCst);
                Said::NotDone
            }
            (Code::DeadlineExceeded, "OUTCOME_UNKNOWN") => {
                self.unknown.fetch_add(1, SeqCst);
                Said::Unknown
            }
            // Said by the client's own library.
            (Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal, "") => {
                self.lost.fetch_add(1, SeqCst);
                Said::Unknown
            }
            _ => panic!("{error:?}"),
        }
    }

    fn acknowledge(&self, since: Instant) {
        self.took.lock().expect("nobody panics here").push(since.elapsed());
        self.acknowledged.fetch_add(1, SeqCst);
    }

    /// How long those took that were carried out since this was last asked, the quickest first.
    pub fn took(&self) -> Vec<Duration> {
        let mut took = std::mem::take(&mut *self.took.lock().expect("nobody panics here"));
        took.sort_unstable();
        took
    }

    /// What was said of those that were not carried out.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().expect("nobody panics here").clone()
    }

    /// How many calls were not carried out, or not certainly.
    pub fn failed(&self) -> usize {
        [&self.unavailable, &self.unknown, &self.lost].map(|count| count.load(SeqCst)).iter().sum()
    }
}

impl Load {
    /// Sends callers to a server.
    pub fn start(server: SocketAddr, callers: usize) -> Self {
        Self::start_on(&[server], callers)
    }

    /// Sends callers to several replicas, a call to each in turn.
    pub fn start_on(servers: &[SocketAddr], callers: usize) -> Self {
        let servers = watch::Sender::new(servers.to_vec());
        let (tally, stop) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let mut set = JoinSet::new();
        for n in 0..callers {
            let caller = Caller {
                servers: servers.subscribe(),
                turn: n,
                tally: Arc::clone(&tally),
                user_id: format!("user-{n}"),
            };
            let stop = Arc::clone(&stop);
            set.spawn(async move { caller.call_until(&stop).await });
        }
        Self { tally, callers: set, stop, servers }
    }

    /// Sends them to another server.
    pub fn move_to(&self, server: SocketAddr) {
        self.move_to_all(&[server]);
    }

    /// Sends them to other replicas.
    pub fn move_to_all(&self, servers: &[SocketAddr]) {
        self.servers.send_replace(servers.to_vec());
    }

    /// Waits until so many more calls were acknowledged; for each of them as long as one waits for anything.
    pub async fn until_acknowledged(&mut self, more: usize) {
        let before = self.tally.acknowledged.load(SeqCst);
        for next in 1..=more {
            self.until(|tally| tally.acknowledged.load(SeqCst) >= before + next).await;
        }
    }

    /// Waits for an effect of a failure.
    pub async fn until(&mut self, is_so: impl Fn(&Tally) -> bool) {
        let tally = Arc::clone(&self.tally);
        tokio::select! {
            // A caller that ends by itself has found a broken promise.
            Some(ended) = self.callers.join_next() => panic!("{:?}", ended.err()),
            () = until(async || is_so(&tally)) => {}
        }
    }

    /// Ends the callers, and asserts that everything that was acknowledged stands.
    pub async fn finish(mut self) {
        self.stop.store(true, SeqCst);
        let mut client = WhitelistServiceClient::new(channel(self.servers.borrow()[0]));
        let mut get = async |user_id: &str, session: &str| {
            let request = GetRefreshTokenRequest { user_id: user_id.into(), session: session.into() };
            client
                .get_refresh_token(request)
                .await
                .expect("what was acknowledged is there")
                .into_inner()
                .token
                .unwrap()
        };
        while let Some(caller) = patiently(self.callers.join_next()).await {
            let told = caller.expect("no promise is broken");
            assert_eq!(get(&told.user_id, "own").await.jti, told.jti, "of {}", told.user_id);
            for (session, was_ended) in told.sessions {
                let state = get(&told.user_id, &session).await.state();
                let expected = if was_ended { TokenState::Revoked } else { TokenState::Active };
                assert_eq!(state, expected, "{} {session}", told.user_id);
            }
        }
    }
}

struct Caller {
    servers: watch::Receiver<Vec<SocketAddr>>,
    turn: usize,
    tally: Arc<Tally>,
    user_id: String,
}

impl Caller {
    async fn call_until(mut self, stop: &AtomicBool) -> Acknowledged {
        let mut told = Acknowledged { user_id: self.user_id.clone(), jti: "0".into(), sessions: Vec::new() };
        self.open("own", "0").await;
        let mut n = 0;
        while !stop.load(SeqCst) {
            n += 1;
            told.jti = self.rotate(&told.jti, &mut n).await;
            if n % 5 == 0 {
                let session = format!("beside-{n}");
                self.open(&session, "0").await;
                let is_to_end = n % 10 == 0;
                if is_to_end {
                    self.end(&session).await;
                }
                told.sessions.push((session, is_to_end));
            }
        }
        told
    }

    fn client(&mut self) -> WhitelistServiceClient<Channel> {
        let servers = self.servers.borrow_and_update();
        self.turn += 1;
        WhitelistServiceClient::new(channel(servers[self.turn % servers.len()]))
    }

    /// Makes a call that is safe to send again, until it is acknowledged.
    async fn until_acknowledged<T, F>(&mut self, call: impl Fn(WhitelistServiceClient<Channel>) -> F) -> T
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut client = self.client();
        loop {
            let since = Instant::now();
            match call(client).await {
                Ok(answer) => {
                    self.tally.acknowledge(since);
                    return answer.into_inner();
                }
                Err(error) => {
                    self.tally.read(&error);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    client = self.client();
                }
            }
        }
    }

    async fn open(&mut self, session: &str, jti: &str) {
        let request = AddRefreshTokenRequest {
            user_id: self.user_id.clone(),
            session: session.into(),
            jti: jti.into(),
            ..Default::default()
        };
        self.until_acknowledged(|mut client| {
            let request = request.clone();
            async move { client.add_refresh_token(request).await }
        })
        .await;
    }

    async fn end(&mut self, session: &str) {
        let request = RevokeSessionRequest {
            user_id: self.user_id.clone(),
            session: session.into(),
            reason: RevocationReason::Logout.into(),
        };
        self.until_acknowledged(|mut client| {
            let request = request.clone();
            async move { client.revoke_session(request).await }
        })
        .await;
    }

    /// Rotates to `n`, or to the next one that a refusal leaves free; answers the new jti.
    async fn rotate(&mut self, jti: &str, n: &mut usize) -> String {
        let mut client = self.client();
        let mut may_be_done = false;
        loop {
            let new_jti = n.to_string();
            let request = RotateRefreshTokenRequest {
                user_id: self.user_id.clone(),
                session: "own".into(),
                jti: jti.into(),
                new_jti: Some(new_jti.clone()),
                client: None,
            };
            let since = Instant::now();
            match client.rotate_refresh_token(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    // Had one been done that was refused as not done, this would be GRACE.
                    match answer.outcome() {
                        RotationOutcome::Rotated => {}
                        RotationOutcome::Retried if may_be_done => {}
                        other => panic!("{other:?} of {jti} to {new_jti}"),
                    }
                    assert_eq!(answer.token.unwrap().jti, new_jti);
                    self.tally.acknowledge(since);
                    return new_jti;
                }
                Err(error) => match self.tally.read(&error) {
                    Said::Unknown => may_be_done = true,
                    // Another successor, to see whether the refused one was really not taken.
                    Said::NotDone if !may_be_done => *n += 1,
                    Said::NotDone => {}
                },
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            client = self.client();
        }
    }
}
