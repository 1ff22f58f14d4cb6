# Everything works from a clean clone: each target builds what it needs first.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INGRESSD := $(BIN)/ingressd

# Where `make demo` listens, and where its metrics are.
PORT ?= 8080
HTTPS_PORT ?= 8443
ADMIN_PORT ?= 10254
# What `make test` passes to pytest, and `make bench`, `loadtest` and `soak` to what they run.
ARGS ?=

# A hot module is one with a .pxd beside its .py; setup.py compiles it. An __init__.pxd is what they have inline.
INLINE := $(wildcard ingressd/*/__init__.pxd)
PXD := $(shell find ingressd -name '*.pxd' ! -name '__init__.pxd')
HOT := $(wildcard $(PXD:.pxd=.py))

INSTALLED := $(VENV)/.installed
COMPILED := $(VENV)/.compiled

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Start small servers and ingressd on ports 8080 and 8443 (PORT=9090 HTTPS_PORT=9443: others), and print lines to paste
	@$(INGRESSD) demo --http-port $(PORT) --https-port $(HTTPS_PORT) --healthz-port $(ADMIN_PORT)

.PHONY: test
test: build ## Run all tests, some at a time (ARGS="-k name": some of them)
	$(BIN)/pytest -n 4 --dist loadfile $(ARGS)

.PHONY: cluster-assets
cluster-assets: build ## Build kube-apiserver, etcd and kubectl for test-cluster, once (needs Go)
	$(BIN)/python -m tests.cluster

.PHONY: test-cluster
test-cluster: cluster-assets ## Run the tests against a real API server (as root: network namespaces)
	INGRESSD_CLUSTER_TESTS=1 $(BIN)/pytest tests/cluster tests/netlab tests/manifests $(ARGS)

.PHONY: test-chaos
test-chaos: build ## Break things under load, and count what is lost (as root: network namespaces; needs nftables)
	INGRESSD_CHAOS_TESTS=1 INGRESSD_CHAOS_PAGE=docs/reliability.md $(BIN)/pytest tests/chaos $(ARGS)

.PHONY: test-tls
test-tls: build $(VENV)/.tls-scan ## Have sslyze look for weaknesses of a running ingressd
	INGRESSD_SSLYZE=$(VENV)/sslyze/bin/sslyze $(BIN)/pytest tests/tls_scan $(ARGS)

.PHONY: check
check: lint types test ## Run all that CI runs: lint, types, tests

.PHONY: lint
lint: build ## Check style, formatting and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: build ## Check types
	$(BIN)/mypy

.PHONY: bench
bench: build ## Measure CPU per request beside nginx, in 2 min; fails above 1.5 x (ARGS="--help": more)
	@$(BIN)/python loadtest/compare.py --quick $(ARGS)

.PHONY: bench-tls
bench-tls: build ## Measure what TLS costs beside nginx: requests, handshakes, memory (ARGS="--key rsa": RSA)
	@$(BIN)/python loadtest/bench_tls.py $(ARGS)

.PHONY: bench-peers
bench-peers: build $(VENV)/.bench ## Measure all beside nginx, HAProxy, Envoy and Caddy, in 30 min, and write it up
	@$(BIN)/python loadtest/compare.py $(ARGS)

.PHONY: loadtest
loadtest: build $(VENV)/.loadtest ## Load the demo with locust for 30 s (ARGS="--users 200": more)
	@$(BIN)/python loadtest/locust_demo.py $(ARGS)

.PHONY: soak
soak: build $(VENV)/.bench ## See for 10 min that nothing grows under traffic and changes (ARGS="--seconds 60": shorter)
	@$(BIN)/python loadtest/soak.py $(ARGS)

.PHONY: build
build: $(COMPILED) ## Install into .venv and compile the hot modules

.PHONY: clean
clean: ## Remove .venv and everything built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find ingressd tests loadtest -name __pycache__ -exec rm -rf {} +
	find ingressd -name '*.so' -delete

$(INSTALLED): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	    "ingressd needs Python 3.11 or newer, which $(PYTHON) is not: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) and compiling: a minute or two, this once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# An extra of pyproject.toml, without installing ingressd itself anew, which would compile it all.
$(VENV)/.loadtest $(VENV)/.bench: $(VENV)/.%: $(INSTALLED)
	@$(BIN)/python -c 'import tomllib; [*map(print, tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$*"])]' \
	    | $(BIN)/pip install --quiet --disable-pip-version-check --requirement /dev/stdin
	@touch $@

# An environment of its own: sslyze wants older versions of libraries than ingressd.
$(VENV)/.tls-scan: $(INSTALLED)
	@$(BIN)/python -c 'import tomllib; [*map(print, tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["tls-scan"])]' \
	    >$(VENV)/tls-scan.txt
	@$(PYTHON) -m venv $(VENV)/sslyze
	@$(VENV)/sslyze/bin/pip install --quiet --disable-pip-version-check --requirement $(VENV)/tls-scan.txt
	@touch $@

# A compiled module that cannot be compiled anew must not stay: it would run in place of its changed source. And one that
# uses the types of another does not run without that one compiled: either all are, or none.
$(COMPILED): $(INSTALLED) $(HOT) $(PXD) $(INLINE)
	@for so in $$(find ingressd -name '*.so'); do stem=$${so%%.*}; \
	    if [ ! -f $$stem.pxd ] || [ $$stem.py -nt $$so ] || [ $$stem.pxd -nt $$so ] || [ $(INLINE) -nt $$so ]; then rm $$so; fi; done
	@mkdir -p build
	$(BIN)/python setup.py --quiet build_ext --inplace >build/compile.log 2>&1 || { cat build/compile.log; exit 1; }
	@for pxd in $(PXD); do set -- $${pxd%.pxd}.*.so; \
	    if [ ! -e $$1 ]; then find ingressd -name '*.so' -delete; echo "The hot modules do not compile" \
	    "(build/compile.log): they run interpreted, which is slower. All else works." >&2; break; fi; done
	@touch $@
