# make train | test | test-slow | lint | bench | docs | docs-serve | docs-tables | clean | help. Each makes .venv first when it is missing or out of date.
# Overridable: PYTHON (3.11 or newer), VENV, SCENARIO, TEACHER (empty: from scratch), MINUTES, SEED, OUT, PYTEST_WORKERS, PYTEST_ARGS.
PYTHON ?= python3
VENV ?= .venv
SCENARIO ?= soc-v1
MINUTES ?= 5
TEACHER ?= $(if $(filter paper-%,$(SCENARIO)),,expert)
SEED ?= 0
OUT ?= runs/$(SCENARIO)-$(shell date +%Y%m%d-%H%M%S)
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PACKAGES := soc_env policies experiments cyborg_bridge
# NO_MKDOCS_2_WARNING: a notice of the theme about other projects. With --quiet, --strict would let everything pass.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs
PYTEST := $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

.PHONY: help train test test-slow lint bench docs docs-serve docs-tables clean
.DELETE_ON_ERROR:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(STAMP)  ## train for MINUTES on SCENARIO, with TEACHER, evaluate, print the table and the report's path
	$(BIN)/hmarl-soc train --scenario $(SCENARIO) --minutes $(MINUTES) --seed $(SEED) $(if $(TEACHER),--teacher $(TEACHER) )--out $(OUT)

test: lint  ## lint and all tests but the slow ones
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: $(STAMP)  ## the slow tests: learning from an adverse start, long statistics
	$(PYTEST) -m slow $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff, mypy, import-linter, and the strict build of the documentation
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	$(MKDOCS) build --strict

bench: $(STAMP)  ## measure the speed of the simulator and the learners on this machine
	$(BIN)/hmarl-soc bench

docs: $(STAMP)  ## build the documentation into site/
	$(MKDOCS) build --strict

docs-serve: $(STAMP)  ## show the documentation while it is written
	$(MKDOCS) serve

docs-tables: $(STAMP)  ## write the generated tables of README.md and docs/ again
	$(BIN)/python docs/generate.py

clean:  ## remove .venv, caches and builds, never runs/
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an install that broke off is done again. torch comes first and alone: with it in place
# nothing later resolves to a newer build with its CUDA packages. Building in the same environment (torch brings setuptools)
# keeps a renewed install from downloading anything that is already there.
$(STAMP): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: $(PYTHON) is Python %d.%d; the versions in constraints.txt need 3.11 or newer: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "==> virtual environment $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "==> PyTorch"
	@$(PIP) torch setuptools
	@echo "==> hmarl-soc with extras [train,dev]"
	@$(PIP) --no-build-isolation -e ".[train,dev]"
	@touch $@
