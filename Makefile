# Sampan: every way of building, running and testing it. `make help` lists them.
SHELL := /bin/sh
PYTHON ?= $(shell command -v /usr/bin/python3 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help dev demo check format test unit conformance e2e bench clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

dev: ## Install system packages (as root, on Debian), make .venv, list what the kernel lacks
	@scripts/dev.sh "$(PYTHON)" "$(VENV)"

$(VENV)/.ready: pyproject.toml setup.py requirements.txt requirements-dev.txt shim/sampan-shim.c bin/sampan bin/sampand
	@scripts/dev.sh "$(PYTHON)" "$(VENV)"

demo: $(VENV)/.ready ## Run a real container with a bind mount and a published port, and clean up
	@tests/isolated scripts/demo.sh "$(BIN)"

check: $(VENV)/.ready ## Format, lint, types, imports, unit tests
	$(BIN)/ruff format --check sampan tests setup.py
	$(BIN)/ruff check sampan tests setup.py
	$(BIN)/mypy
	cd tests && ../$(BIN)/mypy --config-file ../pyproject.toml --explicit-package-bases .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/unit

format: $(VENV)/.ready ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix sampan tests setup.py
	$(BIN)/ruff format sampan tests setup.py

test: $(VENV)/.ready ## All tests, as root on the real kernel, in namespaces of their own
	tests/run $(BIN)

conformance: $(VENV)/.ready ## Docker's own client and SDK tests against the daemon
	tests/run $(BIN) conformance
	tests/conformance/docker-py.sh $(BIN)

e2e: $(VENV)/.ready ## A person's path through the CLI
	tests/run $(BIN) e2e

bench: $(VENV)/.ready ## Compare with the container engines that this machine has, as ratios
	tests/benchmarks/run $(BIN)

clean: ## Remove what was built
	rm -rf $(VENV) build dist *.egg-info sampan/_bin .mypy_cache .ruff_cache .import_linter_cache tests/.mypy_cache
	find sampan tests -name __pycache__ -type d -prune -exec rm -rf {} +
