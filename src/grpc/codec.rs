//! prost's codec, but for what it says of a request that can't be read: that is the caller's fault, not ours.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::status;
use crate::registry::Violation;

/// Room for a message before it grows, each way. Nearly all are smaller. tonic's own default of 8 KiB a message each way
/// is more than an allocator keeps at hand, and cost a tenth of a check.
const BUFFER: usize = 512;
/// How much is encoded before it is handed on, of which a method that answers once has no use: tonic's default.
const YIELD: usize = 32 * 1024;

/// Encodes and decodes messages; unreadable ones are `INVALID_REQUEST`, with the field named where it is known.
#[derive(Debug)]
pub struct RegistryCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for RegistryCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for RegistryCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = RegistryDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        RegistryDecoder(PhantomData)
    }
}

/// Decodes messages.
#[derive(Debug)]
pub struct RegistryDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for RegistryDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buf).map(Some).map_err(|error| {
            let violation =
                Violation::new(field_of(&error.to_string()), "is not valid protobuf (strings must be UTF-8)");
            status::invalid(&[violation])
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD)
    }
}

/// The field that prost names in `…: AddRefreshTokenRequest.client: ClientInfo.browser: invalid …`.
fn field_of(description: &str) -> String {
    let fields: Vec<&str> = description
        .split(": ")
        .filter_map(|part| part.split_once('.'))
        .filter(|(message, field)| !field.is_empty() && !message.contains(' ') && !field.contains(' '))
        .map(|(_, field)| field)
        .collect();
    // Innermost first.
    fields.into_iter().rev().collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{AddRefreshTokenRequest, ClientInfo};

    #[test]
    fn a_string_that_is_not_utf8_is_named() {
        let client = ClientInfo { browser: Some("abc".into()), ..Default::default() };
        let request = AddRefreshTokenRequest { client: Some(client), ..Default::default() };
        let mut bytes = request.encode_to_vec();
        let place = bytes.windows(3).position(|w| w == b"abc").unwrap();
        bytes[place] = 0xff;
        let error = AddRefreshTokenRequest::decode(&bytes[..]).err().unwrap();
        assert_eq!(field_of(&error.to_string()), "client.browser");
    }
}
