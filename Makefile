# Every target makes its own environment when it is missing; PYTHON picks the interpreter.
PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin
# Tests stay together for what they share (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

.PHONY: env demo retrieval-demo test test-fast test-processors lint docs clean-env

env: $(ENV)/.installed

demo: $(ENV)/.installed
	$(BIN)/python -m vpr.scratch
	$(BIN)/python -m vpr.distill --teacher builtin
	$(BIN)/python -m eval.compare runs/scratch runs/distill builtin --submission runs/submission.zip

retrieval-demo: $(ENV)/.installed
	$(BIN)/python -m vpr.retrieval
	$(BIN)/python -m eval.retrieval --run runs/retrieval/base --rerank
	$(BIN)/python -m eval.retrieval --rerank

# The tests take the cores, so each process has one thread.
test: $(ENV)/.installed
	OMP_NUM_THREADS=1 $(PYTEST)

test-fast: $(ENV)/.installed
	OMP_NUM_THREADS=1 $(PYTEST) -m "not slow"

# The numerical tests as on an x86-64 processor with AVX2 and two threads, and as on one with SSE alone and one thread,
# there without those that take long.
NUMERICS := tests/vpr/test_patch_codes.py tests/vpr/transport tests/vpr/description tests/vpr/maps tests/vpr/retrieval tests/vpr/models
test-processors: $(ENV)/.installed
	tests/support/as_processor avx2 env OMP_NUM_THREADS=2 $(PYTEST) $(NUMERICS)
	tests/support/as_processor plain env OMP_NUM_THREADS=1 $(PYTEST) -m "not slow" $(NUMERICS)

lint: $(ENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, into site/. The variable switches off a notice about later versions of the theme.
docs: $(ENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(ENV)/.installed-docs: $(ENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

# The stamp is written last, so an interrupted installation starts over.
$(ENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test,lint]"
	touch $@

clean-env:
	rm -rf $(ENV)
