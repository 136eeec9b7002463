# Two commands do all set-up: `make quickstart` runs the main job, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow test-gpu lint docs results bench bench_probe bench_runs zoos large_zoos reproduction seed nws meta maps encoders bench_encoders clean

quickstart: $(VENV)/.installed
	$(BIN)/metanet quickstart

# Two processes of one thread each, a file of tests at a time; a fixture of the session is made once in each.
test: $(VENV)/.tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.tested
	$(BIN)/python -m pytest -m slow

test-gpu: $(VENV)/.tested
	$(BIN)/python -m pytest -m gpu

lint: $(VENV)/.tested
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

# The site, into site/ (python -m http.server -d site shows it); its tests run, which are skipped where MkDocs is not installed.
docs: $(VENV)/.docs
	$(BIN)/python -m pytest tests/test_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Makes every table and picture that the README shows of the quickstart (about 8 minutes on two cores).
results: $(VENV)/.installed
	mkdir -p results
	$(BIN)/metanet quickstart | tee results/quickstart.txt
	cp quickstart/leaderboard.csv results/quickstart_leaderboard.csv
	cp quickstart/figures/accuracies.png results/quickstart_accuracies.png
	cp quickstart/figures/bias_ranges.png results/quickstart_bias_ranges.png
	$(BIN)/metanet train zoo=quickstart/zoo model=gbm features=stats,hyper,norms_l2,stats_global,flat \
		split.seed=0,1,2,3,4 seed=0,1,2 out=quickstart/splits | tee results/quickstart_splits.txt
	cp quickstart/splits/comparison.csv results/quickstart_splits.csv

# MNIST's half needs METANET_DATA.
bench: $(VENV)/.installed
	mkdir -p results
	$(BIN)/python scripts/bench_generate.py | tee results/bench_generate.txt
	$(BIN)/python scripts/bench_generate.py --linear | tee results/bench_linear.txt
	$(BIN)/python scripts/bench_import.py | tee results/bench_import.txt
	$(BIN)/python scripts/bench_nws.py | tee results/bench_nws.txt
	$(BIN)/python scripts/bench_nws.py --stacking | tee results/bench_stacking.txt
	$(BIN)/python scripts/bench_search.py | tee results/bench_search.txt
	$(BIN)/python scripts/bench_statistics.py | tee results/bench_statistics.txt

bench_runs: $(VENV)/.installed
	$(BIN)/python scripts/bench_runs.py | tee results/bench_runs.txt

# Needs the zoo of `make nws`.
bench_probe: $(VENV)/.installed
	$(BIN)/python scripts/bench_probe.py $(ZOOS)/nws_main_mini | tee results/bench_probe.txt

# Maps of what slices of weights tell of training, on the zoo of `make quickstart` (about ten minutes on two cores).
maps: quickstart
	$(BIN)/metanet probe zoo=quickstart/zoo 'target=[hp.optimizer,hp.activation,hp.w_init]' out=quickstart/maps \
		| tee results/maps.txt
	mkdir -p results/maps
	cp quickstart/maps/figures/map.png quickstart/maps/maps.csv results/maps/

