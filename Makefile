# Two commands do all set-up: `make quickstart` runs the main job, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow test-gpu lint results bench clean

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

# Makes every table and picture that the README shows of the quickstart (about 12 minutes on two cores).
results: $(VENV)/.installed
	mkdir -p results
	$(BIN)/metanet quickstart | tee results/quickstart.txt
	cp quickstart/leaderboard.csv results/quickstart_leaderboard.csv
	cp quickstart/figures/accuracies.png results/quickstart_accuracies.png
	cp quickstart/figures/bias_ranges.png results/quickstart_bias_ranges.png
	$(BIN)/metanet train zoo=quickstart/zoo model=gbm features=stats,hyper,norms_l2,stats_global,flat \
		split.seed=0,1,2,3,4 seed=0,1,2 out=quickstart/splits | tee results/quickstart_splits.txt
	cp quickstart/splits/spread.csv results/quickstart_splits.csv

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
