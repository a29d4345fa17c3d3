# Every target installs what it lacks into .venv and, on Debian and its kin, Qt's system libraries.
# PYTHON picks the interpreter that makes .venv: make test PYTHON=/usr/bin/python3.12

SHELL := /bin/bash
PYTHON ?=
BIN := .venv/bin
STAMP := .venv/.installed
BENCH_STAMP := .venv/.installed-bench
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo test lint bench clean

help:
	@echo "make demo     show it: simulate particles, reconstruct them, explore the result"
	@echo "make test     lint, types and tests"
	@echo "make lint     lint and types alone"
	@echo "make bench    the measurements that README and docs quote, or some: make bench ROWS=\"ribo32 adk64\""
	@echo "make install  only install (.venv, about 3 GB with CUDA)"
	@echo "make clean    remove caches and outputs (.venv stays: rm -r .venv)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/install.sh scripts/system-libraries.sh
	@scripts/system-libraries.sh
	@PYTHON="$(PYTHON)" scripts/install.sh
	@touch $@

demo: $(STAMP)
	@scripts/with-display.sh $(BIN)/napari-cryodrgn demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

$(BENCH_STAMP): $(STAMP)
	@echo "Installing what the measurements need"
	@$(BIN)/python -m pip install -qq --no-input -c constraints.txt --no-build-isolation -e ".[gui,dev,bench]"
	@touch $@

bench: $(BENCH_STAMP)
	@scripts/with-display.sh $(BIN)/python -m benchmarks $(ROWS)

clean:
	rm -rf build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
