# `make run` sets up everything that is missing and starts Sensorium. Written for GNU make 3.81 (macOS) and newer.

# Each start of a program that keeps no compiled modules costs half a second; the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
# What the two lock files hold. Everything that an operator may configure is in the first.
RUN_EXTRAS := cpu rabbitmq redis postgresql convert speech tracing
# Lanes of `make test`. They wait more than they compute: three fill two cores.
JOBS ?= 3
# For further words: `make test ARGS="-k sessions"`, `make demo ARGS="--picture photo.jpg"`, `make bench ARGS=…`
ARGS ?=
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
# What the container images install, of the same versions; CUDA's packages are for Linux alone.
IMAGE_LOCK := $(BIN)/uv pip compile --quiet --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes --no-header --no-annotate
IMAGE_EXTRAS := --extra rabbitmq --extra redis --extra postgresql --extra tracing
LOCK_SDK := $(subst 3.11,3.9,$(LOCK))

.PHONY: help setup run test test-sdk test-newcomer test-compose test-k8s check services demo bench accuracy docs-api format lock env-example k8s clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(DEV) ## Install everything for working on the code into .venv

$(RUN): requirements.lock pyproject.toml tools/setup.py tools/find-python.sh
	@python=$$(sh tools/find-python.sh) && "$$python" tools/setup.py run

$(DEV): requirements-dev.lock requirements.lock pyproject.toml tools/setup.py tools/find-python.sh
	@python=$$(sh tools/find-python.sh) && "$$python" tools/setup.py dev

run: $(RUN) ## Set up what is missing and run everything in one process tree (PORT=9000 make run)
	@$(BIN)/sensorium models pull --needed || printf '\n*** %s\n*** %s\n\n' \
	    'Not all models could be had (above is why). Sensorium starts all the same;' \
	    'the services that need them are listed as unavailable until `make run` gets them.' >&2
	@exec $(BIN)/sensorium up $(if $(PORT),--port $(PORT)) $(ARGS)

test: $(DEV) ## Run all tests, with real servers started for them (ARGS="-k name" for some of them, without the client's)
	@$(BIN)/sensorium models pull --both
	@$(BIN)/python -m tests.servers run -- $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --ignore=tests/e2e --ignore=tests/newcomer $(ARGS)
	@$(if $(ARGS),,exec $(BIN)/python tools/test_sdk.py --ends)

test-sdk: $(DEV) ## Run the client's tests with every Python from 3.9 to 3.14 that this machine has
	@$(BIN)/sensorium models pull --needed
	@exec $(BIN)/python tools/test_sdk.py $(ARGS)

test-newcomer: $(DEV) ## Try `make run` in a fresh clone that reaches nothing but package registries, and ask every service
	@exec $(BIN)/pytest -q -s tests/newcomer $(ARGS)

test-compose: $(DEV) ## Build and start deploy/docker-compose.yml with Docker, and do to it what operators do and fear
	@exec $(BIN)/pytest tests/e2e $(ARGS)

test-k8s: $(DEV) ## Check the manifests of deploy/k8s against schemas, catalogue and settings
	@exec $(BIN)/pytest -q tests/deploy $(ARGS)

check: $(DEV) ## Style, types, import rules and size limits
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file sdk/pyproject.toml
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/house

services: $(DEV) ## Start RabbitMQ, Redis and PostgreSQL for tests, print their addresses, run until Ctrl-C
	@exec $(BIN)/python -m tests.servers

demo: $(DEV) ## Send a photograph to the running instance and print the faces in it
	@exec $(BIN)/sensorium demo $(if $(PORT),--url http://127.0.0.1:$(PORT)) $(ARGS)

bench: $(DEV) ## Measure throughput and latency (bench/README.md)
	@exec $(BIN)/python -m bench $(ARGS)

accuracy: $(DEV) ## Measure every service on labelled data (SENSORIUM_TESTDATA), write docs/accuracy.md
	@$(BIN)/sensorium models pull --both
	@exec $(BIN)/python -m bench.accuracy $(ARGS)

docs-api: $(DEV) ## Write docs/api.md and the table of docs/errors.md from the code and from real answers
	@$(BIN)/sensorium models pull --needed
	@PYTHONPATH=sdk/src $(BIN)/python -m tools.api_page
	@$(BIN)/python -m tools.errors_page

format: $(DEV) ## Lay out the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Write the lock files anew from pyproject.toml, with the newest versions (ARGS=--no-upgrade keeps what is locked)
	@test -x $(BIN)/python || { python=$$(sh tools/find-python.sh) && "$$python" tools/setup.py environment; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@echo 'setuptools>=77' > .lock.in
	$(LOCK) $(if $(filter --no-upgrade,$(ARGS)),,--upgrade) pyproject.toml .lock.in $(RUN_EXTRAS:%=--extra %) -o requirements.lock
	$(LOCK) $(if $(filter --no-upgrade,$(ARGS)),,--upgrade) pyproject.toml .lock.in --constraint requirements.lock --extra dev -o requirements-dev.lock
	$(IMAGE_LOCK) pyproject.toml --constraint requirements.lock $(IMAGE_EXTRAS) -o deploy/requirements-gateway.lock
	$(IMAGE_LOCK) pyproject.toml --constraint requirements.lock $(IMAGE_EXTRAS) --extra cpu --extra speech -o deploy/requirements-worker-cpu.lock
	$(IMAGE_LOCK) pyproject.toml --constraint deploy/requirements-gateway.lock $(IMAGE_EXTRAS) --extra gpu --extra speech -o deploy/requirements-worker-gpu.lock
	$(IMAGE_LOCK) pyproject.toml --constraint requirements.lock $(IMAGE_EXTRAS) --extra convert -o deploy/requirements-models.lock
	$(LOCK_SDK) $(if $(filter --no-upgrade,$(ARGS)),,--upgrade) sdk/pyproject.toml .lock.in --extra test -o sdk/requirements-test.lock
	@rm -f .lock.in

env-example: $(DEV) ## Write .env.example from the settings
	@$(BIN)/sensorium settings --example > .env.example.new && mv .env.example.new .env.example

k8s: $(DEV) ## Write what deploy/k8s says of each service, from its templates and the catalogue
	@exec $(BIN)/python -m tools.kubernetes

clean: ## Remove caches and build leftovers (keeps .venv and the models)
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info .lock.in .env.example.new
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
