//! Compiles the `.proto` files with protox: no protoc has to be installed.

use prost::Message as _;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files: Vec<PathBuf> = std::fs::read_dir("proto/tokenregistry/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::RegistryCodec")
        // These carry one-time values and user agents: src/proto.rs gives them a `Debug` that doesn't show them.
        .skip_debug([
            ".tokenregistry.v1.ClientInfo",
            ".tokenregistry.v1.IssueGenericTokenRequest",
            ".tokenregistry.v1.IssueGenericTokenResponse",
            ".tokenregistry.v1.ConsumeGenericTokenRequest",
            ".tokenregistry.v1.CheckGenericTokenRequest",
            ".tokenregistry.v1.CreateAuthTokenResponse",
            ".tokenregistry.v1.AuthenticateAuthTokenRequest",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
