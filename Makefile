# `make` lists what there is to do. Every command runs in $(VENV), whether or not it is active.

# The Python that makes the virtual environment: 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
# EXTRA_INDEX_URL: a package index to look into besides the usual one. With the address that
# PyTorch's installation page gives for CPU, the smaller CPU build of torch is installed:
#     make train EXTRA_INDEX_URL=<that address>
# INDEX_URL: an index to use instead of the usual one (a mirror).
EXTRA_INDEX_URL ?=
INDEX_URL ?=
# ARGS: added to the command of train, test, test-slow, mutants and course:
#     make train ARGS="algorithm.seed=3"
ARGS ?=
# ROW: the rows of `make returns`, by their names in benchmarks/rows.py.
ROW ?=
# DIR: where `make course` makes a course.
DIR ?=
# PPO_BBRL: what the setup cells of the notebooks install the package from where it is missing, for
# `make notebooks` and `make course`: a Git address ("git+https://…") or that of a wheel.
PPO_BBRL =

BIN := $(VENV)/bin
ADDRESS = $(if $(PPO_BBRL),--address '$(PPO_BBRL)')
# Quiet twice: errors only. What pip compiles on one core, COMPILE does on all: half of the time.
# Left out is a sixth of it: the packages' own tests, and the tables of OpenGL.
COMPILE = $(BIN)/python -W ignore -m compileall -qq -j 0 -x '/(tests?|OpenGL)/' $(VENV)/lib src \
	|| true # some are templates
PIP_INSTALL = $(BIN)/python -m pip install --quiet --quiet --no-input --disable-pip-version-check \
	--no-compile \
	--constraint constraints.txt \
	$(if $(INDEX_URL),--index-url "$(INDEX_URL)") \
	$(if $(EXTRA_INDEX_URL),--extra-index-url "$(EXTRA_INDEX_URL)")
# Three workers for two cores: tests wait for processes a quarter of the time. More cost more memory
# than they save time. A file's tests stay together (worksteal): what they share is made once.
# Bytecode is written whatever the environment says: a worker reads what another one has compiled.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 3 --dist worksteal

# What was installed when: an empty file each, outdated by a change of the requirements.
MADE := $(VENV)/.made
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
BROWSER := $(VENV)/.installed-browser
DOCS := $(VENV)/.installed-docs

.PHONY: help install train test test-slow test-browser mutants check format notebooks course docs bench returns clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(RUNTIME) ## make the virtual environment and install the package with its dependencies

train: $(RUNTIME) ## train PPO on CartPole; ARGS="algorithm.seed=3" changes the config
	@$(BIN)/ppo-bbrl train configs/cartpole.yaml $(ARGS)

test: check ## run the checks, then the tests
	$(PYTEST) $(ARGS)

test-slow: $(DEV) ## run the tests that take minutes
	$(PYTEST) -m "slow or rest" $(ARGS)
	@# Checks of exercises with every seed that draws their cases; `make test` takes some.
	PPO_BBRL_SEEDS=30 $(PYTEST) tests/course/checks

test-browser: $(BROWSER) ## run notebook 03 in JupyterLab in the system's Chromium; screenshots in outputs/
	$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

mutants: $(DEV) ## put small bugs into the package, one at a time: do the tests notice? Hours
	$(BIN)/python tests/mutants.py $(ARGS)

check: $(DEV) ## lint, format, types, imports, notebooks up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --num-workers auto
	$(BIN)/lint-imports --no-logo
	$(BIN)/python notebooks/build.py --check

format: $(DEV) ## format the code and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

notebooks: $(DEV) ## generate the notebooks from notebooks/source; PPO_BBRL=<address> to hand them out
	$(BIN)/python notebooks/build.py $(ADDRESS)

course: $(DEV) ## make an nbgrader course: make course DIR=<folder> [PPO_BBRL=<address>]
	@test -n "$(DIR)" || { echo "say where: make course DIR=<folder>" >&2; exit 1; }
	@$(BIN)/python notebooks/course.py "$(DIR)" $(ADDRESS) $(ARGS)

docs: $(DOCS) ## build the documentation into build/site; a broken link or a missing docstring fails
	$(BIN)/ruff check --quiet src
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open build/site/index.html"

bench: $(BENCH) ## compare speed and learning with others; an hour
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/beside_bbrl.py
	$(BIN)/python benchmarks/time_to_solve.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/floor.py
	$(BIN)/python benchmarks/async_envs.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/seeds.py
	$(BIN)/python benchmarks/learning_cartpole.py
	$(BIN)/python benchmarks/learning_pendulum.py
	$(BIN)/python benchmarks/shared_trunk.py
	$(BIN)/python benchmarks/learning_lightning.py
	$(BIN)/python benchmarks/report.py

returns: $(DEV) ## train the seeds of a published return: make returns ROW=cartpole; without ROW: the page
	$(BIN)/python benchmarks/returns.py $(ROW) $(ARGS)

clean: ## remove $(VENV) and caches; outputs/ stays
	rm -rf "$(VENV)" build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf src/*.egg-info
	find src tests benchmarks notebooks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(MADE): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "$(PYTHON) not found; choose a Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "ppo-bbrl needs Python 3.11 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1 | cut -d" " -f2); choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv package (on Debian and Ubuntu: python3-venv)" >&2; exit 1; }
	@echo "Installing into $(VENV); the first time takes some minutes, torch is large."
	@"$(PYTHON)" -m venv "$(VENV)"
	@# First pip and the build backend at their pinned versions, so that nothing unpinned builds.
	@$(PIP_INSTALL) pip setuptools
	@touch $@

$(RUNTIME): $(MADE)
	@$(PIP_INSTALL) --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

# One installation on a new machine, not that of the runtime first.
$(DEV): $(MADE)
	@echo "Installing what the checks and tests need."
	@$(PIP_INSTALL) --no-build-isolation --editable '.[dev]'
	@$(COMPILE)
	@[ $(RUNTIME) -nt $(MADE) ] || touch $(RUNTIME)
	@touch $@

$(BROWSER): $(RUNTIME)
	@echo "Installing what the tests in a browser need."
	@$(PIP_INSTALL) --no-build-isolation --editable '.[browser]'
	@$(COMPILE)
	@touch $@

$(BENCH): $(RUNTIME)
	@echo "Installing what the benchmarks compare with."
	@$(PIP_INSTALL) --no-build-isolation --editable '.[bench,lightning]'
	@$(COMPILE)
	@touch $@

$(DOCS): $(DEV)
	@echo "Installing what the documentation is built with."
	@$(PIP_INSTALL) --no-build-isolation --editable '.[docs]'
	@$(COMPILE)
	@touch $@
