# stackhog: `make demo` and `make test` set up all they need.
.DELETE_ON_ERROR:
.PHONY: help demo test check bench fuzz setup lock clean
.PHONY: start warm cold stack stress mail dispatch idle page

PYTHON ?= python3
VENV := .venv
STACKHOG := $(VENV)/bin/stackhog
READY := $(VENV)/ready

help:
	@echo 'make demo   review the series in demo/ on a real kernel, print the reply mail'
	@echo 'make test   all tests, the real kernel included'
	@echo 'make check  lint, types and unit tests, in under a minute'
	@echo 'make bench  the figures, as ratios within one run'
	@echo 'make fuzz   forty minutes of hostile mail'
	@echo 'make lock   renew requirements/lock.txt'

setup: $(READY)
	@./requirements/apt-install

$(READY): requirements/lock.txt pyproject.toml
	@./requirements/apt-install
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: setup
	@$(STACKHOG) tree add debian-6.1 --debian linux-source-6.1
	@# status 1 says that there are findings, and the demo series is meant to have some
	@$(STACKHOG) review demo/writeback-more.mbox --tree debian-6.1 --output reply.eml || [ $$? -eq 1 ]

test: check
	$(VENV)/bin/pytest tests/integration

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest tests/unit tests/golden

# `make bench stack` runs one of them
bench: setup
	$(VENV)/bin/python -m tests.bench $(filter start warm cold stack stress mail dispatch idle page,$(MAKECMDGOALS))

start warm cold stack stress mail dispatch idle page:
	@:

# `python -m tests.fuzz mail 3600` runs one of them for so many seconds
fuzz: setup
	$(VENV)/bin/python -m tests.fuzz

lock:
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --extra dev pyproject.toml -o requirements/lock.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
