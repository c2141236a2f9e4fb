//! What is asked, with keys drawn at random, and what a right answer looks like.

use prost::Message as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use token_registry::proto::{
    AddRefreshTokenRequest, AuthenticateAuthTokenRequest, BatchCheckSessionsRequest, CheckSessionRequest,
    ClientInfo, ConsumeGenericTokenRequest, IssueGenericTokenRequest, RotateRefreshTokenRequest,
    RotationOutcome, SessionQuestion, TokenState,
};

use crate::echo;
use crate::names::{self, CONSUMED_PURPOSE, ISSUED_PURPOSE};

/// A method to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    EchoCheck,
    EchoRotate,
    EchoAuthenticate,
    /// A check by a handler with nothing of ours in it.
    PlainCheck,
    Check,
    Batch,
    Rotate,
    Add,
    Issue,
    Consume,
    Authenticate,
}

/// Questions of one batch.
pub const BATCH: usize = 100;

impl Method {
    pub fn path(self) -> &'static str {
        match self {
            Self::EchoCheck => "/bench.Echo/Check",
            Self::EchoRotate => "/bench.Echo/Rotate",
            Self::EchoAuthenticate => "/bench.Echo/Authenticate",
            Self::PlainCheck => "/bench.Plain/Check",
            Self::Check => "/tokenregistry.v1.WhitelistService/CheckSession",
            Self::Batch => "/tokenregistry.v1.WhitelistService/BatchCheckSessions",
            Self::Rotate => "/tokenregistry.v1.WhitelistService/RotateRefreshToken",
            Self::Add => "/tokenregistry.v1.WhitelistService/AddRefreshToken",
            Self::Issue => "/tokenregistry.v1.GenericTokenService/IssueGenericToken",
            Self::Consume => "/tokenregistry.v1.GenericTokenService/ConsumeGenericToken",
            Self::Authenticate => "/tokenregistry.v1.AuthTokenService/AuthenticateAuthToken",
        }
    }
}

/// What a generator knows of the rows, so that each of its requests succeeds.
pub struct Keys {
    random: SmallRng,
    sessions: u64,
    /// The sessions that are rotated: 1 for all, 2 for the even ones.
    step: u64,
    /// How often each of those was rotated; [`LOST`] where that isn't known any more.
    rotations: Vec<u32>,
    /// Those with a rotation under way.
    rotating: Vec<bool>,
    added: u64,
    secrets: std::ops::Range<u64>,
    client: ClientInfo,
    /// Whether requests may be refused. A rotation that was is asked for again some time, with the same jtis.
    pub overload: bool,
}

const LOST: u32 = u32::MAX;

impl Keys {
    pub fn new(sessions: u64, secrets: u64, rotate_all: bool) -> Self {
        let step = if rotate_all { 1 } else { 2 };
        let rotated = usize::try_from(sessions / step).expect("so many sessions fit into memory");
        Self {
            random: SmallRng::from_rng(&mut rand::rng()),
            sessions,
            step,
            rotations: vec![0; rotated],
            rotating: vec![false; rotated],
            added: 0,
            secrets: 0..secrets,
            client: echo::client(),
            overload: false,
        }
    }

    /// The message of a next request, and the key that [`Self::answered`] wants back. `None` when there are no more.
    pub fn next(&mut self, method: Method) -> Option<(u64, Vec<u8>)> {
        let drawn = self.random.random_range(0..self.sessions);
        Some(match method {
            Method::EchoCheck | Method::PlainCheck | Method::Check => {
                let request =
                    CheckSessionRequest { user_id: names::user(drawn), session: names::session(drawn) };
                (drawn, request.encode_to_vec())
            }
            Method::EchoRotate => (drawn, rotation(drawn, 0)),
            Method::Rotate => {
                let place = self.rotatable()?;
                self.rotating[place] = true;
                let session = self.step * place as u64;
                (session, rotation(session, self.rotations[place]))
            }
            Method::Batch => {
                let sessions = (0..BATCH).map(|_| self.random.random_range(0..self.sessions));
                let sessions = sessions.map(|drawn| SessionQuestion {
                    user_id: names::user(drawn),
                    session: names::session(drawn),
                });
                (drawn, BatchCheckSessionsRequest { sessions: sessions.collect() }.encode_to_vec())
            }
            Method::Add => {
                let session = names::ADDED - names::SESSIONS + self.added;
                self.added += 1;
                let request = AddRefreshTokenRequest {
                    user_id: names::user(drawn),
                    session: names::session(session),
                    jti: names::jti(drawn, 0),
                    client: Some(self.client.clone()),
                    ..Default::default()
                };
                (session, request.encode_to_vec())
            }
            Method::Issue => {
                let request = IssueGenericTokenRequest {
                    user_id: names::user(drawn),
                    purpose: ISSUED_PURPOSE.into(),
                    client: Some(self.client.clone()),
                    keep_existing: false,
                    ..Default::default()
                };
                (drawn, request.encode_to_vec())
            }
            Method::Consume => {
                let n = self.secrets.next()?;
                let request = ConsumeGenericTokenRequest {
                    purpose: CONSUMED_PURPOSE.into(),
                    value: names::secret(n),
                    ..Default::default()
                };
                (n, request.encode_to_vec())
            }
            Method::EchoAuthenticate | Method::Authenticate => {
                let request = AuthenticateAuthTokenRequest { key: names::key(drawn) };
                (drawn, request.encode_to_vec())
            }
        })
    }

    /// Takes note of an answer; says whether it is the right one. `None`: refused.
    pub fn answered(&mut self, method: Method, key: u64, message: Option<&[u8]>) -> bool {
        const ACTIVE: u8 = TokenState::Active as u8;
        const ROTATED: u8 = RotationOutcome::Rotated as u8;
        const RETRIED: u8 = RotationOutcome::Retried as u8;
        // Past the five bytes that gRPC puts before a message.
        let message = message.and_then(|bytes| bytes.get(5..)).unwrap_or_default();
        let right = match method {
            // `state` is field 1, and `outcome` is field 2 and the last one.
            Method::Check | Method::Authenticate => message.starts_with(&[0x08, ACTIVE]),
            Method::Rotate if message.ends_with(&[0x10, RETRIED]) => self.overload,
            Method::Rotate => message.ends_with(&[0x10, ROTATED]),
            Method::Batch => message.get(2..).is_some_and(|first| first.starts_with(&[0x08, ACTIVE])),
            _ => !message.is_empty(),
        };
        if method == Method::Rotate {
            let place = usize::try_from(key / self.step).expect("it was one");
            self.rotating[place] = false;
            if right {
                self.rotations[place] += 1;
            } else if !self.overload || !message.is_empty() {
                self.rotations[place] = LOST;
            }
        }
        right
    }

    /// A session that can be rotated now.
    fn rotatable(&mut self) -> Option<usize> {
        // More than enough as long as there are many more sessions than requests under way.
        (0..1000)
            .map(|_| self.random.random_range(0..self.rotations.len()))
            .find(|&place| !self.rotating[place] && self.rotations[place] != LOST)
    }
}

fn rotation(session: u64, rotations: u32) -> Vec<u8> {
    let request = RotateRefreshTokenRequest {
        user_id: names::user(session),
        session: names::session(session),
        jti: names::jti(session, rotations),
        new_jti: Some(names::jti(session, rotations + 1)),
        client: None,
    };
    request.encode_to_vec()
}
