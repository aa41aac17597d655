# `make help` lists what there is. Each target first makes .venv, or brings it up to date.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
BIN := $(VENV)/bin
STAMP := $(VENV)/up-to-date

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test slow check format

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything that the other targets need

$(STAMP): pyproject.toml constraints.txt hatch_build.py $(wildcard harness/startup/*.p*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing into $(VENV); the first time this takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

quickstart: $(STAMP) ## Distil, evaluate and rank the shipped models, offline
	$(BIN)/harness quickstart

check: $(STAMP) ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check ## Everything that must pass before a change lands
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadscope

slow: $(STAMP) ## The tests that take minutes
	$(BIN)/python -m pytest -m slow

format: $(STAMP) ## Apply the linter's fixes and the formatter
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
