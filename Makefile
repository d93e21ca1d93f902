# Every target makes its own environment when it is missing; PYTHON picks the interpreter.
PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin

.PHONY: demo retrieval-demo test lint clean-env

demo: $(ENV)/.installed
	$(BIN)/python -m vpr.scratch
	$(BIN)/python -m vpr.distill --teacher builtin
	$(BIN)/python -m eval.compare runs/scratch runs/distill builtin --submission runs/submission.zip

retrieval-demo: $(ENV)/.installed
	$(BIN)/python -m vpr.retrieval
	$(BIN)/python -m eval.retrieval --run runs/retrieval/base --rerank
	$(BIN)/python -m eval.retrieval --rerank

# One thread a process, since the tests take the cores; the tests of a file stay together, for what they share.
test: $(ENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(ENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The stamp is written last, so an interrupted installation starts over.
$(ENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[imagenet,test,lint]"
	touch $@

clean-env:
	rm -rf $(ENV)
