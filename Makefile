# Three commands matter: `make demo`, `make test` and `make test-all`. Each sets up all it needs by itself.
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# What Python compiles is kept: programs start several times faster.
unexport PYTHONDONTWRITEBYTECODE

# Tests wait for others much of the time, so there are two more workers than processors; 4 at most (tests/lab/ports.py).
WORKERS := $(shell n=$$(($$(nproc) + 2)); echo $$((n < 4 ? n : 4)))
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations 25
# Seconds for which `make test-more` begins new points. A test gets a quarter of them, since the workers have more than one.
SECONDS := 1800
MORE := --points $(shell echo $$(($(SECONDS) / 4))) --points-until $(SECONDS)

.PHONY: setup setup-tests demo test test-all test-more test-hosts checks releases format lint types transcripts costs unit lab-tests bench clean

setup: $(VENV)/.ready-for-demo

setup-tests: $(VENV)/.ready-for-tests

$(VENV)/.ready-for-%: pyproject.toml scripts/setup
	scripts/setup $(VENV) $*
	touch $@

demo: setup
	$(BIN)/inv lab.demo

# What must hold, in a quarter of an hour: of scenarios and of what has very many cases, some (docs/testing.md).
test: checks
	$(PYTEST) --scenarios some

# The same with all scenarios and all cases.
test-all: checks
	$(PYTEST) --points all

# The scenarios that `make test` leaves out, then as many cases as there is time for. SEED=number: other cases.
test-more: setup-tests
	$(PYTEST) --scenarios rest $(MORE) $(if $(SEED),--seed $(SEED))

# On machines in a box (docs/testing.md). Needs root, and makes their images the first time: minutes.
test-hosts: setup-tests
	$(BIN)/inv lab.hosts.image
	$(BIN)/inv lab.hosts.image --system trixie
	$(BIN)/pytest --durations 25 tests/hosts

# All that comes before the tests, two at a time.
checks: setup-tests
	$(MAKE) --no-print-directory --jobs 2 lint types releases $(VENV)/.tests-compiled

# The tests as pytest compiles them, which otherwise each worker would do.
$(VENV)/.tests-compiled: $(VENV)/.ready-for-tests $(shell find tests -name '*.py')
	@said=$$($(BIN)/pytest --collect-only --quiet) || { echo "$$said"; exit 1; }
	touch $@

# The releases of the lab, which otherwise all workers would wait for.
releases: setup-tests
	$(BIN)/python -m lab.build
	$(BIN)/python -m lab.build --lean

format: setup-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-tests
	$(BIN)/mypy

# What operators see of each command, written anew: tests/transcripts.
transcripts: setup-tests
	RELUP_WRITE_TRANSCRIPTS=1 $(BIN)/pytest tests/lab/test_transcripts.py

# What scenarios and other dear files cost on this machine: tests/lab/costs.json, by which `make test` chooses and orders.
costs: checks
	$(PYTEST) --write-costs

unit: setup-tests
	$(PYTEST) tests/unit

lab-tests: setup-tests
	$(PYTEST) tests/lab

bench: setup-tests
	$(BIN)/python -m bench

clean:
	-$(BIN)/inv lab.down
	-$(BIN)/inv lab.hosts.forget
	rm -rf $(VENV) inventory/lab.yml .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
