# The few things that one does here. `make` lists them.

.DEFAULT_GOAL := help
.PHONY: help dev test check fmt clients bench image

help: ## lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

dev: ## starts the registry on its embedded database
	cargo run -- dev

test: ## runs all tests, on a PostgreSQL that they start themselves
	cargo test

check: ## what CI checks besides: format, lints, .proto files, licences
	.ci/check

fmt: ## formats the code
	cargo fmt

clients: ## runs the example clients of five languages and Django against ADDRESS (default 127.0.0.1:50051)
	clients/run-all $(ADDRESS)

image: ## builds the container image
	docker build -t token-registry .
