//! Calls as HTTP/2 sees them: headers, no client that keeps deadlines of its own, and framing that no client sends.

use std::net::SocketAddr;

use h2::client::SendRequest;
use prost::Message;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::codegen::http::{HeaderMap, Request, StatusCode};

/// What came back of a call.
pub struct Exchange {
    /// Headers, with the trailers among them.
    pub headers: HeaderMap,
    /// The body, frames and all.
    pub body: Vec<u8>,
}

impl Exchange {
    /// The call's end.
    pub fn status(&self) -> Status {
        Status::from_header_map(&self.headers).expect("a grpc-status")
    }

    /// One header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The answer, or the refusal.
    pub fn answer<T: Message + Default>(&self) -> Result<T, Status> {
        match self.status() {
            ok if ok.code() == tonic::Code::Ok => Ok(T::decode(&self.body[5..]).expect("a message")),
            refused => Err(refused),
        }
    }
}

/// A connection for one call.
pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender.ready().await.expect("a stream")
}

/// One call's headers.
pub fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://registry{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("headers")
}

/// A message as gRPC frames it.
pub fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// One call, with this body.
pub async fn exchange(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Exchange {
    let mut sender = connect(address).await;
    exchange_on(&mut sender, path, headers, body).await.expect("a response")
}

/// One call on a connection that is there; an error if the connection doesn't live to see its end.
pub async fn exchange_on(
    sender: &mut SendRequest<Bytes>,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Exchange, h2::Error> {
    std::future::poll_fn(|cx| sender.poll_ready(cx)).await?;
    let (response, mut stream) = sender.send_request(request(path, headers), false)?;
    // A refusal may come before all of the body is sent.
    let _ = stream.send_data(Bytes::from(body), true);
    let response = response.await?;
    assert_eq!(response.status(), StatusCode::OK);
    let (parts, mut incoming) = response.into_parts();
    let (mut headers, mut body) = (parts.headers, Vec::new());
    while let Some(chunk) = incoming.data().await {
        body.extend(chunk?);
    }
    if let Some(trailers) = incoming.trailers().await? {
        headers.extend(trailers);
    }
    Ok(Exchange { headers, body })
}
