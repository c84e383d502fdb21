# Every habit has a name; `make` shows them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .build/uv/bin/uv
RUN := .venv/bin/python
SOURCES := shared/src service/src operator/src loadgen/src stack/src demo tests benchmarks charts/crds.py charts/values_schema.py charts/dashboard*.py docs/language.py consumer_worker.py publish_test_data_to_kafka.py

.PHONY: help
help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d: set PYTHON=python3.12, say" % sys.version_info[:2])'
	@$(PYTHON) -m venv --help >/dev/null || { echo "Python's venv module is needed (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "Setting up uv $(UV_VERSION) …"
	@$(PYTHON) -m venv .build/uv
	@.build/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.synced: $(UV) uv.lock pyproject.toml
	@echo "Setting up the environment …"
	@$(UV) sync --locked --python $(PYTHON)
	@touch $@

.PHONY: setup
setup: .venv/.synced ## Create the environment from the lock file.

.PHONY: demo
demo: stack-up ## Run the main job on real servers and show what became of 1,000 transactions.
	@$(RUN) demo/demo.py

.PHONY: test
test: setup ## Run all tests; what needs Docker and kind is skipped, with the reason, where they are not to be had.
	@$(RUN) -m activity_stack up
	@$(RUN) -m pytest --cov --cov-report=term

WORKERS ?= 2
.PHONY: unit
unit: setup ## Run the unit tests only, in WORKERS=2 processes.
	@$(RUN) -m pytest tests/unit --numprocesses $(WORKERS) --dist worksteal

.PHONY: integration
integration: stack-up ## Run the tests on the real servers of the local stack.
	@$(RUN) -m pytest tests/contract tests/integration

.PHONY: e2e
e2e: setup ## Run the tests on kind and Docker Compose: STORY=replays for one of them.
	@$(RUN) -m pytest -m e2e $(if $(STORY),tests/e2e/test_$(STORY).py)

SEEDS ?= 0-9
MINUTES ?= 1440
.PHONY: chaos
chaos: setup ## Break everything under load, and check that no promise is broken: SEEDS=0-59 MINUTES=60.
	@PYTHONPATH=tests $(RUN) -m chaos --seeds $(SEEDS) --minutes $(MINUTES) $(CHAOS)

.PHONY: fuzz
fuzz: setup ## Feed a million damaged events to decode, document and bulk body.
	@$(RUN) -m pytest tests/unit/service/test_fuzz.py --hypothesis-profile=fuzz --timeout=0

benchmarks/peers/.venv/.synced: $(UV) benchmarks/peers/uv.lock benchmarks/peers/pyproject.toml
	@echo "Setting up the environment of the peers …"
	@$(UV) sync --quiet --locked --project benchmarks/peers --python $(PYTHON)
	@touch $@

.PHONY: bench
bench: stack-up benchmarks/peers/.venv/.synced ## Measure the indexer beside its peers: QUICK=1 (three minutes), ONLY=naive,growth-request.
	@PYTHONPATH=benchmarks $(RUN) -m bench $(if $(QUICK),--quick) $(if $(ONLY),--only '$(ONLY)') $(BENCH)

.PHONY: bench-docs
bench-docs: setup ## Write what was measured (benchmarks/results) into docs/performance.md, with its pictures.
	@PYTHONPATH=benchmarks $(RUN) -m bench.docs

.PHONY: bench-baseline
bench-baseline: setup ## Renew what the test of the hot path's cost compares with: after a change that is worth its price.
	@PYTHONPATH=benchmarks $(RUN) -m bench.guard --write

.PHONY: check
check: setup ## Lint, check types, layers, generated files and words.
	@.venv/bin/ruff format --check $(SOURCES)
	@.venv/bin/ruff check $(SOURCES)
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache
	@$(RUN) -m activity_indexer.reference settings --check
	@$(RUN) -m activity_indexer.reference metrics --check
	@$(RUN) charts/values_schema.py --check
	@$(RUN) charts/crds.py --check
	@$(RUN) charts/dashboard.py --check
	@$(RUN) docs/language.py

.PHONY: format
format: setup ## Format the code.
	@.venv/bin/ruff format $(SOURCES)
	@.venv/bin/ruff check --fix $(SOURCES)

.PHONY: docs
docs: setup ## Write the generated tables of the docs.
	@$(RUN) -m activity_indexer.reference settings --write
	@$(RUN) -m activity_indexer.reference metrics --write
	@$(RUN) charts/values_schema.py --write

.PHONY: charts
charts: setup ## Renew the charts' generated files (CRDs, schema, READMEs, goldens), and test the charts.
	@$(RUN) charts/crds.py --write
	@$(RUN) charts/values_schema.py --write
	@$(RUN) charts/dashboard.py --write
	@if command -v helm-docs >/dev/null; then helm-docs --chart-search-root charts --log-level warning; \
	  else echo "helm-docs is not there: the READMEs of the charts stay as they are"; fi
	@UPDATE_GOLDENS=1 $(RUN) -m pytest tests/unit/charts
	@git diff --stat -- charts k8s/crd tests/goldens

.PHONY: stack-up
stack-up: setup ## Start Kafka, Elasticsearch, Redis and PostgreSQL on loopback.
	@$(RUN) -m activity_stack up

.PHONY: stack-down
stack-down: setup ## End them; their data stays.
	@$(RUN) -m activity_stack down

.PHONY: stack-status
stack-status: setup ## Show them.
	@$(RUN) -m activity_stack status

.PHONY: stack-clean
stack-clean: setup ## End them and remove their data.
	@$(RUN) -m activity_stack down --discard

.PHONY: clean
clean: stack-clean ## Remove everything that was made here.
	@rm -rf .venv .build .stack .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
