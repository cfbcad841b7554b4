# Every target works on a fresh clone with Python 3.11 or newer (venv, pip) and make.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Not in the environment itself: what they need must not move what the lock files name.
AUDIT := $(VENV)/audit
FUZZ := $(VENV)/fuzz
RELEASE := $(VENV)/release
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help run test test-unit test-nojit lint check docs kafka demo bench bench-quick bench-check \
	ablation chaos soak fuzz audit release lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; set PYTHON=/path/to/python" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) has no venv; on Debian: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/.installed ## Replay the bundled Yeast stream; predictions go to predictions.jsonl
	@$(BIN)/ihomer replay river:yeast --predictions predictions.jsonl

test: check test-unit ## Check style, types and floors, then run all tests
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m integration tests/integration

test-unit: $(VENV)/.installed-dev ## Run the tests that need no broker, JDK, browser or deaths, on all cores
	@$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not integration"

test-nojit: $(VENV)/.installed-dev ## Run the kernels' tests uncompiled: every line of a kernel is run
	@$(BIN)/python -m tools.nojit

check: $(VENV)/.installed-dev ## Check style, types and the import contract
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo > /dev/null || $(BIN)/lint-imports --no-logo

lint: $(VENV)/.installed-dev ## Mend style and layout where that can be done by machine
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## Build the documentation into site/; a warning is an error
	@$(BIN)/python -m tools.site

kafka: $(VENV)/.installed ## Start a Kafka broker on loopback (Java 17 or newer; Maven the first time)
	@$(BIN)/python -m tools.broker

demo: $(VENV)/.installed ## Push Yeast through a broker and a daemon, and watch
	@$(BIN)/python -m tools.demo

# The folder with the public data sets; without one, the user's folder (ihomer data fetch).
DATA ?= $(firstword $(IHOMER_DATA_DIR) $(wildcard ../shared/data))

bench: $(VENV)/.installed-dev ## Measure everything, then write the report (a night); DATA=FOLDER
	@$(BIN)/python -m bench.run $(if $(DATA),--data $(DATA))

bench-quick: $(VENV)/.installed-dev ## The same within ten minutes on two cores; DATA=FOLDER
	@$(BIN)/python -m bench.run --quick $(if $(DATA),--data $(DATA))

bench-check: $(VENV)/.installed-dev ## Compare every learner's scores with those on file
	@$(BIN)/python -m bench.check

ablation: $(VENV)/.installed-dev ## Switch parts off one at a time, write docs/ablation.md; DATA=FOLDER
	@$(BIN)/python -m bench.ablation $(if $(DATA),--data $(DATA))

chaos: $(VENV)/.installed-dev ## Kill daemons 200 times at named points and at random, look each time
	@$(BIN)/python -m tools.chaos

soak: $(VENV)/.installed-dev ## 20 minutes of drift, bad input, kills and hand-overs: is memory flat?
	@$(BIN)/python -m tools.soak

audit: $(BIN)/python ## Look for known weaknesses in what the lock files name (needs pypi.org)
	@test -x $(AUDIT)/bin/pip-audit || { $(BIN)/python -m venv $(AUDIT) \
		&& $(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install pip-audit; }
	@for each in requirements.lock requirements-dev.lock; do $(AUDIT)/bin/pip-audit \
		--progress-spinner off --strict --require-hashes --disable-pip -r $$each || exit 1; done

fuzz: $(VENV)/.installed-dev ## Fuzz the decoder for five minutes, add to the corpus; SECONDS=N
	@test -d $(FUZZ) || $(PIP) install --target $(FUZZ) "atheris>=3.0"
	@PYTHONPATH=$(FUZZ) $(BIN)/python -m tools.fuzz --seconds $(or $(SECONDS),300)

release: $(BIN)/python ## Build wheel and sdist, try the wheel, list materials and licences in dist/
	@test -x $(RELEASE)/bin/pip-licenses || { $(BIN)/python -m venv $(RELEASE) \
		&& $(RELEASE)/bin/python -m pip --disable-pip-version-check --quiet install \
		build cyclonedx-bom pip-licenses; }
	@$(RELEASE)/bin/python -m tools.release

lock: $(VENV)/.installed-dev ## Resolve the newest versions that pyproject.toml allows
	@$(BIN)/uv --version > /dev/null 2>&1 || $(PIP) install uv
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header \
		pyproject.toml tools/build.in -o requirements.lock
	@$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --extra dev --extra bench --extra docs \
		-c requirements.lock pyproject.toml tools/build.in -o requirements-dev.lock

clean: ## Remove the environment and what tests leave behind
	rm -rf $(VENV) site docs/generated .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache predictions.jsonl
