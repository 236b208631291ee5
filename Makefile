# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv when it is missing or older than the lock.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements/cpu.lock
STAMP  := $(VENV)/.stamp
# Packages that take precedence over those of .venv in `make grading-newest`.
NEWEST := build/math-verify-newest
# Two files at a time, in the order of tests/conftest.py: the slow ones first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
OFFLINE := HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false

.PHONY: help demo study test unit grading-newest matrix lint format docs bench lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "palign-hf needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "making $(VENV): about 4 GB, some minutes, once"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet "$$(grep '^torch==' requirements/torch.txt)"
	$(BIN)/pip install --quiet --no-deps -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP)  ## the whole chain on this machine; it says first how long it takes
	@$(OFFLINE) $(BIN)/palign demo

study: $(STAMP)  ## what teaches a small student: every method, five seeds each (under three hours; goes on where it stopped)
	@$(OFFLINE) $(BIN)/python -m examples.toy.study --docs docs

test: $(STAMP)  ## every test, the slow ones with real engines included
	$(OFFLINE) $(PYTEST)

unit: $(STAMP)  ## the tests that need no engine
	$(OFFLINE) $(PYTEST) -m "not integration"

grading-newest: $(STAMP)  ## the grading tests with the newest math-verify; `make test` has the oldest
	$(BIN)/pip install --quiet --no-deps --upgrade --target $(NEWEST) -r requirements/math-verify-newest.txt
	$(OFFLINE) PYTHONPATH=$(NEWEST) $(PYTEST) tests/grading

matrix: $(STAMP)  ## the unit and invariance tests with the lowest and the newest versions that pyproject.toml allows (in .matrix/)
	$(BIN)/python requirements/matrix.py

lint: $(STAMP)  ## ruff (lint and format), mypy and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell $$(git ls-files -- ':!tests')
	$(BIN)/codespell --ignore-words tests/misspelled.txt tests

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## write docs/settings.md from the declared settings
	$(BIN)/python docs/settings.py

bench: $(STAMP)  ## every benchmark; each ends with one line of JSON
	@for script in benchmarks/*.py; do echo "== $$script"; $(OFFLINE) $(BIN)/python $$script || exit 1; done

lock: $(STAMP)  ## resolve pyproject again and rewrite the lock
	$(BIN)/python requirements/lock.py

clean:  ## remove .venv and build leftovers
	rm -rf $(VENV) .matrix build dist *.egg-info
