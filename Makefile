# Two commands matter: `make demo` and `make test`. Each sets up all it needs by itself.
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test format lint types unit lab-tests bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml scripts/setup
	scripts/setup $(VENV)
	touch $@

demo: setup
	$(BIN)/inv lab.demo

test: setup lint types
	$(BIN)/pytest

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest tests/unit

lab-tests: setup
	$(BIN)/pytest tests/lab

bench: setup
	$(BIN)/python -m bench

clean:
	-$(BIN)/inv lab.down
	rm -rf $(VENV) .lab .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
