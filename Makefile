# What a fresh machine needs: Python 3.11 or newer with venv, make, a package index.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= .demo
PORT ?= 8080
FUZZ_SECONDS ?= 60

.PHONY: help run demo test deploy-test lint docs bench fuzz clean
help:
	@echo "make run    train the demo model (once), serve it until Ctrl-C   PORT=$(PORT)"
	@echo "make demo   the same, but end after two predictions"
	@echo "make test   ruff, mypy --strict, pytest with coverage"
	@echo "make deploy-test  try all of deploy/; as root on Debian, install the programs for it"
	@echo "make lint   ruff and mypy only"
	@echo "make docs   write the generated pages of docs/, check every link"
	@echo "make bench  measure all that docs/benchmarks.md says, in ten minutes"
	@echo "make fuzz   random requests, frames, bodies and models, each for $(FUZZ_SECONDS) s   FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make clean  remove $(VENV), $(DEMO) and caches"

run: $(VENV)/.demo-installed
	@exec $(VENV)/bin/gomlx demo --directory $(DEMO) --port $(PORT)

demo: $(VENV)/.demo-installed
	@exec $(VENV)/bin/gomlx demo --directory $(DEMO) --port 0 --once

test: lint
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term \
		--ignore=tests/deploy

# What cannot be installed is said, and its tests are skipped.
deploy-test: $(VENV)/.deploy-test-installed
	$(VENV)/bin/python -m tests.deploy.tools
	$(VENV)/bin/pytest -n 2 --dist loadfile tests/deploy

lint: $(VENV)/.test-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.test-installed
	$(VENV)/bin/python -m tests.docs.generate
	$(VENV)/bin/python -m loadtests.paths --write
	$(VENV)/bin/pytest -q tests/docs/test_links.py

bench: $(VENV)/.bench-installed
	$(VENV)/bin/python -m loadtests $(BENCH) table

fuzz: $(VENV)/.test-installed
	$(VENV)/bin/python -m loadtests.fuzz --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) $(DEMO) .loadtests .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gomlx needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

# A file a set of extras: installed again when what they ask for changes.
$(VENV)/.%-installed: setup.cfg | $(VENV)/bin/python
	$(VENV)/bin/pip install --disable-pip-version-check --quiet --editable '.[server,$*]'
	@touch $@
