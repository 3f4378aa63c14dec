# Two commands on a fresh clone: `make test` and `make demo`. Python 3.11 or newer, pip and make are all they need.
PYTHON ?= python3
# Where the CPU build of PyTorch is; `make TORCH_INDEX=` takes PyPI's build, on Linux with CUDA and gigabytes more.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
export TORCH_INDEX

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup test lint fuzz faults demo wheel-check clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PIFA needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --retries 1 --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

# One thread a process: a process a core is as fast as the cores are.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# For a nightly run: every reader on so many mutated files of each kind, half an hour.
FUZZ ?= 10000
fuzz: setup
	PIFA_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n auto -k mutated tests/data tests/zoo

# For a nightly run: builds killed so many times, and at every change that they make to a file; every damage to a store.
KILLS ?= 60
faults: setup
	PIFA_KILLS=$(KILLS) $(BIN)/python -m pytest -n auto -rA tests/distributed

demo: setup
	$(BIN)/pifa demo

wheel-check: setup
	$(BIN)/python tests/wheel_check.py

clean:
	rm -rf $(VENV) build dist *.egg-info work .pytest_cache .mypy_cache .ruff_cache
