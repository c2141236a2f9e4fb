//! The messages and services of package `tokenregistry.v1`, generated from `proto/`.

// Generated: the comments are those of the .proto files.
#![allow(missing_docs, clippy::pedantic)]

use std::fmt;

tonic::include_proto!("tokenregistry.v1");

/// The compiled `.proto` files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A message whose fields may be secret shows its name and nothing else.
macro_rules! opaque_debug {
    ($($message:ident),*) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        })*
    };
}

opaque_debug!(
    ClientInfo,
    IssueGenericTokenRequest,
    IssueGenericTokenResponse,
    ConsumeGenericTokenRequest,
    CheckGenericTokenRequest,
    CreateAuthTokenResponse,
    AuthenticateAuthTokenRequest
);
