# Two commands do all set-up: `make quickstart` runs the main job, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow test-gpu lint bench clean

quickstart: $(VENV)/.installed
	$(BIN)/metanet quickstart

test: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

test-slow: $(VENV)/.tested
	$(BIN)/python -m pytest -m slow

test-gpu: $(VENV)/.tested
	$(BIN)/python -m pytest -m gpu

lint: $(VENV)/.tested
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

bench: $(VENV)/.installed
	mkdir -p results
	$(BIN)/python scripts/bench_generate.py | tee results/bench_generate.txt
	$(BIN)/python scripts/bench_statistics.py | tee results/bench_statistics.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
