# Everything a person runs by hand. `make demo` and `make test` do all the set-up they need.
#
#   make demo ARGS="--source emoji --minutes 20"    any option of `t2i demo`
#   make test ARGS="tests/flows -x"                 any option of pytest; "-n 0" runs them in one process
#   make install PYTHON=python3.12 PIP_ARGS="--find-links /wheels --no-index"

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test check fix auth deploy drill nights pictures clean

VENV  := .venv
BIN   := $(VENV)/bin
# What running needs, and what testing needs beside it: `make demo` installs no more than the first.
RUNTIME := $(VENV)/.installed
TOOLS := $(VENV)/.installed-dev
ARGS  ?=
PIP_ARGS ?=

# The first Python that is new enough; empty when there is none.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# An environment that was moved, half removed or left by another Python is made anew: its stamps go first.
HAS := $(BIN)/python -P -c 'import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))'
ifneq ($(wildcard $(RUNTIME)),)
$(shell $(HAS) pip torch prefect t2i_core 2>/dev/null && $(BIN)/pip --version >/dev/null 2>&1 || rm -f $(RUNTIME) $(TOOLS))
endif
ifneq ($(wildcard $(TOOLS)),)
$(shell $(HAS) ruff mypy pytest xdist 2>/dev/null || rm -f $(TOOLS))
endif

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 16

install: $(RUNTIME) ## make the environment in .venv

$(RUNTIME): pyproject.toml
	@test -n "$(PYTHON)" || { echo "t2i needs Python 3.11 or newer; install it, or name it: make install PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11, which t2i needs." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable .
	@touch $@

$(TOOLS): $(RUNTIME)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable ".[dev]"
	@touch $@

demo: $(RUNTIME) ## scrape, caption, train and evaluate the built-in pictures into workspace/demo
	@$(BIN)/t2i demo $(ARGS)

# Most tests wait for processes and servers. Beyond four at once memory, not time, is what runs short.
test: $(TOOLS) ## run the tests, without the network
	@$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

# DL3008: Debian keeps one version of a package, so a version that is named is gone with the next.
check: $(TOOLS) ## ruff, formatting, types and containers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/hadolint --failure-threshold warning --ignore DL3008 deployments/Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deployments/compose.yaml

fix: $(TOOLS) ## let ruff repair what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

auth: $(RUNTIME) ## make the password of the Prefect server on this machine, once, and tell it
	@$(BIN)/python -P deployments/auth.py $(ARGS)

deploy: $(RUNTIME) ## create pool, queues, automations and deployments on the configured Prefect server
	@$(BIN)/python deployments/deploy.py $(ARGS)

drill: $(RUNTIME) ## end a worker in the middle of a training, and see another finish it
	@$(BIN)/python deployments/drill.py $(ARGS)

nights: $(RUNTIME) ## see three nights come by their schedule, on a site that changes between them
	@$(BIN)/python deployments/nights.py $(ARGS)

pictures: $(RUNTIME) ## make the pictures of the README from workspace/demo (needs Chromium), or of a comparison: ARGS=WORKSPACE
	@$(BIN)/python -P docs/pictures.py $(ARGS)

clean: ## remove the environment and every cache; workspace/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
