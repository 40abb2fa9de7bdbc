# The tasks of a contributor; see CONTRIBUTING.md. Each one sets up what it needs.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: run test lint types docs bench

run: .venv/ready
	$(BIN)/ovx-lite dev --demo

test: .venv/ready
	$(BIN)/python -m pytest -n auto

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/vulture

types: .venv/ready
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/ready
	$(BIN)/python -m pytest tests/test_docs.py
	$(BIN)/python docs/screenshots.py

bench: .venv/ready
	$(BIN)/python -m benchmarks --short

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[dev]'
	touch $@
