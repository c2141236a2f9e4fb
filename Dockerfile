# The registry for production: without the embedded database, as a user without rights, on a base without a shell.
#
#   docker build -t token-registry .
#   docker run --read-only -e DATABASE_URL=postgres://… -e TOKEN_REGISTRY_PLAINTEXT=everywhere -p 127.0.0.1:50051:50051 token-registry
#
# The bases are named by tag. Name them by digest where you build, and keep that in your pipeline:
#
#   docker build --build-arg BASE=gcr.io/distroless/cc-debian12:nonroot@sha256:… …
#
# docs/operating.md, "The image", says how this file was tried.
ARG RUST=docker.io/library/rust:1.95-slim-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST} AS build
WORKDIR /src
# Writes the list of libraries into the program (SBOM): `cargo audit bin`, syft, trivy and grype read it from there.
RUN cargo install --locked --version 0.7.7 cargo-auditable
# Libraries in a layer of their own, which is built again only when they change: everything of ours is empty so far.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
RUN mkdir -p src tests benches/load && touch src/lib.rs \
 && for main in src/main.rs tests/main.rs benches/load/main.rs benches/user_agents.rs; do echo 'fn main() {}' >$main; done \
 && cargo auditable build --release --locked --no-default-features --bin token-registry
COPY migrations migrations
COPY src src
# The files that were copied may be older than the empty ones.
RUN touch src/main.rs src/lib.rs \
 && cargo auditable build --release --locked --no-default-features --bin token-registry

FROM ${BASE}
LABEL org.opencontainers.image.title="token-registry" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/target/release/token-registry /usr/local/bin/token-registry
COPY LICENSE /usr/share/doc/token-registry/LICENSE
# distroless's nonroot, as a number, so that Kubernetes' runAsNonRoot can tell. Nothing is written to the image's own files.
USER 65532:65532
# Inside a container the loopback interface is of no use to anybody else. On any other the registry starts with a certificate
# (TOKEN_REGISTRY_TLS_CERTIFICATE and _KEY), or when TOKEN_REGISTRY_PLAINTEXT=everywhere says that something else encrypts;
# which of the two is for whoever runs the image to say.
ENV TOKEN_REGISTRY_LISTEN=0.0.0.0:50051
EXPOSE 50051
# Liveness, not readiness: a new container doesn't mend a database.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/token-registry", "health", "--live"]
ENTRYPOINT ["/usr/local/bin/token-registry"]
CMD ["serve"]
