# landform needs Python 3.11 or later, make and git; everything else is installed into .venv by these targets.
# Versions are pinned in constraints.txt. `make help` lists the targets.

.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
LOWEST_TORCH := $(shell sed -n 's/.*"torch>=\([0-9.]*\)".*/\1/p' pyproject.toml)

# The first Python that runs, is recent enough, and can make virtual environments.
# (Asked only when a virtual environment must be made; `make setup PYTHON=...` chooses another.)
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
PIP := -m pip --disable-pip-version-check --quiet install
# Built without isolation, so that the build tools are the pinned ones too.
PACKAGE := -c constraints.txt --no-build-isolation --editable

# Data sets that are too big to ship: where a checkout has them beside it, the tests and studies that want them use them.
ifndef LANDFORM_DATA
ifneq ($(wildcard ../shared/data/.),)
export LANDFORM_DATA := $(abspath ../shared/data)
endif
endif

# $(call step,title,command): run it, show how long it took, stop at the first that fails.
define step
@printf '\n== %s\n' '$(1)'; start=$$SECONDS; $(2) && printf -- '-- %s: %d s\n' '$(1)' $$((SECONDS - start))
endef

define make_venv
@if [ -z "$(PYTHON)" ]; then \
	echo "landform needs Python 3.11 or later with its venv module, and found none:" \
		"install one (Debian, Ubuntu: apt install python3-venv) or name it, as in: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; fi
