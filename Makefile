# `make` checks what can be checked in seconds, `make test` everything, `make demo` shows it.
# Needs make and Python 3.11 or newer; all else goes into .venv. Another Python: `make PYTHON=python3.13`.

PYTHON ?= python3
# The suites on real PostgreSQL share the cores; a worker starts its own fleets, module by module. They wait more than
# they compute, so there are more of them than cores. The order is that of tests/conftest.py: the longest modules first.
WORKERS ?= -n 3 --dist loadscope --no-loadscope-reorder

# Their fleets live in memory where there is room: they write much and keep nothing. A gigabyte is used at most times.
MEMORY := $(shell [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'END {print $$4}')" -gt 6000000 ] 2>/dev/null && echo /dev/shm)

# Histories that `make sim` lives. `make test` lives 2,000, on what the suites leave of the cores.
SEEDS ?= 10000

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
QUICK := $(BIN)/pytest -q -p no:schemathesis -p no:xdist --hypothesis-profile quick
DRILLS := tests/fault tests/cli/test_drill.py
SERVED := $(if $(MEMORY),TMPDIR=$(MEMORY)) $(BIN)/pytest $(WORKERS)

.PHONY: check lint types unit unit-rooms unit-router properties docs servers test drills suites histories sim demo format constraints clean help

check: lint types unit ## lint, types, unit tests (the default)

lint: $(VENV)/.dev ## style, format, the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy $(wildcard src tests bench)

unit: $(VENV)/.dev ## values in, values out: no socket, no sleep
	$(MAKE) --no-print-directory --jobs 2 --output-sync unit-rooms unit-router

# Two processes that share nothing: xdist's workers would each collect all of it.
unit-rooms: $(VENV)/.dev
	$(QUICK) tests/unit/*/

unit-router: $(VENV)/.dev
	$(QUICK) tests/unit/test_*.py

properties: $(VENV)/.dev ## the properties among the unit tests, with all their examples
	$(BIN)/pytest -q -n 2 -m hypothesis tests/unit

docs: $(VENV)/.dev ## build the pages into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

servers: ## what the tests start: PostgreSQL with TLS, etcd, Patroni, PgBouncer, dnsmasq, Prometheus (Debian, as root: installs it)
	scripts/install-test-servers

test: check properties docs servers drills ## all that CI runs
	$(MAKE) --no-print-directory --jobs 2 suites histories

# By themselves: what callers notice of a fault is told by clocks.
drills: $(VENV)/.dev
	$(SERVED) $(DRILLS)

suites: $(VENV)/.dev
	$(SERVED) tests --ignore=tests/unit $(DRILLS:%=--ignore=%)

histories: $(VENV)/.dev
	$(BIN)/python -m tests.sim 2000 --idle

sim: $(VENV)/.dev ## histories of a simulated cluster: make sim SEEDS=100000
	$(BIN)/python -m tests.sim $(SEEDS)

demo: $(VENV)/.all ## a primary and three replicas at work, until Ctrl-C
	$(BIN)/pgfleet demo

format: $(VENV)/.dev ## mend style and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

constraints: ## renew constraints.txt: the newest releases that pyproject.toml allows
	scripts/renew-constraints $(PYTHON)

clean: ## remove the venv and everything built
	rm -rf $(VENV) site dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

$(BIN)/pip:
	@scripts/make-venv $(PYTHON) $(VENV)

$(VENV)/.all: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) --editable '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/pip
	$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.all $@
