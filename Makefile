# Commands of the project; each does its own set-up in .venv from the pinned lock (hashes checked, no dependency resolved again).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DUCKDB14 := $(VENV)-duckdb14
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
# The part of the lock that is uv: it installs the rest in a fifth of pip's time. It does not read pip's configuration (an
# index of one's own, say): where it fails, pip installs the same lock.
UV_OF_LOCK := awk '/^[^ \#]/ { is_uv = /^uv==/ } is_uv' requirements.lock
# What builds the image: docker, podman or buildah.
CONTAINER ?= docker
# Tests run in so many processes, each with a PostgreSQL of its own.
PROCESSES ?= 2
PYTEST = LEI_EXPORTS_DUCKDB14=$(CURDIR)/$(DUCKDB14) $(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help export report ui serve test test-fast test-extended test-all test-image lint format dictionary wheel image bench bench-peers bench-queries bench-stages mutation lock bench-lock setup clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

export: setup  ## run the main job and show what was published
	@$(BIN)/lei-exports run

report: setup  ## draw the published snapshot to report.html and open it in the browser
	@$(BIN)/lei-exports report --open

ui: setup  ## serve the Dagster UI on 127.0.0.1:3000, schedules and sensors running
	@$(BIN)/lei-exports ui

serve: setup  ## serve the published snapshot over HTTP on 127.0.0.1:8000, documentation at /docs
	@$(BIN)/lei-exports serve

test: setup $(DUCKDB14)/.installed  ## the tests but the extended ones (what the machine lacks is skipped, with the reason)
	@$(PYTEST) -m "not extended"

test-fast: setup $(DUCKDB14)/.installed  ## the tests of a minute: no Dagster, no browser
	@$(PYTEST) -m fast

test-extended: setup $(DUCKDB14)/.installed  ## what `make test` leaves out, in random order: browser, kills, load, TLS, Node
	@$(PYTEST) -p randomly -m extended

test-all: setup $(DUCKDB14)/.installed  ## all tests, in random order
	@$(PYTEST) -p randomly

test-image: setup  ## build the image of a bare Debian, run compose.yaml's services in it (root, buildah, debootstrap)
	@TEST_IMAGE=1 $(BIN)/python -m pytest tests/install/test_image.py

# The oldest DuckDB that must read what is published, beside the one that writes it.
$(DUCKDB14)/.installed: tests/duckdb14.lock $(VENV)/.installed
	@$(PIP) --require-hashes --only-binary :all: --upgrade --target $(DUCKDB14) -r tests/duckdb14.lock || echo "DuckDB 1.4 can't be had here: the test that needs it is skipped."
	@mkdir -p $(DUCKDB14) && touch $@

lint: setup  ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## put the code in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

dictionary: setup  ## write the data dictionary, data/README.md, again from the contracts
	@$(BIN)/python -m pipelines.contracts.dictionary > data/README.md.new
	@mv data/README.md.new data/README.md

# Built of what is there now: setuptools would take up modules of an earlier build that are gone since.
wheel: setup  ## build the wheel into dist/; the same commit gives the same bytes
	@rm -rf build/lib build/bdist.*
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls dist/*.whl

# Images in OCI's own format have no health check: podman and buildah make those unless they are asked for Docker's.
image:  ## build the container image lei-exports (CONTAINER=podman, CONTAINER=buildah)
	@$(CONTAINER) build $(if $(filter docker,$(CONTAINER)),,--format docker) --file Containerfile --tag lei-exports $(IMAGE) .

bench: setup  ## measure: the floor, our runs and an empty job, side by side (BENCH="--domains 100000" for less)
	@$(BIN)/python -m bench.run $(BENCH)

bench-peers: setup  ## measure what one would pick instead, beside the floor and our run; then the endpoints, beside theirs
	@$(BIN)/python -m bench.run_peers $(BENCH)
	@$(BIN)/python -m bench.serving $(SERVING)

bench-queries: setup  ## ask the ten questions of docs/analysts.md of exports.duckdb and of PostgreSQL
	@$(BIN)/python -m bench.run_queries $(BENCH)

bench-stages: setup  ## measure each stage of a run on threads and on Ray, and compute what a thousand times the rows would take
	@$(BIN)/python -m bench.stages $(BENCH)

mutation: setup  ## change the rules, the fingerprints and the guards one place at a time: which changes do tests notice? (MODULES=transform/ordering: one)
	@$(BIN)/python -m bench.mutation $(MODULES)

lock: setup  ## pin the dependencies; pins that still fit stay (LOCK=--upgrade: the newest releases)
	$(BIN)/uv pip compile --quiet $(LOCK) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras --no-header --extra cloud --extra deploy --extra ray --extra serve --group dev --output-file requirements.lock pyproject.toml

bench-lock: setup  ## pin the environments of the peers and of the generated client again
	for peers in bench/peers/*.in tests/*.in; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-strip-extras --no-header --output-file $${peers%.in}.lock $$peers || exit 1; \
	done

setup: $(VENV)/.installed  ## the virtual environment, from requirements.lock

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 15) else "lei-exports needs Python 3.11 to 3.14, found " + sys.version.split()[0] + "; name one with: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV) ..."
	@{ $(UV_OF_LOCK) | $(PIP) --require-hashes -r /dev/stdin && $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements.lock; } \
		|| { echo "uv can't; now pip, which takes longer ..."; $(PIP) --require-hashes -r requirements.lock; }
	@$(PIP) --no-build-isolation --editable .
	@touch $@

clean:  ## remove what set-up and tests made (data/ stays)
	rm -rf $(VENV) $(DUCKDB14) .pytest_cache .mypy_cache .ruff_cache .hypothesis
