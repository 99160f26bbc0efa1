# Two commands matter: `make demo` and `make test`. Each sets up all it needs by itself.
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup setup-tests demo test format lint types unit lab-tests bench clean

setup: $(VENV)/.ready-for-demo

setup-tests: $(VENV)/.ready-for-tests

$(VENV)/.ready-for-%: pyproject.toml scripts/setup
	scripts/setup $(VENV) $*
	touch $@

demo: setup
	$(BIN)/inv lab.demo

test: setup-tests lint types
	$(BIN)/pytest

format: setup-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-tests
	$(BIN)/mypy

unit: setup-tests
	$(BIN)/pytest tests/unit

lab-tests: setup-tests
	$(BIN)/pytest tests/lab

bench: setup-tests
	$(BIN)/python -m bench

clean:
	-$(BIN)/inv lab.down
	rm -rf $(VENV) inventory/lab.yml .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
