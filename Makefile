# Everything a person runs by hand. `make demo` and `make test` do all the set-up they need.
#
#   make demo ARGS="--source emoji --minutes 20"    any option of `t2i demo`
#   make test ARGS="tests/flows -x"                 any option of pytest
#   make install PYTHON=python3.12 PIP_ARGS="--find-links /wheels --no-index"

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test check fix deploy clean

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS  ?=
PIP_ARGS ?=

# The first Python that is new enough; empty when there is none.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# An environment that was moved, half removed or left by another Python is made anew: its stamp goes first.
ifneq ($(wildcard $(STAMP)),)
$(shell $(BIN)/python -c 'import sys; from importlib.util import find_spec; \
	sys.exit(not all(map(find_spec, ("pip", "torch", "prefect", "t2i_core", "ruff", "mypy", "pytest"))))' \
	2>/dev/null && $(BIN)/pip --version >/dev/null 2>&1 || rm -f $(STAMP))
endif

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 16

install: $(STAMP) ## make the environment in .venv

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "t2i needs Python 3.11 or newer; install it, or name it: make install PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11, which t2i needs." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable ".[dev]"
	@touch $(STAMP)

demo: install ## scrape, caption, train and evaluate the built-in pictures into workspace/demo
	@$(BIN)/t2i demo $(ARGS)

test: install ## run the tests, without the network
	@$(BIN)/python -m pytest -q $(ARGS)

check: install ## ruff, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fix: install ## let ruff repair what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

deploy: install ## create pool, limits, automation and deployments on the configured Prefect server
	@$(BIN)/python deployments/deploy.py $(ARGS)

clean: ## remove the environment and every cache; workspace/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
