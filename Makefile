# SPDX-License-Identifier: Apache-2.0
# make demo   the whole bridge on real parts; KEEP=1 leaves the Airflow UI up
# make test   everything that must pass
# make chaos  1,000 trainings while all that they need is killed at random; SEED= for the same faults, COUNT= for less
# All set up what they need; a first run downloads about 1.5 GB from PyPI and Debian.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
KEEP ?=
LOCK := requirements/dev.txt
PYTEST := $(PY) -m pytest -q
# Tests of one file stay together, where they share servers; a system test takes the whole machine.
WORKERS ?= 2
SPREAD := --numprocesses $(WORKERS) --dist

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-stop test lint types unit integration spark wheel system packages chaos lock format clean

help:
	@sed -n 's/^# make /make /p' Makefile

# One environment for Airflow, the provider and the tests. It is made anew when the lock file changes.
$(VENV)/.ready: $(LOCK) pyproject.toml training_service/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "Python 3.11 or newer is needed, %s is %s. Try: make PYTHON=python3.12" \
	  % (sys.executable, sys.version.split()[0]))'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "The venv module is missing. Install it: sudo apt-get install python3-venv"; exit 2; }
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' $(LOCK))"
	@$(VENV)/bin/uv pip install --quiet --python $(PY) -r $(LOCK)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --no-deps -e . -e training_service
	@touch $@

setup: $(VENV)/.ready

packages: setup
	@$(PY) -m demo.packages

demo: setup
	@$(PY) -m demo $(if $(KEEP),--keep)

demo-stop: setup
	@$(PY) -m demo --stop

# Quick things first, so that a failure shows early.
test: lint types packages unit integration wheel system
	@echo "All tests passed."

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet .

types: setup
	@$(VENV)/bin/mypy

unit: setup
	@$(PYTEST) $(SPREAD) worksteal tests/unit

integration: setup packages
	@$(PYTEST) $(SPREAD) loadfile tests/integration tests/contract tests/chaos

# The feature engine on a local Spark; needs Java 17 or newer. It has an environment of its own, since Great
# Expectations imports pyspark wherever it finds it.
spark: setup
	@command -v java >/dev/null || { echo "Java is missing. Install it: sudo apt-get install openjdk-17-jre-headless"; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV)-spark
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)-spark/bin/python -r $(LOCK) "pyspark[connect]==4.3.0"
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)-spark/bin/python --no-deps -e . -e training_service
	@$(VENV)-spark/bin/python -m pytest -q tests/spark

wheel: setup
	@$(PYTEST) tests/wheel

system: setup packages
	@$(PYTEST) tests/system

chaos: setup packages
	@$(PY) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) --report build/chaos.json

format: setup
	@$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format --quiet .

lock: setup
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate \
	  --no-emit-index-url --no-header --group dev pyproject.toml training_service/pyproject.toml -o $(LOCK)

clean:
	rm -rf $(VENV) .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
