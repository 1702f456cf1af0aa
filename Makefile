# lambent: `make help` lists what there is.
SHELL := /bin/bash
export CGO_ENABLED := 0
# For all that is compiled, so that the program and its tests have it from one cache.
export GOFLAGS += -trimpath
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X lambent.dev/lambent/internal/telemetry.version=$(VERSION)
GOLANGCI_LINT := .cache/bin/golangci-lint
GOLANGCI_VERSION := v2.15.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: build
build: ## build bin/lambent
	@mkdir -p bin
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/lambent ./cmd/lambent

.PHONY: run
run: ## install what is missing, start the server, deploy and invoke a sample, keep serving
	@scripts/run.sh

.PHONY: demo
demo: ## the same, on free ports and a temporary directory, and end
	@scripts/run.sh --once

.PHONY: deps
deps: ## install what the tests need, from the package registries
	@scripts/test-deps.sh

.PHONY: test
test: deps ## all tests
	scripts/test.sh

.PHONY: test-short
test-short: ## the tests that need nothing but Go
	$(GO) test -short ./...

.PHONY: race
race: ## the rooms' tests under the race detector
	@# The one that takes longest goes first, so that others are beside it until it ends.
	CGO_ENABLED=1 $(GO) test -race -short ./internal/sandbox/linux ./internal/... .

.PHONY: soak
soak: ## long crash and load runs
	LAMBENT_TEST_SOAK=1 LAMBENT_TEST_LARGE=1 $(GO) test -count=1 -p 1 -timeout 120m ./internal/sandbox/linux ./test/...

.PHONY: fuzz
fuzz: ## each fuzz target for a minute
	scripts/fuzz.sh 1m

.PHONY: bench
bench: build ## measure; writes bench/results/*.json and bench/REPORT.md
	bash scripts/bench-deps.sh
	$(GO) run ./bench

.PHONY: generate
generate: ## make generated files anew
	$(GO) generate ./...

.PHONY: fmt
fmt: ## format
	gofmt -w $$(git ls-files '*.go')

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/.cache/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: lint
lint: $(GOLANGCI_LINT) ## gofmt, vet and golangci-lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	$(GO) vet ./...
	$(GOLANGCI_LINT) run ./...

.PHONY: check
check: lint race test ## what CI runs

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .cache