@if ! $(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	echo "landform needs Python 3.11 or later with its venv module, and $(PYTHON) is not one." >&2; exit 1; fi
@$(PYTHON) -m venv $(1)
endef

##@ Using landform

.PHONY: help
help:  ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo-is-set-up  ## reproduce a paper in miniature and write a report about it: about 5 minutes (installs only what that needs)
	$(BIN)/landform demo --out runs/demo

.PHONY: setup
setup: $(VENV)/.is-set-up  ## make .venv with everything the checks and studies need
	@echo "$(VENV) is ready: $$($(BIN)/python -V), torch $$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("torch"))')"

$(BIN)/python:
	$(call make_venv,$(VENV))

# torch goes first and alone: pip then takes the build it finds for this machine, and nothing after asks for another.
$(VENV)/.demo-is-set-up: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing torch $(TORCH) and what the demo needs into $(VENV) (the first time takes a few minutes) ..."
	@$(BIN)/python $(PIP) torch==$(TORCH) -c constraints.txt
	@$(BIN)/python $(PIP) hatchling editables -c constraints.txt
	@$(BIN)/python $(PIP) $(PACKAGE) '.[report]'
	@touch $@

$(VENV)/.is-set-up: $(VENV)/.demo-is-set-up pyproject.toml constraints.txt
	@echo "Installing what the checks and studies need into $(VENV) ..."
	@$(BIN)/python $(PIP) $(PACKAGE) '.[dev]'
	@touch $@

##@ Checking landform

.PHONY: test
test: lint types layers docs check  ## every check: lint, types, layering, docs, tests (what .ci/run calls)
	@printf '\nEvery check passed.\n'

.PHONY: lint
lint: setup  ## ruff: rules and formatting
	$(call step,lint,$(BIN)/ruff check --quiet && $(BIN)/ruff format --quiet --check)

.PHONY: types
types: setup  ## mypy --strict over the package
	$(call step,types,$(BIN)/mypy --strict)

.PHONY: layers
layers: setup  ## import-linter: a room imports only from lower floors
	$(call step,layers,$(BIN)/lint-imports --no-logo)

.PHONY: docs
docs: setup  ## build the documentation into docs/_build; a warning is an error
	$(call step,docs,OMP_NUM_THREADS=1 $(BIN)/sphinx-build --jobs auto --fresh-env --quiet --fail-on-warning --keep-going -b html docs docs/_build)

# One more than there are cores: some tests wait for processes of their own.
WORKERS = $(shell expr `getconf _NPROCESSORS_ONLN` + 1)

# Tests that measure time run alone, after the others.
.PHONY: check
check: setup  ## pytest, with every code block of README and docs
	$(call step,tests,OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --maxprocesses 8 --dist loadgroup -m "not timing and not slow")
	$(call step,tests that measure time,OMP_NUM_THREADS=1 $(BIN)/pytest -m timing `grep -rl mark.timing tests --include='test_*.py'`)

.PHONY: test-slow
test-slow: setup  ## the tests that `make test` leaves out: a Ray cluster that loses workers and a node, pages that run whole studies
	$(call step,slow tests,OMP_NUM_THREADS=1 $(BIN)/pytest -m slow)

# Which tests run through which line is kept with it, for the mutants.
.PHONY: coverage
coverage: setup  ## how much of the package the tests run through (about a quarter of an hour)
	$(call step,coverage,OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --maxprocesses 8 --dist loadgroup -m "not timing and not slow" \
		--cov --cov-context=test --cov-report= --junitxml=.coverage.xml && $(BIN)/coverage report --skip-covered)

# Those that mutants.jsonl says were noticed are not run again.
.PHONY: mutants
mutants: coverage  ## faults put into the numerical rooms, one at a time: do the tests notice? (about an hour)
	$(BIN)/python tests/mutation.py

.PHONY: test-lowest
test-lowest: $(LOWEST)/.is-set-up  ## the tests at the lowest versions that pyproject.toml allows, in .venv-lowest
	$(call step,tests at the lowest versions: torch $(LOWEST_TORCH),OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest -n auto --maxprocesses 8 --dist loadgroup -m "not timing and not slow")

$(LOWEST)/bin/python:
	$(call make_venv,$(LOWEST))

# Every "name>=version" of pyproject.toml as "name==version"; what these bring with them is left to pip, but for
# pyparsing, whose newer versions make the oldest matplotlib warn.
$(LOWEST)/.is-set-up: pyproject.toml | $(LOWEST)/bin/python
	@echo "Installing torch $(LOWEST_TORCH) and the rest into $(LOWEST) (on Linux that brings several GB of CUDA) ..."
	@grep -o '"[A-Za-z0-9-]\+>=[0-9.]*"' pyproject.toml | tr -d '"' | sed 's/>=/==/' > $(LOWEST)/lowest.txt
	@echo 'pyparsing==3.1.0' >> $(LOWEST)/lowest.txt
	@$(LOWEST)/bin/python $(PIP) torch==$(LOWEST_TORCH)
	@$(LOWEST)/bin/python $(PIP) hatchling editables -c $(LOWEST)/lowest.txt
	@$(LOWEST)/bin/python $(PIP) --no-build-isolation -c $(LOWEST)/lowest.txt --editable '.[all,test]'
	@touch $@

.PHONY: bench
bench: setup  ## every benchmark, one after the other: each prints a ratio (keep the machine quiet)
	@for bench in benchmarks/[a-z]*.py benchmarks/[a-z]*/__main__.py; do \
		printf '\n== %s\n' $${bench%/__main__.py}; $(BIN)/python $${bench%/__main__.py} || exit 1; done

# SCALE=medium takes hours, and wants the data that LANDFORM_DATA names.
SCALE ?= small
STUDIES = adversarial-kernel adversarial-landscape emergent-geometry federated-kernel merging needle quantum-patches \
	recurrent-kernel taxonomy wedges
.PHONY: study
study: setup  ## the studies at SCALE=small (or medium), kept in docs/gallery
	$(BIN)/landform reproduce deep-vs-kernel --scale $(SCALE) --controls --out runs/deep-vs-kernel-$(SCALE)
	@for name in $(STUDIES); do $(BIN)/landform reproduce $$name --scale $(SCALE) --out runs/$$name-$(SCALE) || exit 1; done
	@for name in deep-vs-kernel $(STUDIES); do \
		$(BIN)/landform report runs/$$name-$(SCALE) --gallery docs/gallery || exit 1; done

.PHONY: peers
peers: setup  ## environments of other libraries, in .venv-peers, for the benchmarks that run beside them
	benchmarks/peers.sh $(BIN)/python .venv-peers $(TORCH)

.PHONY: pin
pin: setup  ## write the versions now in .venv into constraints.txt
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v -i '^pip==' | sed 's/+[a-z0-9.]*$$//' > constraints.new
	mv constraints.new constraints.txt

.PHONY: clean
clean:  ## remove what the checks leave behind (.venv and runs/ stay)
	rm -rf docs/_build docs/_api docs/_gallery dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
