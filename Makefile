# What a person or CI asks of this repository. `make help` lists it; CONTRIBUTING.md explains it.
#
# Each target works by itself from a clean clone on Debian 12 with Go, git and make: what else it
# needs is installed by .ci/need, which says so.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

GO ?= go
# A clone may belong to another user than the one who builds, as in a CI container.
GIT := git -c safe.directory=$(CURDIR)
VERSION ?= $(shell $(GIT) describe --tags --always --dirty 2>/dev/null || echo unknown)

CACHE := $(CURDIR)/.cache
LINT_VERSION := v2.15.0
LINT := $(CACHE)/bin/golangci-lint-$(LINT_VERSION)
# gVisor has no releases that Go knows; this is its branch go, which go install can build.
GVISOR_VERSION := v0.0.0-20260905035102-160fafc42237
RUNSC := $(CACHE)/bin/runsc-$(GVISOR_VERSION)
H2SPEC_VERSION := v2.2.1
H2SPEC := $(CACHE)/bin/h2spec-$(H2SPEC_VERSION)

# Where up and down keep everything, if not in the default place: make up DATA=DIR.
ifdef DATA
export APRON_DATA := $(abspath $(DATA))
endif

# go test -timeout is per package; the longest are those that build images and kill processes.
TEST_TIMEOUT ?= 30m
TEST ?= ./...
# Only the engine's tests run gVisor, only the router's h2spec.
TEST_TOOLS = $(if $(or $(filter ./... ./engine/...,$(TEST)),$(findstring containerd,$(TEST))),$(RUNSC)) \
	$(if $(or $(filter ./...,$(TEST)),$(findstring router,$(TEST))),$(H2SPEC))
# What test-vm runs of the engine's tests; empty: all with KVM, those of the kernel's limits without.
TEST_RUN ?=
FUZZ_TIME ?= 1m
BENCH ?= .
BENCH_TIME ?= 1s
# Whole services are created and deleted this often; percentiles want some.
BENCH_RUNS ?= 30x

##@ Use it
.PHONY: up
up: build ## build, start the server, deploy the example from examples/hello, print its URL
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w" -o .cache/hello ./examples/hello
	bin/apron up
	bin/apron push .cache/hello hello:latest
	bin/apron deploy hello hello:latest
	@printf '\nTry next:\n' && printf '  %s\n' \
		'eval "$$(bin/apron env)"              # point AWS clients here' \
		'aws apprunner list-services --endpoint-url "$$AWS_ENDPOINT_URL"' \
		'bin/apron logs hello                 # what happened to the service' \
		'make down                            # stop everything'

.PHONY: down
down: ## stop the server, the router, the engine and every instance
	@if [ -x bin/apron ]; then bin/apron down; else echo "nothing to stop: bin/apron was never built"; fi

##@ Change it
.PHONY: build
build: need-build ## build bin/apron with runc and the containerd shim inside
	$(GO) run ./engine/containerd/embed/gen
	$(GO) build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/apron ./cmd/apron

.PHONY: test
test: need-test build $(TEST_TOOLS) ## run all tests, race detector on (TEST=./store/... for some)
	APRON_BIN=$(CURDIR)/bin/apron APRON_RUNSC=$(RUNSC) APRON_H2SPEC=$(H2SPEC) \
		.ci/with-postgres $(GO) test -race -timeout $(TEST_TIMEOUT) $(TEST)

.PHONY: test-vm
test-vm: need-vm build ## run the engine's tests on Debian's kernel, in a virtual machine (TEST_RUN=regexp)
	@.ci/vm '$(TEST_RUN)'

.PHONY: bench
bench: need-bench build ## run all benchmarks, one package at a time (BENCH=regexp TEST=./router/...)
	.ci/with-postgres $(GO) test -p 1 -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCH_TIME) -timeout 60m \
		$$($(GO) list $(TEST) | grep -v /e2e)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCH_RUNS) -timeout 60m ./e2e

.PHONY: fuzz
fuzz: ## run every fuzz target (FUZZ_TIME=1m each) and 10,000 random requests for each action
	$(GO) test ./api -run TestRandomRequests -timeout 30m -args -requests 10000
	@for package in $$($(GO) list $(TEST)); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 20x $$package; \
		done; \
	done

# GOFLAGS as in build, so that dependencies are compiled once for both: a third of a cold run.
CHECKS := check-format check-lint check-vet check-rules check-generated check-modules
check $(CHECKS): export GOFLAGS := $(strip $(shell $(GO) env GOFLAGS) -trimpath)

.PHONY: check $(CHECKS)
check: need-build $(CHECKS) ## formatting, linters, vet, repository rules, generated files, go.mod

check-format: $(LINT)
	$(LINT) fmt --diff

check-lint: $(LINT)
	$(LINT) run

check-vet:
	$(GO) vet ./...

check-rules:
	$(GO) test .

check-modules:
	$(GO) mod tidy -diff

# The state of the work tree before and after, so that it also works on uncommitted changes.
check-generated:
	@state() { $(GIT) diff --binary HEAD; $(GIT) ls-files -oz --exclude-standard | xargs -0r sha256sum; }; \
	before=$$(state | sha256sum); \
	$(GO) generate ./...; \
	[ "$$before" = "$$(state | sha256sum)" ] || { \
		$(GIT) --no-pager diff --stat HEAD; \
		echo "generated files are stale: run make generate and commit the result" >&2; exit 1; }

.PHONY: ci
ci: ## check, then test: what .ci/run runs
	$(MAKE) --no-print-directory check
	$(MAKE) --no-print-directory test

.PHONY: fmt
fmt: $(LINT) ## format the Go files
	$(LINT) fmt

.PHONY: generate
generate: ## run go generate
	$(GO) generate ./...

.PHONY: clean
clean: ## remove what make built; the Go caches stay
	rm -rf bin $(CACHE) engine/containerd/embed/bin/{*.zst,.stamp}

.PHONY: need-build need-test need-bench need-vm
need-build need-test need-bench need-vm: need-%:
	@.ci/need $*

$(LINT):
	@echo "building golangci-lint $(LINT_VERSION) into .cache/bin, for make check"
	@mkdir -p $(@D)
	@rm -f $(CACHE)/bin/golangci-lint $(CACHE)/bin/golangci-lint-v*
	GOBIN=$(CACHE)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv $(CACHE)/bin/golangci-lint $@

$(RUNSC):
	@echo "building gVisor $(GVISOR_VERSION) into .cache/bin, for the tests"
	@mkdir -p $(@D)
	@rm -f $(CACHE)/bin/runsc $(CACHE)/bin/runsc-v*
	CGO_ENABLED=0 GOBIN=$(CACHE)/bin $(GO) install -trimpath -ldflags "-s -w" gvisor.dev/gvisor/runsc@$(GVISOR_VERSION)
	@mv $(CACHE)/bin/runsc $@

$(H2SPEC):
	@echo "building h2spec $(H2SPEC_VERSION) into .cache/bin, for the tests of the router"
	@mkdir -p $(@D)
	@rm -f $(CACHE)/bin/h2spec $(CACHE)/bin/h2spec-v*
	GOBIN=$(CACHE)/bin $(GO) install github.com/summerwind/h2spec/cmd/h2spec@$(H2SPEC_VERSION)+incompatible
	@mv $(CACHE)/bin/h2spec $@

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
