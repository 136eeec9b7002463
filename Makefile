# Two commands do all set-up: `make quickstart` runs the main job, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow test-gpu lint results bench zoos clean

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

# Makes every table and picture that the README shows of the quickstart (about 8 minutes on two cores).
results: $(VENV)/.installed
	mkdir -p results
	$(BIN)/metanet quickstart | tee results/quickstart.txt
	cp quickstart/leaderboard.csv results/quickstart_leaderboard.csv
	cp quickstart/figures/accuracies.png results/quickstart_accuracies.png
	cp quickstart/figures/bias_ranges.png results/quickstart_bias_ranges.png
	$(BIN)/metanet train zoo=quickstart/zoo model=gbm features=stats,hyper,norms_l2,stats_global,flat \
		split.seed=0,1,2,3,4 seed=0,1,2 out=quickstart/splits | tee results/quickstart_splits.txt
	cp quickstart/splits/spread.csv results/quickstart_splits.csv

# MNIST's half needs METANET_DATA.
bench: $(VENV)/.installed
	mkdir -p results
	$(BIN)/python scripts/bench_generate.py | tee results/bench_generate.txt
	$(BIN)/python scripts/bench_generate.py --linear | tee results/bench_linear.txt
	$(BIN)/python scripts/bench_import.py | tee results/bench_import.txt
	$(BIN)/python scripts/bench_statistics.py | tee results/bench_statistics.txt

# The zoos that the README's table shows, into ZOOS (METANET_DATA saves the downloads; two to three hours on two cores).
ZOOS ?= zoos
zoos: $(VENV)/.installed
	$(BIN)/metanet generate data=digits n=10000 recipe.epochs=20 recipe.batch_size=64 'recipe.snapshots=[0,1,2,5,10,20]' \
		out=$(ZOOS)/digits_10000
	for data in mnist fashion_mnist cifar10_gs; do \
		$(BIN)/metanet generate recipe=small_cnn_mini data=$$data n=2000 out=$(ZOOS)/$${data}_mini || exit 1; done
	$(BIN)/metanet generate recipe=small_cnn data=mnist n=300 out=$(ZOOS)/mnist_full
	$(BIN)/python scripts/report_zoos.py $(ZOOS)/* --out results/zoos.png | tee results/zoos.txt

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
