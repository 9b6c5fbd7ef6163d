.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed
BENCH ?=
TEST ?= -n 2 --dist loadfile

.PHONY: help install demo test chaos soak bench lint types format lock clean

help: ## show the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | while IFS='|' read -r verb text; do printf '  make %-9s %s\n' "$$verb" "$$text"; done

install: $(STAMP) ## make .venv from the lock file

$(STAMP): requirements/all.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another one: make install PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/all.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP) ## the main job on this machine: 200 sample tickets, real servers, no key needed
	@$(VENV)/bin/ticketflow demo

test: $(STAMP) ## all tests, on real servers that they start themselves; two at a time, TEST= for one by one
	$(VENV)/bin/python -m pytest $(TEST)

chaos: $(STAMP) ## break real processes and check the ledger; CHAOS=full for the long form, CHAOS_SEED=... to repeat, TEST= for one by one
	$(VENV)/bin/python -m pytest $(TEST) tests/chaos

soak: $(STAMP) ## everything broken at random for CHAOS_SOAK_S seconds (600)
	$(VENV)/bin/python -m pytest -s tests/chaos/soak.py

bench: $(BENCH_STAMP) ## measure against peers on an idle machine; BENCH="--help" shows the options
	$(VENV)/bin/python -m bench $(BENCH)

$(BENCH_STAMP): $(STAMP) requirements/bench.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/bench.txt
	@touch $(BENCH_STAMP)

lint: $(STAMP) ## ruff: rules and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(STAMP) ## mypy --strict
	$(VENV)/bin/mypy

format: $(STAMP) ## put the code into shape
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: ## renew requirements/*.txt from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --strip-extras --generate-hashes --no-emit-index-url --no-header --extra embedded --extra flower --extra google-generativeai --extra parquet --extra dev pyproject.toml -o requirements/all.txt
	uv pip compile --quiet --universal --python-version 3.11 --strip-extras --generate-hashes --no-emit-index-url --no-header --extra flower --extra google-generativeai --constraint requirements/all.txt pyproject.toml -o requirements/image.txt
	uv pip compile --quiet --universal --python-version 3.11 --strip-extras --generate-hashes --no-emit-index-url --no-header --extra embedded --extra bench --constraint requirements/all.txt pyproject.toml -o requirements/bench.txt

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache
