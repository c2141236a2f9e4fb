//! The ceiling: methods that do nothing, with the messages of `CheckSession`, `RotateRefreshToken` and
//! `AuthenticateAuthToken`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use prost::Message;
use token_registry::proto::{
    AuthToken, AuthenticateAuthTokenRequest, AuthenticateAuthTokenResponse, BaseToken, CheckSessionRequest,
    CheckSessionResponse, ClientInfo, RefreshToken, RotateRefreshTokenRequest, RotateRefreshTokenResponse,
    RotationOutcome, TokenState,
};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::names;

/// The service `bench.Echo`.
#[derive(Clone)]
pub struct Echo {
    check: Always<CheckSessionResponse>,
    rotate: Always<RotateRefreshTokenResponse>,
    authenticate: Always<AuthenticateAuthTokenResponse>,
}

impl Default for Echo {
    fn default() -> Self {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 123_456_000 });
        let token = RefreshToken {
            base: Some(BaseToken { id: 123_456, created: at(1_800_000_000), client: Some(client()) }),
            user_id: names::user(0),
            jti: names::jti(0, 1),
            enabled: true,
            session: names::session(0),
            state: TokenState::Active.into(),
            session_created: at(1_800_000_000),
            session_expires: at(1_802_592_000),
            idle_expires: at(1_801_209_600),
            rotations: 1,
            ..Default::default()
        };
        let auth_token = AuthToken {
            user_id: names::user(0),
            created: at(1_800_000_000),
            prefix: names::key(0)[..8].to_owned(),
            last_used: at(1_800_000_000),
            state: TokenState::Active.into(),
            ..Default::default()
        };
        Self {
            check: Always(CheckSessionResponse {
                state: TokenState::Active.into(),
                session_expires: at(1_802_592_000),
            }),
            rotate: Always(RotateRefreshTokenResponse {
                token: Some(token),
                outcome: RotationOutcome::Rotated.into(),
            }),
            authenticate: Always(AuthenticateAuthTokenResponse {
                state: TokenState::Active.into(),
                user_id: names::user(0),
                auth_token: Some(auth_token),
            }),
        }
    }
}

/// The device of every session, as a message.
pub fn client() -> ClientInfo {
    let value = |name: &str| {
        names::CLIENT.iter().find(|(column, _)| *column == name).map(|(_, value)| (*value).to_owned())
    };
    let flag = |name: &str| value(name).map(|value| value == "true");
    ClientInfo {
        ip: value("ip"),
        is_mobile: flag("is_mobile"),
        is_tablet: flag("is_tablet"),
        is_pc: flag("is_pc"),
        is_bot: flag("is_bot"),
        browser: value("browser"),
        browser_version: value("browser_version"),
        os: value("os"),
        os_version: value("os_version"),
        device: value("device"),
        device_brand: value("device_brand"),
        device_model: value("device_model"),
        user_agent: None,
    }
}

/// A method that reads its request and always answers this.
#[derive(Clone)]
struct Always<T>(T);

macro_rules! always {
    ($request:ty => $response:ty) => {
        impl UnaryService<$request> for Always<$response> {
            type Response = $response;
            type Future = Ready<Result<Response<$response>, Status>>;

            fn call(&mut self, _: Request<$request>) -> Self::Future {
                ready(Ok(Response::new(self.0.clone())))
            }
        }
    };
}

always!(CheckSessionRequest => CheckSessionResponse);
always!(RotateRefreshTokenRequest => RotateRefreshTokenResponse);
always!(AuthenticateAuthTokenRequest => AuthenticateAuthTokenResponse);

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            "/bench.Echo/Check" => unary::<CheckSessionRequest, _, _>(self.check.clone(), request),
            "/bench.Echo/Rotate" => unary::<RotateRefreshTokenRequest, _, _>(self.rotate.clone(), request),
            "/bench.Echo/Authenticate" => {
                unary::<AuthenticateAuthTokenRequest, _, _>(self.authenticate.clone(), request)
            }
            _ => Box::pin(ready(Ok(Status::unimplemented("no such method").into_http()))),
        }
    }
}

fn unary<Q, A, M>(method: M, request: http::Request<Body>) -> <Echo as Service<http::Request<Body>>>::Future
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    M: UnaryService<Q, Response = A> + Send + 'static,
    M::Future: Send,
{
    Box::pin(async move { Ok(Grpc::new(ProstCodec::<A, Q>::default()).unary(method, request).await) })
}
