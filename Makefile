# Every verb of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.installed-demo
ALL := $(VENV)/.installed-all
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -e
ARGS ?=

.DEFAULT_GOAL := help

help: ## List the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

setup: $(ALL) ## Make .venv with every extra and the command certrad

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What `demo` and `up` need. pip shows its progress: torch alone is a download of minutes.
$(DEMO): pyproject.toml | $(BIN)/python
	@echo "Installing the service and the images of the demo into $(VENV)."
	$(INSTALL) '.[api,worker,hospital,local,demo]'
	@touch $@

$(ALL): pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) also what tests, checks, benchmarks and offline evaluation need."
	$(INSTALL) '.[api,worker,hospital,telemetry,openvino,local,demo,bench,evaluate,dev]'
	@touch $(DEMO) $@

# What tests of the connection to a PACS need beside Python: a PACS, tools of DICOM, a browser, OpenSSL and nginx;
# and promtool, which checks the alert rules; and a Redis with TLS.
DEBIAN := orthanc orthanc-dicomweb dcmtk chromium openssl prometheus redis-server nginx-light

debian: ## Install the Debian packages that tests need, if they are missing and root runs it
	@dpkg -s $(DEBIAN) >/dev/null 2>&1 || if [ "$$(id -u)" -ne 0 ]; then \
	  echo "As root: apt-get install --no-install-recommends $(DEBIAN)"; \
	else \
	  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(DEBIAN); \
	fi

fmt: $(ALL) ## Format the sources
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(ALL) ## Formatting, rules, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(ALL) ## Unit, property, statistical, contract, docs and integration tests
	$(BIN)/python -m pytest -m "not system and not soak" -n logical --dist loadfile $(ARGS)

test-system: $(ALL) ## Real processes that are killed, a bare environment, the demo from end to end
	$(BIN)/python -m pytest -m "system and not soak" $(ARGS)

soak: $(ALL) ## Jobs under random kill -9 for CERTRAD_SOAK_SECONDS (900), and tests that wait long; run by hand
	CERTRAD_CHAOS_LOG=docs/chaos_run.txt $(BIN)/python -m pytest -m soak tests/soak tests/faults $(ARGS)

check-reports: $(ALL) ## Reports against their template, by DicomSRValidator of Debian's pixelmed-apps; run by hand
	$(BIN)/python -m pytest -m soak tests/e2e/test_report_template.py $(ARGS)

demo: $(DEMO) ## Real DICOM images through the real service: a class and a certified radius, or an abstention
	$(BIN)/certrad demo $(ARGS)

up: $(DEMO) ## Run the local stack until interrupted
	$(BIN)/certrad up $(ARGS)

bench: $(ALL) ## What a certificate costs, beside the bare encoder and a plain loop
	$(BIN)/python -m certrad.bench certify-cost --backbone demo $(ARGS)

# No index and no folder of this machine is named in the locks. Each release's hashes are those of all its files, so that
# x86-64 and ARM take the same lock. Locked is what the tests of this machine run with.
LOCK = $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --constraint build/tested.txt
OLDER := docker/requirements-older-pythons.in

lock: $(ALL) ## Lock the images' requirements, as installed here, with hashes in docker/requirements-*.txt
	mkdir -p build
	$(BIN)/python -m pip freeze --all --exclude-editable >build/tested.txt
	$(LOCK) --extra api --extra telemetry -o docker/requirements-api.txt $(ARGS) pyproject.toml $(OLDER)
	$(LOCK) --extra worker --extra hospital --extra telemetry -o docker/requirements-worker.txt $(ARGS) pyproject.toml $(OLDER)

sbom: $(ALL) ## Write build/sbom-*.cdx.json, what each image installs (CycloneDX 1.6, validated)
	mkdir -p build
	for image in api worker; do \
	  $(BIN)/cyclonedx-py requirements docker/requirements-$$image.txt --pyproject pyproject.toml --spec-version 1.6 \
	    --output-reproducible --validate --output-file build/sbom-$$image.cdx.json || exit 1; \
	done

audit: $(ALL) ## Look the locked requirements up in the database of known vulnerabilities; needs the internet
	for image in api worker; do \
	  $(BIN)/pip-audit --require-hashes --disable-pip --requirement docker/requirements-$$image.txt $(ARGS) || exit 1; \
	done

.PHONY: help setup debian fmt lint test test-system soak check-reports demo up bench lock sbom audit
