# syntax=docker/dockerfile:1
# The registry for production: without the embedded database, as a user without rights, on a small base.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Dependencies in a layer of their own: built again only when they change.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
RUN mkdir -p src tests benches/load && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
 && echo 'fn main() {}' > tests/main.rs && echo 'fn main() {}' > benches/load/main.rs && echo 'fn main() {}' > benches/user_agents.rs \
 && cargo build --release --locked --no-default-features --bin token-registry \
 && rm -rf src tests benches
COPY migrations migrations
COPY src src
RUN mkdir -p tests benches/load && echo 'fn main() {}' > tests/main.rs && echo 'fn main() {}' > benches/load/main.rs && echo 'fn main() {}' > benches/user_agents.rs \
 && touch src/main.rs src/lib.rs \
 && cargo build --release --locked --no-default-features --bin token-registry

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/token-registry /usr/local/bin/token-registry
USER nonroot
# Inside a container the loopback interface is of no use to anybody else. On any other the registry starts with a certificate
# (TOKEN_REGISTRY_TLS_CERTIFICATE and _KEY), or when TOKEN_REGISTRY_PLAINTEXT=everywhere says that something else encrypts;
# which of the two is for whoever runs the image to say.
ENV TOKEN_REGISTRY_LISTEN=0.0.0.0:50051
EXPOSE 50051
ENTRYPOINT ["/usr/local/bin/token-registry"]
CMD ["serve"]
