//! What one would write without a registry: a tonic method that sends the same statement over one connection, with
//! nothing between. It is as near to an idle registry's least as these libraries come.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use token_registry::proto::{CheckSessionRequest, CheckSessionResponse, TokenState};
use token_registry::store::STATEMENTS;
use tokio_postgres::{Client, Statement};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::Failure;

/// The service `bench.Plain`.
#[derive(Clone)]
pub struct Plain {
    database: Arc<(Client, Statement)>,
}

impl Plain {
    pub async fn on(database_url: &str) -> Result<Self, Failure> {
        let (client, connection) = tokio_postgres::connect(database_url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let check = STATEMENTS.iter().find(|statement| statement.name == "session/check.sql");
        let statement = client.prepare(check.ok_or("no such statement")?.sql()).await?;
        Ok(Self { database: Arc::new((client, statement)) })
    }
}

type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl UnaryService<CheckSessionRequest> for Plain {
    type Response = CheckSessionResponse;
    type Future = Answering<Result<Response<CheckSessionResponse>, Status>>;

    fn call(&mut self, request: Request<CheckSessionRequest>) -> Self::Future {
        let database = Arc::clone(&self.database);
        Box::pin(async move {
            let (client, statement) = &*database;
            let CheckSessionRequest { user_id, session } = request.into_inner();
            let row = client.query_one(statement, &[&user_id, &session]).await;
            let row = row.map_err(|_| Status::unavailable("no answer"))?;
            let (enabled, expires): (bool, std::time::SystemTime) = (row.get(0), row.get(1));
            let state = if enabled { TokenState::Active } else { TokenState::Disabled };
            let session_expires = Some(expires.into());
            Ok(Response::new(CheckSessionResponse { state: state.into(), session_expires }))
        })
    }
}

impl NamedService for Plain {
    const NAME: &'static str = "bench.Plain";
}

impl Service<http::Request<Body>> for Plain {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = self.clone();
        let codec = ProstCodec::<CheckSessionResponse, CheckSessionRequest>::default();
        Box::pin(async move { Ok(Grpc::new(codec).unary(method, request).await) })
    }
}
