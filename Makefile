# Every verb of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help

help: ## List the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with every extra and the command certrad
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[api,worker,local,demo,bench,evaluate,dev]'
	touch $(STAMP)

fmt: $(STAMP) ## Format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP) ## Formatting, rules, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP) ## Unit, property, statistical, contract and integration tests; Python packages only
	$(BIN)/python -m pytest -m "not system and not soak" $(ARGS)

test-system: $(STAMP) ## Real processes that are killed, a bare environment, the demo from end to end
	$(BIN)/python -m pytest -m "system and not soak" $(ARGS)

soak: $(STAMP) ## Jobs under random kill -9 for CERTRAD_SOAK_SECONDS (600); run by hand
	$(BIN)/python -m pytest -m soak tests/soak $(ARGS)

demo: $(STAMP) ## Real DICOM images through the real service: a class and a certified radius, or an abstention
	$(BIN)/certrad demo $(ARGS)

up: $(STAMP) ## Run the local stack until interrupted
	$(BIN)/certrad up $(ARGS)

bench: $(STAMP) ## What a certificate costs, beside the bare encoder and a plain loop
	$(BIN)/python -m certrad.bench certify-cost --backbone demo $(ARGS)

.PHONY: help setup fmt lint test test-system soak demo up bench
