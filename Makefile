# The menu: one line each, `make help` reads it. Every target fails with a non-zero code.
# Platform and CUDA toolkit are found out here; features are named one by one, never all at once:
# Metal does not link on Linux or Windows, CUDA not on a Mac.

# A folder, a .gguf file or a hub id; empty = the demo model inside the program.
MODEL      ?=
PORT       ?= 1234
MCP_CONFIG ?= mcp.json
PYTHON     ?= python3
BENCH      ?=
BASE       ?=

UNAME ?= $(shell uname -s 2>/dev/null)
ifeq ($(OS),Windows_NT)
  PLATFORM := windows
else ifneq ($(filter MINGW% MSYS% CYGWIN%,$(UNAME)),)
  PLATFORM := windows
else ifeq ($(UNAME),Darwin)
  PLATFORM := macos
else
  PLATFORM := linux
endif

# The CUDA compiler: on the PATH, or where CUDA_HOME or CUDA_PATH says. `make NVCC= build` ignores it.
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) \
                    $(wildcard $(CUDA_HOME)/bin/nvcc) $(wildcard $(CUDA_PATH)/bin/nvcc*))

ifeq ($(PLATFORM),macos)
  FEATURES := --features mistralrs-server/metal
else ifneq ($(strip $(NVCC)),)
  FEATURES := --features mistralrs-server/cuda
else
  FEATURES :=
endif

# nvcc on Windows needs to be told its host compiler. Elsewhere its own choice stands,
# unless the environment names one. The inner ifndef keeps it overridable.
ifeq ($(PLATFORM),windows)
  ifndef NVCC_CCBIN
    NVCC_CCBIN := $(or $(shell command -v cl.exe 2>/dev/null),cl.exe)
  endif
  export NVCC_CCBIN
endif

SERVER := cargo run --release -p mistralrs-server $(FEATURES) --
WITH_MODEL := $(if $(MODEL),-m $(MODEL))

.DEFAULT_GOAL := help
.PHONY: help check lint lint-fix fmt fmt-check test test-core test-server test-quant test-vision test-kernels \
        test-all test-clients test-mcp build build-server build-cuda-full build-metal run-server run-tui run-with-mcp \
        bench docs fixtures demo-model hooks ci clean check-env print-env

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

check: ## compile everything, tests and examples too, without making binaries
	cargo check --workspace --all-targets
lint: ## clippy over all targets; a warning is an error
	cargo clippy --workspace --all-targets -- -D warnings
lint-fix: ## let clippy mend what it can
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
fmt: ## format
	cargo fmt --all
fmt-check: ## fail if something is not formatted
	cargo fmt --all -- --check

test: ## the test suite: no network, no downloads
	cargo test --workspace
test-core: ## tests of the engine
	cargo test -p mistralrs-core
test-server: ## tests of the HTTP server and the command line
	cargo test -p mistralrs-server
test-quant: ## tests of weights and checkpoints
	cargo test -p mistralrs-quant
test-vision: ## tests of the image crate
	cargo test -p mistralrs-vision
test-kernels: ## tests of the kernels
	cargo test -p mistralrs-kernels
test-all: test test-clients test-mcp ## the test suite, the official clients, the MCP servers
test-mcp: ## nine MCP servers from npm and PyPI, all at once
	scripts/install_mcp_servers.sh $(or $(CARGO_TARGET_DIR),target)/mcp-servers
	MCP_SERVERS=$(abspath $(or $(CARGO_TARGET_DIR),target)/mcp-servers) \
	  cargo test --workspace --test it mcp::real -- --ignored --nocapture
test-clients: ## official clients and agent frameworks (from PyPI and npm) against a running server
	cargo test --workspace --no-run # the same build as `make test`, so that nothing is compiled twice
	scripts/test_clients.sh $(or $(CARGO_TARGET_DIR),target)/debug/mistralrs-server mistralrs-testkit/fixtures/stories260K

build: ## release build of the workspace with this platform's features
	cargo build --workspace --release $(FEATURES)
build-server: ## release build of the server alone
	cargo build --release -p mistralrs-server $(FEATURES)
build-cuda-full: ## release build of the server with CUDA; needs nvcc
	@test -n "$(strip $(NVCC))" || { echo "build-cuda-full: nvcc not found; set CUDA_HOME" >&2; exit 1; }
	cargo build --release -p mistralrs-server --features cuda
build-metal: ## release build of the server with Metal (untested); macOS only
	@test "$(PLATFORM)" = macos || { echo "build-metal: Metal needs macOS, this is $(PLATFORM)" >&2; exit 1; }
	cargo build --release -p mistralrs-server --features metal

run-server: ## serve MODEL on PORT
	$(SERVER) --port $(PORT) $(WITH_MODEL)
run-tui: ## chat with MODEL in the terminal
	$(SERVER) -i $(WITH_MODEL)
run-with-mcp: ## serve MODEL on PORT with the tool servers of MCP_CONFIG
	$(SERVER) --port $(PORT) --mcp-config $(MCP_CONFIG) $(WITH_MODEL)
bench: ## measure MODEL; options in BENCH; fails if a tenth slower than the stored shares, or than an earlier file in BASE
	$(SERVER) bench $(BENCH) $(WITH_MODEL) --json target/bench.json
	$(PYTHON) scripts/bench_compare.py $(or $(BASE),--ratios scripts/bench_baseline.json) target/bench.json --tolerance 0.1

docs: ## API documentation; a warning is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
fixtures: ## make the tiny test models anew (Python with torch, transformers, gguf)
	$(PYTHON) scripts/make_fixtures.py
demo-model: ## train the demo model anew and build it in (Python with torch, transformers, gguf; nine minutes on a big GPU)
	cd examples/demo-model && $(PYTHON) train.py && \
	    $(PYTHON) export.py --out ../../mistralrs-server/demo-model/demo.gguf
hooks: ## check whitespace and format before each commit
	git config core.hooksPath .githooks
ci: ## what the continuous integration runs
	.ci/run
clean: ## remove everything built
	cargo clean
check-env: ## say what is installed; fail if something needed is missing
	@scripts/check_env.sh "$(PLATFORM)" "$(strip $(NVCC))"
print-env: ## what the builds would be given
	@echo "PLATFORM=$(PLATFORM)"
	@echo "FEATURES=$(FEATURES)"
	@echo "NVCC=$(strip $(NVCC))"
	$(if $(NVCC_CCBIN),@echo "NVCC_CCBIN=$(NVCC_CCBIN)",)
