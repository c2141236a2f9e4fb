//! Calls whose request is bytes: what no generated client would send.

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use token_registry::proto::DESCRIPTORS;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

use prost::bytes::{Buf as _, BufMut as _};

/// One method of the package.
pub struct Method {
    /// As in `/tokenregistry.v1.WhitelistService/AddRefreshToken`.
    pub path: String,
    /// Its own name.
    pub name: String,
    /// Its request message.
    pub input: DescriptorProto,
}

/// Every method of the package, from its descriptors: one that is added later is here by itself.
pub fn methods() -> Vec<Method> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
    let files: Vec<_> = set.file.into_iter().filter(|file| file.package() == "tokenregistry.v1").collect();
    let message = |full_name: &str| {
        let name = full_name.rsplit('.').next().unwrap_or_default();
        let found = files.iter().flat_map(|file| &file.message_type).find(|message| message.name() == name);
        found.expect("a request message of the package").clone()
    };
    let services = files.iter().flat_map(|file| &file.service);
    services
        .flat_map(|service| service.method.iter().map(move |method| (service, method)))
        .map(|(service, method)| Method {
            path: format!("/tokenregistry.v1.{}/{}", service.name(), method.name()),
            name: method.name().to_owned(),
            input: message(method.input_type()),
        })
        .collect()
}

/// Makes one call with these bytes as its request message.
pub async fn call(channel: &Channel, path: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unknown(format!("no connection: {error}")))?;
    let path = PathAndQuery::try_from(path).expect("a path");
    Ok(client.unary(Request::new(message), path, Bytes).await?.into_inner())
}

/// Appends a field that is a varint: integers, booleans, enums.
pub fn put_varint(bytes: &mut Vec<u8>, field: i32, value: i64) {
    prost::encoding::int64::encode(u32::try_from(field).expect("a field number"), &value, bytes);
}

/// Appends a field that has a length: strings, messages.
pub fn put_bytes(bytes: &mut Vec<u8>, field: i32, value: &[u8]) {
    let field = u32::try_from(field).expect("a field number");
    prost::encoding::bytes::encode(field, &value.to_vec(), bytes);
}

/// Takes messages as the bytes that they are.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