# The zoos of the first paper's tables, into ZOOS (METANET_DATA saves the downloads); the same command goes on where it was stopped.
# In this order: one seed for all networks as released, seeds of their own (_own), and fresh ones of a second plan (_second) on which
# what was tuned on the others is scored once. About 15 hours on two cores with AVX-512, counted from the seconds in results/zoos.txt.
ZOOS ?= zoos
SETS = mnist fashion_mnist cifar10_gs
DIGITS = $(BIN)/metanet generate recipe=small_cnn data=digits recipe.epochs=20 recipe.batch_size=64 'recipe.snapshots=[0,1,2,5,10,20]'
MINI = $(BIN)/metanet generate recipe=small_cnn_mini
zoos: $(VENV)/.installed
	$(DIGITS) n=30000 out=$(ZOOS)/digits_30000
	$(DIGITS) n=100000 'recipe.share=[]' out=$(ZOOS)/digits_100000_own
	for data in $(SETS); do $(MINI) data=$$data n=2000 out=$(ZOOS)/$${data}_mini || exit 1; done
	for data in $(SETS); do $(MINI) data=$$data n=2000 'recipe.share=[]' out=$(ZOOS)/$${data}_mini_own || exit 1; done
	for data in $(SETS); do $(MINI) data=$$data n=2000 seed=1 out=$(ZOOS)/$${data}_mini_second || exit 1; done
	for data in $(SETS); do $(MINI) data=$$data n=2000 'recipe.share=[]' seed=1 out=$(ZOOS)/$${data}_mini_own_second || exit 1; done
	$(MINI) data=mnist n=20000 out=$(ZOOS)/mnist_mini_20000
	$(BIN)/metanet generate recipe=small_cnn data=mnist n=2000 out=$(ZOOS)/mnist_full
	$(BIN)/python scripts/report_zoos.py $(ZOOS)/* --out results/zoos.png | tee results/zoos.txt

# The largest, each a night or more: begin them when all else is grown.
large_zoos: $(VENV)/.installed
	$(MINI) data=cifar10_gs n=20000 out=$(ZOOS)/cifar10_gs_mini_20000
	$(BIN)/metanet generate recipe=small_cnn data=mnist n=20000 out=$(ZOOS)/mnist_full_20000

REPRODUCED = digits_30000 mnist_mini fashion_mnist_mini cifar10_gs_mini mnist_seeds cifar10_gs_resnet mnist_mlp cifar10_gs_mlp
comma := ,
space := $(subst ,, )
# The paper's tables and figures from those zoos, and what the README shows of them: for every input and estimator a search of
# CONFIGURATIONS (about four hours on two cores for a zoo of 2,000 networks, which is trained on half of them).
CONFIGURATIONS ?= 20
reproduction: $(VENV)/.installed
	$(BIN)/metanet generate recipe=small_cnn_seeds data=mnist n=2000 seed=1 out=$(ZOOS)/mnist_seeds
	$(BIN)/metanet generate recipe=resnet_mini data=cifar10_gs n=null out=$(ZOOS)/cifar10_gs_resnet
	$(BIN)/metanet generate recipe=mlp data=mnist n=400 data.size=14 recipe.train_images=7500 recipe.batch_size=64 \
		'recipe.snapshots=[0,86]' out=$(ZOOS)/mnist_mlp
	$(BIN)/metanet generate recipe=mlp data=cifar10_gs n=200 data.size=16 recipe.train_images=7500 recipe.batch_size=64 \
		'recipe.snapshots=[0,86]' out=$(ZOOS)/cifar10_gs_mlp
	$(BIN)/metanet reproduce all n=$(CONFIGURATIONS) out=$(ZOOS)/reproduction zoo=[$(subst $(space),$(comma),$(foreach z,$(REPRODUCED),$(ZOOS)/$(z)))] \
		| tee results/reproduction.txt
	for zoo in mnist_mini fashion_mnist_mini cifar10_gs_mini digits_30000; do \
		$(BIN)/metanet train zoo=$(ZOOS)/$$zoo model=gbm features=stats search=random search.n=$(CONFIGURATIONS) train.snapshots=all \
			out=$(ZOOS)/all_snapshots/$$zoo || exit 1; done | tee results/all_snapshots.txt
	mkdir -p results/reproduction
	cp $(ZOOS)/reproduction/*/*.csv $(ZOOS)/reproduction/*/*.png results/reproduction/

# What one seed for all networks changes, and whether initial weights or dropout do it: five zoos of the quickstart's networks, of
# the same hyperparameters, and every model of SEED_MODELS on each (those of `metanet reproduce --help` by default; what docs/result_seed.md
# shows: SEED_MODELS=gbm:flat,gbm:flat:last,gbm:stats,gbm:hyper, half an hour on two cores).
SHARED = $(BIN)/metanet generate recipe=small_cnn data=digits n=1000 recipe.epochs=20 recipe.batch_size=64 \
	'recipe.snapshots=[0,1,2,5,10,20]'
SHARINGS = seed_own seed_init seed_dropout seed_one seed_one_43
seed: $(VENV)/.installed
	$(SHARED) 'recipe.share=[]' out=$(ZOOS)/seed_own
	$(SHARED) 'recipe.share=[init]' out=$(ZOOS)/seed_init
	$(SHARED) 'recipe.share=[dropout]' out=$(ZOOS)/seed_dropout
	$(SHARED) 'recipe.share=[init,dropout]' out=$(ZOOS)/seed_one
	$(SHARED) 'recipe.share=[init,dropout]' recipe.share_seed=43 out=$(ZOOS)/seed_one_43
	$(BIN)/metanet reproduce seed out=$(ZOOS)/seed $(if $(SEED_MODELS),'sharing.models=[$(SEED_MODELS)]') zoo=[$(subst $(space),$(comma),$(foreach z,$(SHARINGS),$(ZOOS)/$(z)))] \
		| tee results/seed.txt
	mkdir -p results/seed
	cp $(ZOOS)/seed/*/*.csv $(ZOOS)/seed/*/*.png results/seed/

# Two zoos of the neural weight space and its own figures (about 40 minutes on two cores).
nws: $(VENV)/.nws
	$(BIN)/metanet generate recipe=nws_fixed_mini data=digits n=300 out=$(ZOOS)/nws_fixed_mini
	$(BIN)/metanet generate recipe=nws_main_mini 'data=[mnist,digits,cifar10]' n=300 out=$(ZOOS)/nws_main_mini
	$(BIN)/metanet reproduce nws 'zoo=[$(ZOOS)/nws_fixed_mini,$(ZOOS)/nws_main_mini]' out=$(ZOOS)/nws_figures | tee results/nws.txt
	mkdir -p results/nws
	cp $(ZOOS)/nws_figures/*/*.csv $(ZOOS)/nws_figures/*/*.png results/nws/

# Its meta-classifiers, on two zoos more beside the main one of `make nws` (two to three hours on two cores).
meta: $(VENV)/.nws
	$(BIN)/metanet generate recipe=nws_fixed_mini 'data=[mnist,digits,cifar10]' n=600 out=$(ZOOS)/nws_fixed_three
	$(BIN)/metanet generate recipe=nws_fixed_mini 'data=[mnist,digits,cifar10]' recipe.batch_norm=false n=300 \
		out=$(ZOOS)/nws_fixed_plain
	$(BIN)/metanet reproduce meta out=$(ZOOS)/nws_meta \
		'zoo=[$(ZOOS)/nws_fixed_three,$(ZOOS)/nws_fixed_plain,$(ZOOS)/nws_main_mini]' | tee results/meta.txt
	mkdir -p results/meta
	cp $(ZOOS)/nws_meta/nws_*/*.csv $(ZOOS)/nws_meta/nws_*/*.png results/meta/
	rm results/meta/*_cells.csv results/meta/nws_fig2[01]_*.png  # larger than the others; they stay beside the report

# Encoders beside baselines on the fresh mini zoos of `make zoos`, which nothing was tuned on, and two others (seven hours on two cores; METANET_DATA for the line of real
# images), and beside other authors' layers, each on one core (four hours).
COMPARED = mnist_mini_second fashion_mnist_mini_second cifar10_gs_mini_second mnist_wide nws_main_mini
encoders: $(VENV)/.installed
	$(BIN)/metanet generate recipe=small_cnn_mini data=mnist recipe.num_units=32 n=300 seed=2 out=$(ZOOS)/mnist_wide
	$(BIN)/metanet reproduce encoders out=$(ZOOS)/encoders zoo=[$(subst $(space),$(comma),$(foreach z,$(COMPARED),$(ZOOS)/$(z)))] \
		| tee results/encoders.txt
	mkdir -p results/encoders
	cp $(ZOOS)/encoders/*/*.csv $(ZOOS)/encoders/*/*.png results/encoders/
bench_encoders: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python scripts/bench_encoders.py $(foreach z,$(wordlist 1,3,$(COMPARED)),$(ZOOS)/$(z)) --peers --out $(ZOOS)/bench_encoders \
		| tee results/bench_encoders.txt
	for threads in 1 2; do $(BIN)/python scripts/bench_encoders.py $(ZOOS)/mnist_mini $(ZOOS)/nws_main_mini --rates --peers \
		--seconds 4 --threads $$threads || exit 1; done | tee results/bench_encoder_rates.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

# At once, not after .installed: the kernels are compiled at every installation.
$(VENV)/.tested: $(VENV)/bin/python pyproject.toml constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(VENV)/.installed $@

$(VENV)/.nws: $(VENV)/.installed
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[nws]'
	touch $@

$(VENV)/.docs: $(VENV)/.tested
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
