# Everything that is done with this project, by name. `make` alone says what there is.
# Tools and the environment are set up by whatever needs them; nothing is installed outside .venv/.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TARGET := $(CURDIR)/target
SETUP  := $(VENV)/.set-up
# PROFILE=quick builds the engine in seconds after a change, several times slower at run time.
PROFILE ?= release
ENGINE := $(VENV)/.engine-$(PROFILE)
# What the engine usually does, for the compiler to lay out its code by; `make profile` writes it. Only the
# compiler that it was made by finds its functions in it, and only as new a one can read it. What it tells to be
# rare is moved out of functions, and what is usual is laid side by side: 0.3 MB of 6.
PROFDATA := proxy/crates/engine.profdata
LLVM_OF_PROFDATA := 22
LLVM := $(shell rustc -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
USE_PROFILE := $(shell test $(PROFILE) = release -a "$(LLVM)" -ge $(LLVM_OF_PROFDATA) 2>/dev/null && \
  echo -Cprofile-use=$(CURDIR)/$(PROFDATA) -Cllvm-args=-pgo-warn-missing-function \
  -Cllvm-args=-enable-split-machine-functions -Clink-arg=-Wl,-z,keep-text-section-prefix)
# What the compiler says, of functions that the profile does not fit among others.
BUILD_LOG := $(TARGET)/build.log
SOURCES := Cargo.toml Cargo.lock $(PROFDATA) $(shell find proxy/crates -name '*.rs' -o -name Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help build wheel demo demo-hotrod test test-rust test-python test-real fuzz lint format bench profile outage lock clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

INSTALL_ENGINE = PATH="$(CURDIR)/$(BIN):$$PATH" MATURIN_PEP517_ARGS="--locked --profile $(PROFILE)" \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check \
  --no-deps --no-build-isolation --editable .

build: $(ENGINE) ## set up .venv and build the engine, optimised

$(SETUP): requirements.lock pyproject.toml
	@echo "spanway: setting up Python in $(VENV) (about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "spanway: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(ENGINE): $(SETUP) $(SOURCES)
	@command -v cargo >/dev/null || { echo "spanway: Rust is needed; see https://rustup.rs"; exit 1; }
	@echo "spanway: building the engine, profile $(PROFILE) (2 to 4 minutes the first time)"
	@mkdir -p $(TARGET) && rm -f $(BUILD_LOG)
	@RUSTFLAGS="$(USE_PROFILE) $$RUSTFLAGS" $(INSTALL_ENGINE) --log $(BUILD_LOG)
	@if [ -n "$(USE_PROFILE)" ]; then $(BIN)/python -m benchmarks.profile_fit $(BUILD_LOG); \
	  elif [ $(PROFILE) = release ]; then \
	  echo "spanway: the engine's profile is left out, since Rust's LLVM is older than $(LLVM_OF_PROFDATA)"; fi
	@rm -f $(VENV)/.engine-*
	@touch $@

wheel: $(SETUP) ## the package for machines with this C library or a newer one, in target/wheels/
	@command -v cargo >/dev/null || { echo "spanway: Rust is needed; see https://rustup.rs"; exit 1; }
	@mkdir -p $(TARGET)
	@RUSTFLAGS="$(USE_PROFILE) $$RUSTFLAGS" $(BIN)/maturin build --locked --profile $(PROFILE) \
	  --out $(TARGET)/wheels >$(BUILD_LOG) 2>&1 || { cat $(BUILD_LOG); exit 1; }
	@tail -n 1 $(BUILD_LOG)

demo: build ## a small traced shop behind Spanway, explained on the screen
	@$(BIN)/python deploy/demo

demo-hotrod: build ## the real HotROD and Jaeger; needs Go, builds for minutes the first time
	@$(BIN)/python deploy/demo-hotrod

test: test-rust test-python test-real ## everything

test-rust:
	cargo test --quiet --locked --package spanway-engine --package spanway-columns \
	  --package spanway-open-loop

test-python: build
	$(BIN)/pytest tests --ignore tests/real

test-real: build ## against the real apiserver, Jaeger, HotROD
	@if command -v go >/dev/null && command -v etcd >/dev/null; then tests/parts/build all >/dev/null; fi
	@for extra in jaeger-thrift object-store; do \
	  PYTHON=$(BIN)/python tests/parts/venv $$extra >/dev/null || \
	  echo "spanway: without tests/parts/venv $$extra its tests are skipped"; done
	@tests/real/in-namespace $(BIN)/pytest tests/real || { code=$$?; \
	  test $$code = 77 -a -z "$$CI" && echo "spanway: the real-part tests were skipped, see above"; }

SECONDS ?= 60

fuzz: ## each parser and the matching for SECONDS=60 each, with libFuzzer; needs Rust nightly
	@proxy/crates/engine/fuzz/run $(SECONDS)

lint: build ## what CI checks beside the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --strict docs/limits.py docs/screenshots.py
	MYPYPATH=tests/real:deploy/demo $(BIN)/mypy --strict tests/real
	MYPYPATH=deploy/demo $(BIN)/mypy --strict deploy/demo
	MYPYPATH=.:deploy/demo:deploy/demo-hotrod $(BIN)/mypy --strict deploy/demo-hotrod/*.py
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --quiet --locked --all-targets -- -D warnings

format: build ## put the sources into their one form, and write what of docs/ is made from them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/python -m ingress_controller.routing.annotations.page >docs/ANNOTATIONS.md
	$(BIN)/python docs/limits.py >docs/LIMITS.md
	cargo fmt

bench: build ## beside nginx, HAProxy, Envoy and Caddy in one run, about 19 minutes; writes benchmarks/results/
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r benchmarks/requirements.lock
	@$(BIN)/python -m benchmarks

PROFRAW := $(TARGET)/profiled/raw
PROFDATA_TOOL ?= $(firstword $(wildcard $(addsuffix /llvm-profdata-$(LLVM),$(subst :, ,$(PATH)))) llvm-profdata)

profile: $(SETUP) ## count what the engine usually does, for the compiler; needs llvm-profdata, and what bench needs
	@rm -rf $(PROFRAW) && mkdir -p $(PROFRAW)
	@RUSTFLAGS="-Cprofile-generate=$(PROFRAW)" CARGO_TARGET_DIR=$(TARGET)/profiled LLVM_PROFILE_FILE=/dev/null \
	  $(INSTALL_ENGINE)
	@rm -f $(VENV)/.engine-*
	@LLVM_PROFILE_FILE=$(PROFRAW)/shown-%p.profraw $(BIN)/python -m benchmarks.train
	@LLVM_PROFILE_FILE=$(PROFRAW)/tested-%p.profraw $(BIN)/pytest -q tests/proxy
	@$(PROFDATA_TOOL) merge -sparse -o $(PROFDATA) $(PROFRAW)/*.profraw
	@rm -f $(PROFDATA).uncounted
	@$(MAKE) --no-print-directory build PROFILE=release
	@$(BIN)/python -m benchmarks.profile_fit $(BUILD_LOG) --note

outage: build ## a tracing backend that is away for a minute and a half: what traffic and memory make of it
	@$(BIN)/python -m benchmarks.outage

COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
  --python-version 3.11 --custom-compile-command "make lock"

lock: $(SETUP) ## resolve the Python dependencies anew
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --group dev --group demo --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra jaeger-thrift --output-file tests/parts/jaeger-thrift.lock pyproject.toml
	$(COMPILE) --output-file tests/parts/object-store.lock tests/parts/object-store.in
	$(COMPILE) --group bench --constraint requirements.lock --output-file benchmarks/requirements.lock

clean: ## remove what was built here
	rm -rf $(VENV) target
